"""`show NAME@ALIAS --at TIME` and `show NAME --history`: where aliases pointed, from what was signed and logged."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database.catalog.versions import VersionUnknown
from peft_registry.registry.database.envelopes import unpacked
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import StatementAltered
from peft_registry.registry.records.views import SaidDiffers, VersionsDiffer
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases.gate import promote, read_gate_policy
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.show_moves import (
    AliasNeverMoved,
    NothingThere,
    TimeRefused,
    alias_moves,
    moves_of,
    version_at,
)
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import AliasNeeded, Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE, PREDICATE_TYPES
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import add_a_base, reopened
from tests.builders.lineage import register_made_from

DAYS = ("2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z", "2026-11-26T12:00:00Z", "2026-11-27T12:00:00Z")


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry


def fill(registry: Registry, folder: Path) -> None:
    """helper@champion: 1, then 2, then 1 again; helper@next: 2."""
    base = add_a_base(registry, folder / "base")
    for number in (1, 2):
        register_made_from(registry, folder / f"{number}", base, [], name="helper", value=number / 4)
    register_made_from(registry, folder / "other", base, [], name="helper-two", value=0.9)
    (folder / "plain.yml").write_text("name: plain\nabout: what every policy asks\n", "utf-8")
    for day, (number, alias) in zip(
        DAYS, ((1, "champion"), (2, "champion"), (2, "next"), (1, "champion")), strict=True
    ):
        later = reopened(registry.folder, now=day)
        version = version_named(later, f"helper:{number}")
        if day == DAYS[1]:
            promote(later, version, alias, read_gate_policy(str(folder / "plain.yml")), reason="fewer mistakes")
        else:
            set_alias(later, version, alias, reason=f"of {day[:10]}")
        later.close()


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    home = made.copy(tmp_path / "home")
    registry = home.opened(now=DAYS[-1])
    yield Place(tmp_path, home, registry)
    registry.close()


def test_every_move_is_told_with_who_moved_it_and_under_which_policy(place: Place) -> None:
    moves = alias_moves(place.registry, "helper")
    assert [(move.alias, move.version, move.at) for move in moves] == [
        ("champion", "helper:1", DAYS[0]),
        ("champion", "helper:2", DAYS[1]),
        ("next", "helper:2", DAYS[2]),
        ("champion", "helper:1", DAYS[3]),
    ]
    assert [(move.policy, move.reason) for move in moves[:2]] == [(None, "of 2026-11-24"), ("plain", "fewer mistakes")]
    assert {move.by for move in moves} == {"lab-1"}


@pytest.mark.parametrize(
    ("at", "version"),
    [
        ("2026-11-24", "helper:1"),
        ("2026-11-24T12:00:00Z", "helper:1"),
        ("2026-11-25T11:59:59Z", "helper:1"),
        ("2026-11-25T13:00:00+01:00", "helper:2"),
        ("2026-11-26", "helper:2"),
        ("2030-01-01", "helper:1"),
    ],
)
def test_at_a_time_an_alias_pointed_at_what_its_last_move_before_says(place: Place, at: str, version: str) -> None:
    assert version_at(place.registry, "helper@champion", at)[1] == version


def test_what_is_said_of_a_time_to_come_says_as_of_when(place: Place) -> None:
    known, _ = version_at(place.registry, "helper@champion", DAYS[-1][:10])  # a day means its end
    assert known.notes == ()
    ahead, _ = version_at(place.registry, "helper@champion", "2030-01-01")
    assert ahead.notes == (f"2030-01-01 is to come: this is as of {place.registry.clock()}",)


def test_what_has_no_answer_says_why(place: Place) -> None:
    with pytest.raises(NothingThere, match=f"it was moved for the first time at {DAYS[0]}"):
        version_at(place.registry, "helper@champion", "2026-11-23")
    with pytest.raises(AliasNeverMoved, match="the aliases of helper that were ever moved are champion, next"):
        version_at(place.registry, "helper@never", "2026-11-28")
    for misspelt in ("helper@champoin", "helper@Champion"):
        with pytest.raises(AliasNeverMoved) as refused:
            moves_of(place.registry, misspelt)
        assert refused.value.fix == "did you mean `helper@champion`?"
    with pytest.raises(AliasNeverMoved, match="no alias of helper-two was ever moved"):
        moves_of(place.registry, "helper-two@champion")
    for text in ("yesterday", "2026-13-01", ""):
        with pytest.raises(TimeRefused):
            version_at(place.registry, "helper@champion", text)
    with pytest.raises(AliasNeeded, match="'helper:1' names no alias"):
        version_at(place.registry, "helper:1", "2026-11-28")
    with pytest.raises(VersionUnknown) as unknown:
        alias_moves(place.registry, "helpr")
    assert "did you mean `helper`" in unknown.value.fix


def test_rows_of_moves_that_were_edited_change_no_history(place: Place) -> None:
    before = alias_moves(place.registry, "helper")
    with place.home.rows() as rows:
        rows.run("UPDATE alias_events SET number = 1, at = '2020-01-01T00:00:00Z'")
    assert alias_moves(place.registry, "helper") == before
    with place.home.rows() as rows:
        rows.run("DELETE FROM statements WHERE kind = 'alias'")
    with pytest.raises(SaidDiffers):
        alias_moves(place.registry, "helper")


NEWEST_MOVE = "digest = (SELECT digest FROM statements WHERE kind = 'alias' ORDER BY log_index DESC LIMIT 1)"
FIRST_MOVE = "(SELECT envelope FROM statements WHERE kind = 'alias' ORDER BY log_index LIMIT 1)"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (f"DELETE FROM statements WHERE {NEWEST_MOVE}", SaidDiffers),
        (f"UPDATE statements SET kind = 'card' WHERE {NEWEST_MOVE}", SaidDiffers),
        (
            f"UPDATE statements SET kind = 'card', predicate_type = '{PREDICATE_TYPES['card']}' WHERE {NEWEST_MOVE}",
            SaidDiffers,
        ),
        (f"UPDATE statements SET envelope = {FIRST_MOVE} WHERE {NEWEST_MOVE}", IntegrityBroken),
        (f"UPDATE statements SET appended_at = '{DAYS[0]}' WHERE {NEWEST_MOVE}", StatementAltered),
        ("DELETE FROM statements WHERE kind = 'card'", SaidDiffers),
    ],
)
def test_a_move_that_was_taken_out_relabelled_or_exchanged_is_missed(
    made: MadeHome, tmp_path: Path, change: str, refusal: type[IntegrityBroken]
) -> None:
    """Only the texts of moves are read: that none is missing among them the digests and kinds of all statements show."""
    home = made.copy(tmp_path / "home")
    with home.rows() as rows:
        rows.run(change)
    registry = home.opened(now=DAYS[-1])
    with pytest.raises(refusal):
        alias_moves(registry, "helper")
    with pytest.raises(refusal):
        version_at(registry, "helper@champion", DAYS[0])
    registry.close()


def test_a_move_that_another_key_signed_in_its_place_is_missed(place: Place) -> None:
    """The text is the one that was logged, and no key of the trust file made the signature under it."""
    with place.home.rows() as rows:
        ((digest, envelope),) = rows.run(f"SELECT digest, envelope FROM statements WHERE {NEWEST_MOVE}")
        payload = dsse.Envelope.parse(unpacked(envelope, Digest.parse(digest))).payload
        forged = dsse.sign(PrivateKey.generate("p256"), PAYLOAD_TYPE, payload).render()
        rows.run("UPDATE statements SET envelope = :forged WHERE digest = :digest", forged=forged, digest=digest)
    with pytest.raises(StatementAltered):
        version_at(place.registry, "helper@champion", DAYS[-1])


def test_what_a_row_says_of_a_name_that_begins_alike_is_not_read(place: Place) -> None:
    before = alias_moves(place.registry, "helper")
    with place.home.rows() as rows:
        rows.run("UPDATE versions SET method = 'ia3' WHERE name = 'helper-two'")
    assert alias_moves(place.registry, "helper") == before
    with pytest.raises(VersionsDiffer):
        alias_moves(place.registry, "helper-two")


def test_a_version_that_was_taken_out_of_the_database_is_missed(place: Place) -> None:
    """With it its moves would be gone, and another version would seem to have been served."""
    with place.home.rows() as rows:
        for table in ("aliases", "alias_events", "versions"):
            rows.run(f"DELETE FROM {table} WHERE name = 'helper' AND number = 2")
    with pytest.raises(IntegrityBroken):
        alias_moves(place.registry, "helper")


def test_the_command_shows_both(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(place.home.folder)]
    assert run(["show", "helper", "--history", *home]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert run(["show", "helper@next", "--history", "--output", "json", *home]) == 0
    assert [move["version"] for move in json.loads(capsys.readouterr().out)] == ["helper:2"]
    assert run(["show", "helper@champion", "--at", "2026-11-26", *home]) == 0
    shown = capsys.readouterr().out
    assert f"since {DAYS[1]}, @champion → helper:2  by lab-1, policy plain" in shown
    assert run(["show", "helper@champion", "--at", "soon", *home]) == 2
    assert run(["show", "helper@champion", "--at", "2026-11-26", "--history", *home]) == 2
    assert "--history and --at do not go together" in capsys.readouterr().err

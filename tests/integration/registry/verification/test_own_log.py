"""Whoever stole every key signs another history; where the log itself lies, a folder of that history does not verify."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.seen_folders import SeenFolders
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.transparency import merkle, note
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import Examiner, Requirements, verify_folder, verify_folder_lineage
from peft_registry.schemas.policy import Revocation
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, register_adapter, reopened
from tests.builders.signing import a_trusted_key, an_ed25519_key

COMPLETE, PROOF = "evidence/complete.tlog-proof", "evidence/log.tlog-proof"


@dataclass(frozen=True)
class TwoHistories:
    """A home, a copy of it that went on with the same keys, and a folder pulled from each; `before` is from when they were one."""

    home: Path
    copy: Path
    before: Path
    true: Path
    forged: Path


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> TwoHistories:
    folder = tmp_path_factory.mktemp("histories")
    with a_home(folder / "home") as registry:
        version = register_adapter(registry, folder)
        pull_version(registry, version, folder / "before")
    shutil.copytree(folder / "home", folder / "copy")
    for place, words in (("home", "weak"), ("copy", "strong")):
        registry = reopened(folder / place)
        say(registry, version, words)
        pull_version(registry, version, folder / words)
        registry.close()
    return TwoHistories(folder / "home", folder / "copy", folder / "before", folder / "weak", folder / "strong")


def say(registry: Registry, version: Version, words: str) -> None:
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="test-result",
        predicate={"result": "PASSED", "configuration": [], "note": words},
        signer=registry.trainer_key,
    )


@pytest.fixture(autouse=True)
def a_user_who_saw_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two histories whoever verified a folder of the one refuses those of the other."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def version(registry: Registry) -> Version:
    return version_named(registry, "helper")


@pytest.fixture
def registry(histories: TwoHistories) -> Iterator[Registry]:
    opened = reopened(histories.home)
    yield opened
    opened.close()


def verified(folder: Path, registry: Registry) -> VerifyOutcome:
    return verify_folder(folder, trust=registry.trust, now=NOW, registry=registry)


def errors(outcome: VerifyOutcome) -> dict[str, str | None]:
    return {check.step: check.error for check in outcome.checks if check.status == "failed"}


def test_a_folder_of_another_history_is_broken_where_the_log_lies(histories: TwoHistories, registry: Registry) -> None:
    assert (
        verify_folder(histories.forged, trust=registry.trust, now=NOW).verdict == "verified"
    )  # nothing shows it elsewhere
    outcome = verified(histories.forged, registry)
    assert outcome.verdict == "broken"
    assert errors(outcome) == {"statements": "log-forked", "log": "log-forked"}
    deep = verify_folder_lineage(histories.forged, Examiner(registry.trust, NOW, registry=registry))
    assert deep.verdict == "broken"


@pytest.mark.parametrize("name", [COMPLETE, PROOF])
def test_one_proof_of_another_history_among_those_of_the_log_is_broken(
    histories: TwoHistories, registry: Registry, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(histories.true, tmp_path / "mixed"))
    shutil.copy(histories.forged / name, folder / name)
    assert verified(folder, registry).verdict == "broken"


def test_an_older_folder_and_one_from_a_newer_copy_of_the_log_are_accused_of_nothing(
    histories: TwoHistories, registry: Registry, tmp_path: Path
) -> None:
    assert verified(histories.true, registry).verdict == "verified"
    assert verified(histories.before, registry).verdict == "verified"
    say_more = reopened(copy_of(histories.home, tmp_path / "goes-on"))
    older = reopened(copy_of(histories.home, tmp_path / "older"))
    version = register_adapter(say_more, tmp_path, name="later", value=2.5)
    pull_version(say_more, version, tmp_path / "newer")
    assert verified(tmp_path / "newer", older).verdict == "verified"
    say_more.close()
    older.close()


def test_a_folder_of_another_registry_that_is_trusted_is_not_held_against_this_one(
    registry: Registry, tmp_path: Path
) -> None:
    with a_home(tmp_path / "other") as other:
        pull_version(other, register_adapter(other, tmp_path), tmp_path / "pulled")
        outcome = verify_folder(tmp_path / "pulled", trust=other.trust, now=NOW, registry=registry)
    assert outcome.verdict == "verified", outcome


# --- a registry that is damaged itself accuses no folder, and approves of none ---


def copy_of(home: Path, folder: Path) -> Path:
    return Path(shutil.copytree(home, folder))


def size_of(folder: Path) -> int:
    """How many entries the checkpoint of a folder's list covers."""
    text = (folder / COMPLETE).read_text()
    return note.read_unverified(note.parse_proof(text).checkpoint_text)[1]


def zero_older_nodes(home: Path, size: int) -> None:
    """Hashes that make up the root over `size` entries, and are no part of the newest root: opening the home does not meet them."""
    with MadeHome(home).rows() as rows:
        newest = merkle.frontier(rows.run("SELECT max(seq) + 1 FROM log_events").scalar_one())
        older = set(merkle.frontier(size)) - set(newest)
        assert older
        for level, index in older:
            table = (
                "log_events SET leaf_hash = :zero WHERE :level = 0 AND seq = :index"
                if level == 0
                else 'log_nodes SET hash = :zero WHERE level = :level AND "index" = :index'
            )
            assert rows.run(f"UPDATE {table}", zero=bytes(32), level=level, index=index).rowcount == 1


def is_unsure(outcome: VerifyOutcome) -> None:
    """Everything that the folder shows by itself is good, and the own registry's damage is named beside it."""
    assert (outcome.verdict, outcome.exit_code) == ("unverified", 5)
    wrong = [(check.step, check.error) for check in outcome.checks if check.status in ("failed", "unchecked")]
    assert wrong == [("log", "own-log-damaged")]


def test_a_damaged_node_of_the_own_log_makes_no_good_folder_broken(
    histories: TwoHistories, version: Version, tmp_path: Path
) -> None:
    home = copy_of(histories.home, tmp_path / "home")
    whole = reopened(home)
    say(whole, version, "later")
    whole.close()
    zero_older_nodes(home, size_of(histories.true))
    damaged = reopened(home)
    is_unsure(verified(histories.true, damaged))
    assert verified(histories.forged, damaged).verdict == "unverified"
    damaged.close()


def test_rows_that_nobody_signed_over_make_no_folder_of_a_newer_copy_broken(
    histories: TwoHistories, tmp_path: Path
) -> None:
    newer, home = reopened(copy_of(histories.home, tmp_path / "newer")), copy_of(histories.home, tmp_path / "home")
    pull_version(newer, register_adapter(newer, tmp_path, name="later", value=2.5), tmp_path / "pulled")
    newer.close()
    damaged = reopened(home)
    with damaged.database.write() as tx:
        while SqlLogStore(tx).size() < size_of(tmp_path / "pulled"):
            append_event(tx, b"\xff")
    damaged.close()
    damaged = reopened(home)
    is_unsure(verified(tmp_path / "pulled", damaged))
    damaged.close()


@pytest.fixture
def rolled_back(histories: TwoHistories, tmp_path: Path) -> Path:
    """The home with a database in which the newest entries are missing, so that no command opens it."""
    home = copy_of(histories.home, tmp_path / "home")
    with MadeHome(home).rows() as rows:
        rows.run("DELETE FROM log_events WHERE seq > 3")
    return home


def said_of(folder: Path, home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, VerifyOutcome]:
    code = run(["verify", str(folder), "--home", str(home), "--output", "json", *words])
    return code, VerifyOutcome.model_validate(json.loads(capsys.readouterr().out))


def test_a_folder_is_judged_by_its_own_proof_where_the_own_registry_does_not_open(
    histories: TwoHistories, rolled_back: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ((), ("--trust", str(histories.home / "trust.json"))):
        code, outcome = said_of(histories.true, rolled_back, capsys, *words)
        assert code == 5
        is_unsure(outcome)
    assert run(["verify", str(histories.true), "--home", str(rolled_back), "--deep"]) == 5
    said = capsys.readouterr()
    assert "entries are missing from the log" in said.out
    assert "registry log check" in said.err
    flipped = Path(shutil.copytree(histories.true, tmp_path / "flipped"))
    (flipped / "adapter_config.json").write_bytes(b"{}")
    assert said_of(flipped, rolled_back, capsys)[0] == 6


def test_a_damaged_registry_is_no_way_to_have_another_history_approved(
    histories: TwoHistories, rolled_back: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said_of(histories.forged, rolled_back, capsys)[0] == 5


def test_a_folder_of_another_registry_is_not_held_against_a_damaged_one(
    rolled_back: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_home(tmp_path / "other") as other:
        pull_version(other, register_adapter(other, tmp_path), tmp_path / "pulled")
    code, outcome = said_of(tmp_path / "pulled", rolled_back, capsys, "--trust", str(tmp_path / "other" / "trust.json"))
    assert (code, outcome.verdict) == (0, "verified")


# --- two folders, and no log at hand ---


def with_folders_seen(folder: Path, registry: Registry, state: Path) -> VerifyOutcome:
    return verify_folder(folder, trust=registry.trust, now=NOW, seen=SeenFolders(state, str))


def test_a_folder_of_another_history_is_broken_for_whoever_verified_one_of_the_other(
    histories: TwoHistories, registry: Registry, tmp_path: Path
) -> None:
    """One log key, two histories of one size: each verifies by itself."""
    for order, (first, second) in enumerate([(histories.true, histories.forged), (histories.forged, histories.true)]):
        state = tmp_path / f"{order}"
        assert with_folders_seen(first, registry, state).verdict == "verified"
        assert with_folders_seen(histories.before, registry, state).verdict == "verified"
        outcome = with_folders_seen(second, registry, state)
        assert outcome.exit_code == 6
        (sentence,) = next(check.detail for check in outcome.checks if check.error == "log-of-two-histories")
        size, roots = size_of(second), [root_of(folder) for folder in (second, first)]
        assert sentence == (
            f"{second} comes with the root {roots[0]} over {size} entries, and {first}, which you verified before, "
            f"with the root {roots[1]} over as many"
        )
        assert with_folders_seen(first, registry, state).verdict == "verified"


def witnessed(folder: Path, key: PrivateKey, *, name: str = "witness.example", of: Path | None = None) -> None:
    """Add to the proof of a folder what a witness says of the checkpoint in it, or of another (C2SP tlog-cosignature)."""
    proof = folder / PROOF
    checkpoint = note.parse_proof((folder if of is None else of).joinpath(PROOF).read_text()).checkpoint_text
    body = checkpoint.rpartition("\n\n")[0] + "\n"
    key_id = hashlib.sha256(name.encode() + b"\x0a\x04" + key.public.raw).digest()[:4]
    data = key_id + (7).to_bytes(8, "big") + key.sign(b"cosignature/v1\ntime 7\n" + body.encode())
    proof.write_text(f"{proof.read_text()}— {name} {base64.b64encode(data).decode()}\n")


@pytest.mark.parametrize("seed", [None, "listed", "stranger", "revoked", "of another state"])
def test_whoever_requires_a_witness_is_told_of_the_one_who_cosigned_and_verifies_nothing_without(
    histories: TwoHistories, registry: Registry, tmp_path: Path, seed: str | None
) -> None:
    witness = an_ed25519_key(31)
    key = a_trusted_key(witness, person="wim", role="witness", predicate_types=None)
    gone = Revocation(key_id=key.key_id, revoked_at=NOW, reason="left", kind="routine")
    trust = registry.trust.revised(
        keys=(*registry.trust.keys, key), revocations=(gone,) if seed == "revoked" else registry.trust.revocations
    )
    folder = Path(shutil.copytree(histories.true, tmp_path / "folder"))
    if seed is not None:
        of = histories.before if seed == "of another state" else None
        witnessed(folder, an_ed25519_key(32) if seed == "stranger" else witness, of=of)
    plain = verify_folder(folder, trust=trust, now=NOW)
    asked = verify_folder(folder, trust=trust, now=NOW, require=Requirements(witness=True))
    log = next(check for check in asked.checks if check.step == "log")
    if seed == "of another state":
        assert (plain.exit_code, asked.exit_code) == (6, 6)
        return
    assert plain.verdict == "verified", plain
    if seed == "listed":
        assert asked.verdict == "verified" and ", witnessed by wim" in log.text
    else:
        assert (asked.exit_code, log.error) == (5, "witness-required")


def test_whoever_requires_a_witness_reads_how_to_get_one(
    histories: TwoHistories, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ("--home", str(histories.home), "--require", "witness")
    to_do = f"have a witness whose key the trust file lists cosign the checkpoint in {{folder}}/{PROOF}"
    assert run(["verify", str(histories.true), *home]) == 5
    assert f"fix: {to_do.format(folder=histories.true)}" in " ".join(capsys.readouterr().err.split())
    assert run(["verify", "helper:1", *home]) == 5
    said = " ".join(capsys.readouterr().err.split())
    assert f"fix: registry pull helper:1 FOLDER, then {to_do.format(folder='FOLDER')}" in said


@pytest.mark.full
def test_every_pair_of_folders_of_two_histories_is_broken_for_whoever_verified_the_other(
    histories: TwoHistories, registry: Registry, tmp_path: Path
) -> None:
    """Ten sizes that both histories have reached, and each of both seen first."""
    grown = [shutil.copytree(home, tmp_path / home.name) for home in (histories.home, histories.copy)]
    pairs = []
    for size in range(10):
        pair = [tmp_path / f"{size}-{home.name}" for home in grown]
        for home, pulled in zip(grown, pair, strict=True):
            other = reopened(home)
            say(other, version_named(other, "helper"), pulled.name)
            pull_version(other, version_named(other, "helper"), pulled)
            other.close()
        pairs += [pair, pair[::-1]]
    codes = []
    for number, (first, second) in enumerate(pairs):
        assert size_of(first) == size_of(second) and root_of(first) != root_of(second)
        assert with_folders_seen(first, registry, tmp_path / f"state-{number}").verdict == "verified"
        codes.append(with_folders_seen(second, registry, tmp_path / f"state-{number}").exit_code)
    assert codes == [6] * 20


@pytest.mark.parametrize("spoil", [lambda file: file.write_bytes(b'{"root": "'), lambda file: os.truncate(file, 2**30)])
def test_what_was_seen_of_folders_and_cannot_be_read_leaves_the_next_unverified(
    histories: TwoHistories, registry: Registry, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with_folders_seen(histories.true, registry, tmp_path)
    for file in tmp_path.glob("folders/*/*"):
        spoil(file)
    outcome = with_folders_seen(histories.forged, registry, tmp_path)
    assert outcome.verdict == "unverified"
    assert "seen-folder-unreadable" in [check.error for check in outcome.checks]


def root_of(folder: Path) -> str:
    proof = note.parse_proof((folder / COMPLETE).read_text("utf-8"))
    return note.read_unverified(proof.checkpoint_text)[2].hex()

"""Whoever can write a home cannot exchange its trust file: which one the user accepted stands in their own state folder."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.known_homes import remember
from peft_registry.registry.homes.pins import Pins, PinUnreadable, TrustForked, TrustReplaced, name_of_chain
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.rotation import extended, next_draft
from peft_registry.registry.signing.trust_chain import TrustChain, TrustRolledBack, render_chain, sign_version
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import NOW, a_home, exchange_trust, register_adapter, reopened
from tests.builders.signing import a_chain, a_form_2_policy, a_p256_key, one_more

ROOT, STRANGER = a_p256_key(11), a_p256_key(66)
FIRST = a_chain(a_form_2_policy(roots=[ROOT]), ROOT)
SECOND = one_more(FIRST, ROOT)
THIRD = one_more(SECOND, ROOT)
OTHER_SECOND = one_more(FIRST, ROOT, expires_at="2027-06-01T00:00:00Z")


class Notes(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def pins(tmp_path: Path, notes: Notes) -> Pins:
    return Pins(tmp_path / "state", notes)


# --- what a pin refuses


def test_the_first_sight_is_believed_and_the_pin_follows_the_chain(pins: Pins, notes: Notes) -> None:
    for chain in (FIRST, SECOND, SECOND, THIRD):
        pins.follow("home", chain)
        pin = pins.pin("home")
        assert pin is not None and pin.digest == chain.newest.digest
    assert not notes


def test_rollback_freeze_and_fork_are_told_apart(pins: Pins) -> None:
    pins.follow("home", SECOND)
    with pytest.raises(TrustRolledBack) as rolled_back:
        pins.follow("home", FIRST)
    with pytest.raises(TrustForked) as forked:
        pins.follow("home", OTHER_SECOND)
    with pytest.raises(TrustForked):
        pins.follow("home", one_more(OTHER_SECOND, ROOT))
    with pytest.raises(TrustReplaced) as replaced:
        pins.follow("home", a_chain(a_form_2_policy(roots=[STRANGER]), STRANGER))
    for caught in (rolled_back, forked, replaced):
        assert caught.value.exit_code == 6
    pin = pins.pin("home")
    assert pin is not None and pin.digest == SECOND.newest.digest  # what was refused was not remembered


def test_each_registry_and_each_file_has_a_pin_of_its_own(pins: Pins) -> None:
    other = a_chain(a_form_2_policy(roots=[STRANGER]), STRANGER)
    pins.follow("home", SECOND)
    pins.follow("another/../home", other)
    pins.follow(name_of_chain(other), other)
    pins.follow(name_of_chain(FIRST), FIRST)
    pin = pins.pin("home")
    assert pin is not None and pin.digest == SECOND.newest.digest
    assert pins.state is not None and len(list((pins.state / "pins").iterdir())) == 4


def test_another_registry_in_the_place_of_one_that_is_known_is_refused(pins: Pins) -> None:
    pins.follow("here", FIRST)
    other = a_chain(a_form_2_policy(roots=[STRANGER]), STRANGER)
    with pytest.raises(TrustReplaced):
        pins.follow("new id", other, before={"here", "new id"})
    pins.accept("new id", other)
    pins.follow("new id", other, before={"here", "new id"})


@pytest.mark.parametrize("text", ["", "{}", '{"version":0}', "[" * 200])
def test_a_damaged_pin_is_not_taken_for_none(pins: Pins, text: str) -> None:
    pins.follow("home", FIRST)
    assert pins.state is not None
    next((pins.state / "pins").iterdir()).write_text(text)
    with pytest.raises(PinUnreadable) as caught:
        pins.follow("home", FIRST)
    assert caught.value.exit_code == 5


def test_a_pin_that_cannot_be_opened_is_not_taken_for_none(pins: Pins) -> None:
    pins.follow("home", FIRST)
    assert pins.state is not None
    pin = next((pins.state / "pins").iterdir())
    pin.unlink()
    pin.symlink_to("elsewhere")
    with pytest.raises(PinUnreadable):
        pins.follow("home", FIRST)


def test_without_a_state_folder_all_works_and_it_is_said_that_nothing_is_remembered(
    tmp_path: Path, notes: Notes
) -> None:
    file_in_the_way = tmp_path / "state"
    file_in_the_way.write_text("")
    for state in (None, file_in_the_way):
        notes.clear()
        pins = Pins(state, notes)
        pins.follow("home", SECOND)
        pins.follow("home", FIRST)
        assert len(notes) == 2 and "not remembered" in notes[0]


# --- the attacks, by commands


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's own home, known and used once."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".registry"
    with a_home(folder) as registry:
        register_adapter(registry, tmp_path)
        remember(tmp_path / "user" / "peft-registry", folder, registry.settings.registry_id)
    assert run(["verify", "helper:1"]) == 0
    yield folder


def forge_evaluation(home: Path) -> None:
    registry = reopened(home)
    exchange_trust(
        registry,
        forger=PrivateKey.generate("p256"),
        log=PrivateKey.generate("ed25519"),
        root=PrivateKey.generate("p256"),
    )
    registry.close()
    registry = reopened(home)
    record, items = a_recorded_evaluation()
    append_statement(
        registry,
        subject=version_named(registry, "helper:1").manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    registry.close()


@pytest.mark.parametrize(
    "command",
    [["verify", "helper:1"], ["report", "helper:1"], ["pull", "helper:1", "out"], ["show", "helper:1"], ["list"]],
    ids=lambda command: command[0],
)
def test_a_trust_file_exchanged_for_one_signed_by_its_own_root_makes_no_forged_evaluation_count(
    home: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    forge_evaluation(home)
    capsys.readouterr()
    assert run(command) == 6
    assert "not the trust file that you accepted before" in capsys.readouterr().err
    assert not (home.parent / "out").exists()


def test_the_demo_signs_nothing_in_a_home_whose_trust_file_was_exchanged(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge_evaluation(home)
    before = trees(home)
    capsys.readouterr()
    assert run(["demo", "--folder", str(home.parent)]) == 6
    assert "not the trust file that you accepted before" in capsys.readouterr().err
    assert trees(home) == before


def test_no_home_is_upgraded_whose_trust_file_was_exchanged(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The upgrade signs a checkpoint, and makes a chain of a trust file of the first release."""
    forge_evaluation(home)
    before = trees(home)
    capsys.readouterr()
    assert run(["admin", "upgrade"]) == 6
    assert "not the trust file that you accepted before" in capsys.readouterr().err
    assert trees(home) == before


def trees(home: Path) -> dict[str, bytes]:
    """What of a home is signed or says whom it trusts."""
    paths = [home / "trust.json", *(home / "checkpoints").iterdir(), *(home / "objects").rglob("*")]
    return {str(path.relative_to(home)): path.read_bytes() for path in paths if path.is_file()}


def test_a_home_that_was_moved_away_behind_a_link_to_another_does_not_get_round_its_pin(
    home: Path, tmp_path: Path
) -> None:
    """The link leads to a place that the user has never named, and what they type is what they always typed."""
    with a_home(tmp_path / "theirs") as registry:
        register_adapter(registry, tmp_path / "work")
    assert run(["list", "--home", str(home)]) == 0
    home.rename(tmp_path / "moved")
    home.symlink_to(tmp_path / "theirs")
    for _ in range(2):  # what is refused is not known the next time
        assert run(["verify", "helper:1", "--home", str(home)]) == 6
    assert run(["verify", "helper:1"]) == 5, "nobody named the place that it leads to"
    home.unlink()
    (tmp_path / "moved").rename(home)
    assert run(["verify", "helper:1"]) == 0


def test_a_link_that_was_named_before_is_the_place_that_its_user_knows(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    assert run(["list", "--home", str(link)]) == 0
    with a_home(tmp_path / "theirs") as registry:
        register_adapter(registry, tmp_path / "work")
    link.unlink()
    link.symlink_to(tmp_path / "theirs")
    assert run(["list", "--home", str(link)]) == 6


def test_another_registry_that_its_user_knows_does_not_stand_in_for_theirs(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may sign in one registry may not sign in every registry that somebody trusts."""
    other = tmp_path / "other" / ".registry"
    with a_home(other) as registry:
        register_adapter(registry, tmp_path / "work")
        root = registry.trust.roots[0]
    assert run(["list", "--home", str(other)]) == 0
    shutil.rmtree(home)
    shutil.copytree(other, home)
    for words in (["list"], ["log", "check"], ["list"], ["trust", "pin"], ["list"]):
        assert run([*words, "--home", str(home)]) in ((6,) if words != ["log", "check"] else (5, 6)), words
    assert run(["list"]) == 5, "found upwards it is not the one that was named here"
    capsys.readouterr()
    assert run(["trust", "pin", "--accept", f"sha256:{root}", "--home", str(home)]) == 0
    assert run(["list", "--home", str(home)]) == 0
    assert run(["list"]) == 0


def test_a_registry_of_another_id_in_the_users_own_place_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home)
    with a_home(home) as registry:
        register_adapter(registry, tmp_path / "theirs")
    assert run(["verify", "helper:1"]) != 0  # nobody named it
    assert run(["verify", "helper:1", "--home", str(home)]) == 6


def test_an_older_trust_file_put_back_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (home / "trust.json").read_bytes()
    registry = reopened(home)
    chain = registry.trust_chain
    longer = extended(chain, next_draft(chain.newest, now=NOW), [registry.private_key("root")])
    registry.close()
    (home / "trust.json").write_bytes(render_chain(longer))
    assert run(["list"]) == 0
    (home / "trust.json").write_bytes(before)
    (home / "trust-accepted").unlink()
    capsys.readouterr()
    assert run(["list"]) == 6
    assert "must not replace version 2" in capsys.readouterr().err


def test_a_file_named_with_trust_is_pinned_by_its_chain(home: Path, tmp_path: Path) -> None:
    registry = reopened(home)
    chain = registry.trust_chain
    pull_version(registry, version_named(registry, "helper:1"), tmp_path / "pulled")
    longer = extended(chain, next_draft(chain.newest, now=NOW), [registry.private_key("root")])
    registry.close()
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_bytes((home / "trust.json").read_bytes())
    second.write_bytes(render_chain(longer))
    assert run(["verify", "./pulled", "--trust", str(first)]) == 0
    assert run(["verify", "./pulled", "--trust", str(second)]) == 0
    assert run(["verify", "./pulled", "--trust", str(first)]) == 6


def test_init_pins_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--unencrypted"]) == 0
    kept = [json.loads(path.read_text()) for path in (tmp_path / "user" / "peft-registry" / "pins").iterdir()]
    settings = json.loads((tmp_path / ".registry" / "registry.json").read_text())
    assert [(pin["name"], pin["version"]) for pin in kept] == [(settings["registry_id"], 1)]


def test_what_was_exchanged_is_accepted_only_with_its_root_typed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = reopened(home)
    newest = registry.trust_chain.newest.policy
    root = PrivateKey.generate("p256")
    listed = next(key for key in newest.keys if key.role == "root").revised(
        key_id=root.public.key_id, public_key_pem=root.public.pem.decode()
    )
    others = tuple(key for key in newest.keys if key.role != "root")
    policy = newest.revised(keys=(listed, *others), roots=(listed.key_id,))
    registry.close()
    (home / "trust.json").write_bytes(render_chain(TrustChain((sign_version(policy, [root]),))))
    assert run(["trust", "pin"]) == 6
    shown = capsys.readouterr()
    assert f"sha256:{listed.key_id}" in shown.out and "error: this is not the trust file" in shown.err
    assert run(["trust", "pin", "--accept", f"sha256:{newest.roots[0]}"]) == 2
    assert run(["list"]) == 6
    assert run(["trust", "pin", "--accept", f"sha256:{listed.key_id}"]) == 0
    assert run(["list"]) == 0


def test_a_forged_trust_file_that_lists_the_true_root_beside_its_own_is_not_accepted_by_the_true_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The root that its keeper tells over the telephone stands in the file, and signed nothing of it."""
    registry = reopened(home)
    newest = registry.trust_chain.newest.policy
    registry.close()
    forger = PrivateKey.generate("p256")
    own = next(key for key in newest.keys if key.role == "root").revised(
        key_id=forger.public.key_id, public_key_pem=forger.public.pem.decode()
    )
    policy = newest.revised(keys=(own, *newest.keys), roots=(forger.public.key_id, *newest.roots))
    (home / "trust.json").write_bytes(render_chain(TrustChain((sign_version(policy, [forger]),))))
    assert run(["trust", "pin"]) == 6
    assert f"{newest.roots[0]}  lab-1  has signed nothing here" in capsys.readouterr().out
    assert run(["trust", "pin", "--accept", f"sha256:{newest.roots[0]}"]) == 2
    assert run(["list"]) == 6

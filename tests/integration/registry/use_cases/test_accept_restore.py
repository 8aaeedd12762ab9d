"""A restored backup goes on only by a root's word. Nobody else can say so, nor can it be said again for another loss.

Each test has a home of today, a backup of yesterday, and users who saw the newest checkpoint. On SQLite and PostgreSQL.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home, read_settings
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import KeyFileMissing, PrivateKey
from peft_registry.registry.signing.rotation import next_draft
from peft_registry.registry.signing.trust_chain import TrustChain, parse_chain, render_chain, sign_version
from peft_registry.registry.transparency import note
from peft_registry.registry.use_cases.accept_restore import (
    AcceptanceWithoutReason,
    AcceptedRestore,
    NothingLost,
    RestoreUnsound,
    accept_restore,
)
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.exchange_trust import sign_waiting, take_update
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.show_log import prove_entry, show_log
from peft_registry.registry.use_cases.sign_log import LogKeyElsewhere
from peft_registry.registry.use_cases.trust import add_key, issue, place_of_home
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.manifest import FileEntry, TensorEntry, WeightsFile
from peft_registry.schemas.policy import Epoch
from peft_registry.schemas.version import VerifyOutcome
from tests.builders.backends import BACKENDS, MadeHome, contents, make_on
from tests.builders.homes import NOW, add_a_base, an_artifact, register_adapter
from tests.builders.registered import a_manifest, digest
from tests.builders.signing import a_p256_key, an_ed25519_key
from tests.processes.killed import dies_at

WHY = "the disk failed, and the backup is of yesterday"


def fill(registry: Registry, folder: Path) -> None:
    set_alias(registry, register_adapter(registry, folder), "champion")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def backup(made: MadeHome, tmp_path: Path) -> MadeHome:
    """The home as it is before anything that a test does."""
    return made.copy(tmp_path / "backup")


class User:
    """Somebody with a state folder of their own, and what they were told."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.heard: list[str] = []

    @property
    def seen(self) -> SeenCheckpoints:
        return SeenCheckpoints(self.state, self.heard.append)

    def opens(self, home: MadeHome, *, check_log: bool = True, against: tuple[str, ...] = ()) -> Registry:
        return open_home(
            home.folder,
            clock=lambda: NOW,
            seen=self.seen,
            pins=Pins(self.state, self.heard.append),
            check_log=check_log,
            against=against,
        )

    def promotes(self, home: MadeHome, *aliases: str) -> str:
        """Some more entries; returns the checkpoint over them."""
        registry = self.opens(home)
        try:
            for alias in aliases:
                set_alias(registry, version_named(registry, "helper:1"), alias)
            text = registry.remembered_checkpoint()
            assert text is not None
            return text
        finally:
            registry.close()

    def accepts(self, home: MadeHome, *, reason: str = WHY, **options: object) -> AcceptedRestore:
        registry = self.opens(home, check_log=False)
        try:
            return accept_restore(registry, reason=reason, **options)  # type: ignore[arg-type]
        finally:
            registry.close()

    def is_refused(self, home: MadeHome, *, against: tuple[str, ...] = ()) -> str:
        """The reference of the error that opening it ends with, which is always 6."""
        with pytest.raises(KnownError) as caught:
            self.opens(home, against=against)
        assert caught.value.exit_code == 6, caught.value
        return caught.value.reference

    def finds(self, home: MadeHome) -> list[str]:
        """The references of all contradictions that a whole check names."""
        registry = self.opens(home, check_log=False)
        try:
            return [found.reference for found in check_log(registry).contradictions]
        finally:
            registry.close()


@pytest.fixture
def keeper(tmp_path: Path) -> User:
    """Who works on the home."""
    return User(tmp_path / "state-keeper")


@pytest.fixture
def other(tmp_path: Path) -> User:
    """Somebody on another machine."""
    return User(tmp_path / "state-other")


@pytest.fixture
def newcomer(tmp_path: Path) -> User:
    """Who never saw this log."""
    return User(tmp_path / "state-newcomer")


def restore_database(home: MadeHome, backup: MadeHome) -> None:
    """Put the backup's database in the place of the home's own; everything else stays."""
    if home.server is None:
        for name in ("database.sqlite", "database.sqlite-wal", "database.sqlite-shm"):
            (home.folder / name).unlink(missing_ok=True)
            if (backup.folder / name).exists():
                shutil.copy(backup.folder / name, home.folder / name)
        return
    # under its own name: a home that names another database than before is refused for that alone
    own, source = (make_url(read_settings(place.folder).database or "").database for place in (home, backup))
    home.server.run(f"DROP DATABASE {own} WITH (FORCE)")
    home.server.new_database(f"{own}", template=source)


def without_checkpoints(home: MadeHome) -> None:
    """What a user removes by hand who wants a refused home back."""
    shutil.rmtree(home.folder / "checkpoints")
    (home.folder / "checkpoints").mkdir()


@pytest.fixture
def lost(home: MadeHome, backup: MadeHome, keeper: User, other: User) -> str:
    """Two more moves, seen by two users, are lost: the database is that of the backup. Returns their checkpoint."""
    text = keeper.promotes(home, "challenger", "canary")
    other.opens(home).close()
    restore_database(home, backup)
    return text


def size_of(text: str) -> int:
    return note.read_unverified(text)[1]


# --- by hand, and as it should be


def test_a_restored_database_whose_newer_checkpoints_were_removed_by_hand_stays_refused_elsewhere(
    home: MadeHome, lost: str, keeper: User, other: User
) -> None:
    assert keeper.is_refused(home) == "log-truncated"
    without_checkpoints(home)
    assert keeper.is_refused(home) == "log-truncated"
    shutil.rmtree(keeper.state)
    keeper.opens(home).close()  # consistent in itself
    assert other.is_refused(home) == "log-truncated"
    assert other.finds(home) == ["log-truncated"]


def test_an_accepted_restore_goes_on_under_a_new_origin_for_everybody(
    home: MadeHome, lost: str, keeper: User, other: User, newcomer: User, tmp_path: Path
) -> None:
    accepted = keeper.accepts(home)
    log, epoch = note.read_unverified(lost)[0], accepted.origin
    assert (accepted.state, accepted.epoch, epoch) == ("opened", 1, f"{log}/1")
    assert (accepted.lost.size, accepted.lost.origin) == (size_of(lost), log)
    assert accepted.kept_size < accepted.lost.size
    assert "your state folder" in accepted.lost.found and "checkpoints/latest" in accepted.lost.found
    keeper.opens(home).close()
    for _ in range(2):  # it is said once
        other.opens(home).close()
        said = [line for line in other.heard if "accepted loss in epoch 1" in line]
        assert len(said) == 1 and WHY in said[0] and "lab-1" in said[0]
    newest = keeper.promotes(home, "challenger")
    assert note.read_unverified(newest)[0] == epoch
    registry = newcomer.opens(home)
    report = check_log(registry)
    assert (report.contradictions, report.unchecked, report.covered) == ((), (), report.size)
    assert report.origin == epoch
    assert any("accepted loss in epoch 1" in line and WHY in line for line in report.accepted)
    shown = [entry for entry in show_log(registry, limit=100).entries if entry.kind == "epoch"]
    assert [entry.index for entry in shown] == [accepted.kept_size]
    assert f"\n{epoch}\n" in f"\n{prove_entry(registry, 0)}"
    registry.close()
    assert other.is_refused(home, against=(lost.replace(log, f"{log}/7"),)) == "epoch-unknown"
    registry = other.opens(home, against=(lost,))  # it turns up again, and is no attack
    registry.close()
    assert "accepted loss in epoch 1" in other.heard[-1]
    assert (home.folder / "checkpoints" / f"{size_of(lost)}").read_text() == lost, "it stays, as evidence"


def test_a_home_restored_as_a_whole_goes_on_too(
    home: MadeHome, backup: MadeHome, lost: str, keeper: User, other: User
) -> None:
    shutil.rmtree(home.folder)
    whole = backup.copy(home.folder)
    assert keeper.is_refused(whole) == "log-truncated"
    accepted = keeper.accepts(whole)
    assert accepted.lost.found == ("your state folder",)
    assert accepted.lost.kept_at is not None
    for user in (keeper, other):
        user.promotes(whole, f"of-{user.state.name}")
    assert keeper.finds(whole) == []


def test_folders_pulled_before_and_after_verify_and_an_older_trust_file_is_told_of_the_epoch(
    home: MadeHome, backup: MadeHome, keeper: User, tmp_path: Path
) -> None:
    registry = keeper.opens(home)
    base = add_a_base(registry, tmp_path / "base-again", name="tiny")
    kept, before = version_named(registry, "helper:1"), registry.trust
    pull_version(registry, kept, tmp_path / "before")
    gone = register_version(registry, an_artifact(tmp_path / "gone", base, value=0.25))
    pull_version(registry, gone, tmp_path / "gone-pulled")
    registry.close()
    restore_database(home, backup)
    accepted = keeper.accepts(home)
    assert any(f"{gone.manifest_digest}" in text for text in accepted.unregistered)
    registry = keeper.opens(home)
    pull_version(registry, kept, tmp_path / "after")
    after = registry.trust
    registry.close()
    for folder in ("before", "gone-pulled", "after"):
        outcome = verify_folder(tmp_path / folder, trust=after, now=NOW)
        assert outcome.verdict == "verified", outcome
    for folder in ("before", "gone-pulled"):
        assert verify_folder(tmp_path / folder, trust=before, now=NOW).verdict == "verified"
    outcome = verify_folder(tmp_path / "after", trust=before, now=NOW)
    assert outcome.exit_code == 5
    assert "epoch-not-stated" in {found.error for found in outcome.checks}


def test_a_folder_of_a_history_that_was_signed_with_a_stolen_log_key_is_no_accepted_loss(
    home: MadeHome, backup: MadeHome, keeper: User, tmp_path: Path
) -> None:
    twin = home.copy(tmp_path / "twin")  # with its keys
    keeper.promotes(home, "challenger")
    pull_as(keeper, home, tmp_path / "lost")
    thief = User(tmp_path / "state-thief")
    thief.promotes(twin, "canary")
    pull_as(thief, twin, tmp_path / "as-long-as-what-was-lost")
    thief.promotes(twin, "stable")
    pull_as(thief, twin, tmp_path / "beyond-what-was-lost")
    restore_database(home, backup)
    keeper.accepts(home)
    registry = keeper.opens(home)
    found = {
        name: verify_folder(tmp_path / name, trust=registry.trust, now=NOW, registry=registry)
        for name in ("lost", "as-long-as-what-was-lost", "beyond-what-was-lost")
    }
    registry.close()
    assert found["lost"].verdict == "verified", found["lost"]
    assert broken_by(found["as-long-as-what-was-lost"]) == {"log-forked"}
    assert broken_by(found["beyond-what-was-lost"]) == {"loss-not-accepted"}


def pull_as(user: User, home: MadeHome, target: Path) -> None:
    registry = user.opens(home)
    pull_version(registry, version_named(registry, "helper:1"), target)
    registry.close()


def broken_by(outcome: VerifyOutcome) -> set[str | None]:
    """The references of all checks that failed."""
    return {check.error for check in outcome.checks if check.status == "failed"}


def test_dates_by_another_keeper_survive_into_the_epoch(
    home: MadeHome, backup: MadeHome, lost: str, keeper: User, tmp_path: Path
) -> None:
    """A folder carries the first checkpoint over each statement where log and signer are two persons: it is of the old origin."""
    registry = keeper.opens(home, check_log=False)
    chain = registry.trust_chain
    draft = next_draft(chain.newest, now=NOW)
    keys = tuple(key.revised(person="the log's keeper") if key.role == "log" else key for key in draft.keys)
    root = registry.private_key("root")
    registry.close()
    chain = TrustChain((*chain.versions, sign_version(draft.revised(keys=keys), [root])))
    (home.folder / "trust.json").write_bytes(render_chain(chain))
    keeper.accepts(home)
    registry = keeper.opens(home)
    pull_version(registry, version_named(registry, "helper:1"), tmp_path / "copy")
    trust = registry.trust
    registry.close()
    text = (tmp_path / "copy" / "evidence" / "complete.tlog-proof").read_text()
    assert verify_folder(tmp_path / "copy", trust=trust, now=NOW).verdict == "verified", text


# --- what is refused, and changes nothing


def test_nothing_is_accepted_where_nothing_is_lost(home: MadeHome, keeper: User) -> None:
    keeper.promotes(home, "challenger")
    before = state_of(home)
    with pytest.raises(NothingLost):
        keeper.accepts(home)
    assert state_of(home) == before


def state_of(home: MadeHome) -> dict[str, object]:
    """Everything that a home holds that an acceptance changes."""
    registry = open_home(home.folder, clock=lambda: NOW, check_log=False)
    try:
        return contents(registry) | {"trust": (home.folder / "trust.json").read_bytes()}
    finally:
        registry.close()


def test_a_dry_run_and_an_acceptance_without_a_reason_change_nothing(home: MadeHome, lost: str, keeper: User) -> None:
    before = state_of(home)
    shown = keeper.accepts(home, dry_run=True, reason="")
    assert (shown.state, shown.epoch, shown.lost.size) == ("shown", 1, size_of(lost))
    with pytest.raises(AcceptanceWithoutReason):
        keeper.accepts(home, reason="  ")
    assert state_of(home) == before
    assert keeper.is_refused(home) == "log-truncated"


def test_a_lost_model_of_many_tensors_is_named_too(home: MadeHome, lost: str, keeper: User) -> None:
    """The manifest of a model of 12,000 tensors has more than a megabyte."""
    tensor = digest("tensor")
    tensors = tuple(
        TensorEntry(name=f"t{number:05}", dtype="F32", shape=(1,), sha256=tensor) for number in range(12_000)
    )
    weights = WeightsFile(path="model.safetensors", header_sha256=digest("header"), tensors=tensors)
    file = FileEntry(path="model.safetensors", size=1, sha256=digest("weights"))
    manifest = a_manifest("many", files=(file,), weights=(weights,))
    registry = open_home(home.folder, clock=lambda: NOW, check_log=False)
    try:
        assert registry.store.put_bytes(manifest.to_canonical()).size > 1024 * 1024
    finally:
        registry.close()
    shown = keeper.accepts(home, dry_run=True, reason="")
    assert any(str(manifest.canonical_digest()) in text for text in shown.unregistered)


def test_a_backup_that_was_edited_is_not_accepted(home: MadeHome, lost: str, keeper: User) -> None:
    with home.rows() as rows:
        rows.run("UPDATE aliases SET alias = 'forged'")
    before = state_of(home)
    with pytest.raises(RestoreUnsound) as caught:
        keeper.accepts(home)
    assert caught.value.exit_code == 6
    assert state_of(home) == before


def test_a_log_that_was_cut_inside_its_database_is_no_backup(home: MadeHome, keeper: User) -> None:
    text = keeper.promotes(home, "challenger")
    with home.rows() as rows:
        rows.run("DELETE FROM log_events WHERE seq >= :first", first=size_of(text) - 2)
    with pytest.raises(RestoreUnsound):
        keeper.accepts(home)


def test_a_fork_is_not_a_loss(home: MadeHome, backup: MadeHome, lost: str, keeper: User, newcomer: User) -> None:
    """Somebody without memory went on from the backup: the log key signed two histories."""
    without_checkpoints(home)
    newcomer.promotes(home, "another", "and-another", "longer")
    assert keeper.is_refused(home) == "log-forked"
    with pytest.raises(RestoreUnsound):
        keeper.accepts(home)


# --- who may


@pytest.mark.parametrize("signer", ["log", "trainer", "approver"])
def test_an_epoch_signed_by_another_key_than_a_root_is_none(
    signer: str, home: MadeHome, lost: str, keeper: User, other: User, newcomer: User, tmp_path: Path
) -> None:
    registry = keeper.opens(home, check_log=False)
    approver = a_p256_key(seed=42)
    add_key(place_of_home(registry), approver.public, person="approver", role="approver", until=None)
    registry.close()
    right = home.copy(tmp_path / "right")
    keeper.accepts(right)
    key = approver if signer == "approver" else PrivateKey.load(home.folder / "keys" / f"{signer}.key")
    newest = parse_chain((right.folder / "trust.json").read_bytes())
    forged = TrustChain((*newest.versions[:-1], sign_version(newest.newest.policy, [key])))
    (right.folder / "trust.json").write_bytes(render_chain(forged))
    without_checkpoints(right)
    # whoever saw the log before is refused; nothing is decided for whoever did not
    assert other.is_refused(right) in ("log-truncated", "log-forked")
    registry = newcomer.opens(right)
    with pytest.raises(KnownError) as caught:
        version_named(registry, "helper@champion")
        _ = registry.trust
    assert caught.value.exit_code in (5, 6)
    registry.close()


def test_an_epoch_that_the_log_key_began_alone_is_refused_by_whoever_never_saw_the_log(
    home: MadeHome, lost: str, keeper: User, other: User, newcomer: User, tmp_path: Path
) -> None:
    """The first leaf and the checkpoint are by the log key, and the trust file of all others says nothing of it."""
    alone = home.copy(tmp_path / "alone")
    trust = (home.folder / "trust.json").read_bytes()
    keeper.accepts(alone)
    (alone.folder / "trust.json").write_bytes(trust)
    for kept in (alone.folder / "checkpoints").iterdir():
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    (alone.folder / "trust-accepted").unlink(missing_ok=True)
    assert newcomer.is_refused(alone) == "epoch-unknown"
    assert other.is_refused(alone) in ("log-truncated", "log-forked", "epoch-unknown")
    assert "epoch-unknown" in newcomer.finds(alone)


def test_without_a_root_key_nothing_is_stated(home: MadeHome, lost: str, keeper: User) -> None:
    (home.folder / "keys" / "root.key").unlink()
    before = state_of(home)
    with pytest.raises(KeyFileMissing):
        keeper.accepts(home)
    assert state_of(home) == before


def test_where_the_log_key_is_elsewhere_its_holder_opens_what_the_root_stated(
    home: MadeHome, lost: str, keeper: User, other: User, tmp_path: Path
) -> None:
    key = (home.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    assert keeper.accepts(home).state == "stated"
    assert keeper.is_refused(home) == "epoch-not-opened"
    with pytest.raises(LogKeyElsewhere):
        keeper.accepts(home)
    key.rename(home.folder / "keys" / "log.key")
    (home.folder / "keys" / "root.key").unlink()  # it has said what it had to say
    assert keeper.accepts(home, reason="").state == "opened"
    for user in (keeper, other):
        user.opens(home).close()


def test_two_roots_are_two_roots_for_an_accepted_loss_too(home: MadeHome, lost: str, keeper: User) -> None:
    second = a_p256_key(seed=43)
    registry = keeper.opens(home, check_log=False)
    add_key(place_of_home(registry), second.public, person="second-root", role="root", until=None)
    registry.close()
    registry = keeper.opens(home, check_log=False)
    place = place_of_home(registry)
    draft = next_draft(place.chain.newest, now=NOW).revised(threshold=2)
    assert issue(replace(place, signers=(*place.signers, second)), draft).state == "accepted"
    registry.close()
    waiting = keeper.accepts(home)
    assert (waiting.state, waiting.persons) == ("waiting", ("second-root",))
    assert keeper.is_refused(home) == "log-truncated"
    assert waiting.file is not None
    sign_waiting(Path(waiting.file), second)
    registry = keeper.opens(home, check_log=False)
    take_update(registry, Path(waiting.file))
    registry.close()
    assert keeper.is_refused(home) == "epoch-not-opened"
    assert keeper.accepts(home, reason="").state == "opened"
    keeper.opens(home).close()


# --- said once, for one loss


def test_an_epoch_is_not_accepted_again_for_a_second_loss(
    home: MadeHome, backup: MadeHome, lost: str, keeper: User, other: User, newcomer: User, tmp_path: Path
) -> None:
    keeper.accepts(home)
    just_opened = home.copy(tmp_path / "just-opened")
    newest = keeper.promotes(home, "challenger", "canary")
    other.opens(home).close()
    # the backup of the first loss once more, with the statement that accepts it
    for database in (just_opened, backup):
        restore_database(home, database)
        assert keeper.is_refused(home) == "log-truncated"
        assert other.is_refused(home) == "log-truncated"
    shutil.rmtree(home.folder / "checkpoints" / "epoch-1")
    assert other.is_refused(home) == "log-truncated"
    assert newcomer.is_refused(home) == "epoch-not-opened"
    assert "epoch-not-opened" in newcomer.finds(home)
    # only a root's word for this loss too
    restore_database(home, just_opened)
    again = keeper.accepts(home, reason="a second failure")
    assert (again.state, again.epoch, again.lost.size) == ("opened", 2, size_of(newest))
    for user in (keeper, other, newcomer):
        user.opens(home).close()
    assert "accepted loss in epoch 2" in other.heard[-1]
    assert keeper.finds(home) == []


def test_a_backup_of_before_the_first_epoch_can_follow_it(
    home: MadeHome, backup: MadeHome, lost: str, keeper: User, other: User, tmp_path: Path
) -> None:
    keeper.accepts(home)
    keeper.promotes(home, "challenger", "canary", "third")
    other.opens(home).close()
    restore_database(home, backup)
    assert keeper.accepts(home, reason="the older backup was the better one").epoch == 2
    for user in (keeper, other):
        user.promotes(home, f"of-{user.state.name}")
    assert keeper.finds(home) == []


def without_the_leaf(home: MadeHome, kept: int) -> None:
    with home.rows() as rows:
        rows.run("DELETE FROM log_events WHERE seq >= :kept", kept=kept)
        rows.run("DELETE FROM checkpoints WHERE size > :kept", kept=kept)
        rows.run('DELETE FROM log_nodes WHERE ("index" + 1) * POWER(2, level) > :kept', kept=kept)


def with_another_leaf(home: MadeHome, kept: int) -> None:
    with home.rows() as rows:
        row = rows.run("SELECT leaf FROM log_events WHERE seq = :kept", kept=kept).scalar_one()
        leaf = bytes(row).replace(b'"number":1', b'"number":2')
        rows.run("UPDATE log_events SET leaf = :leaf WHERE seq = :kept", leaf=leaf, kept=kept)


@pytest.mark.parametrize("attack", [without_the_leaf, with_another_leaf], ids=lambda attack: attack.__name__)
def test_the_first_leaf_of_an_epoch_cannot_be_taken_out_of_the_database(
    attack: Callable[[MadeHome, int], None],
    home: MadeHome,
    lost: str,
    keeper: User,
    newcomer: User,
) -> None:
    kept = keeper.accepts(home).kept_size
    attack(home, kept)
    assert keeper.is_refused(home) in ("log-truncated", "proof-rejected")
    without_checkpoints(home)  # and with them all that the home remembered
    assert newcomer.is_refused(home) in ("epoch-not-opened", "proof-rejected")
    assert newcomer.finds(home) != []


def test_an_epoch_that_names_a_checkpoint_that_nobody_signed_is_unsound(
    home: MadeHome, lost: str, keeper: User, newcomer: User
) -> None:
    """By a root's own hand, or by a tool of theirs that was exchanged."""
    origin, size, _ = note.read_unverified(lost)
    invented = note.sign_checkpoint(an_ed25519_key(seed=7), origin=origin, size=size + 10, root=bytes(32))
    registry = keeper.opens(home, check_log=False)
    place = place_of_home(registry)
    epoch = Epoch(
        log=registry.log_name,
        number=1,
        lost=invented,
        kept_size=size - 4,
        kept_root="00" * 32,
        accepted_by="lab-1",
        accepted_at=NOW,
        reason=WHY,
    )
    issue(place, next_draft(place.chain.newest, now=NOW).revised(epochs=(epoch,)))
    registry.close()
    without_checkpoints(home)
    assert newcomer.is_refused(home) == "epoch-unsound"
    assert keeper.is_refused(home) in ("loss-not-accepted", "epoch-unsound", "log-truncated")
    assert "epoch-unsound" in newcomer.finds(home)


def test_two_epochs_of_one_number_are_a_fork_for_whoever_saw_one(
    home: MadeHome, lost: str, keeper: User, other: User, tmp_path: Path
) -> None:
    twin = home.copy(tmp_path / "twin")
    keeper.accepts(home)
    User(tmp_path / "state-twin").accepts(twin, reason="another reason, for another loss", against=(lost,))
    assert keeper.is_refused(twin) == "trust-forked"
    assert other.opens(home).close() is None
    assert other.is_refused(twin) == "trust-forked"
    shutil.rmtree(other.state / "pins")
    assert other.is_refused(twin) in ("log-forked", "log-truncated")


def test_a_trust_file_put_back_to_before_the_epoch_is_noticed_without_its_pin(
    home: MadeHome, backup: MadeHome, lost: str, keeper: User
) -> None:
    before = (home.folder / "trust.json").read_bytes()
    keeper.accepts(home)
    (home.folder / "trust.json").write_bytes(before)
    (home.folder / "trust-accepted").unlink(missing_ok=True)
    assert keeper.is_refused(home) == "trust-rolled-back"
    shutil.rmtree(keeper.state / "pins")
    assert keeper.is_refused(home) == "epoch-unknown"


# --- other machines


def test_a_machine_that_saw_more_than_was_accepted_refuses_until_that_is_accepted_too(
    home: MadeHome, backup: MadeHome, keeper: User, other: User, tmp_path: Path
) -> None:
    keeper.promotes(home, "challenger")
    more = other.promotes(home, "canary")
    restore_database(home, backup)
    without_checkpoints(home)
    keeper.accepts(home)
    keeper.opens(home).close()
    assert other.is_refused(home) == "loss-not-accepted"
    assert other.finds(home) == ["loss-not-accepted"]
    again = keeper.accepts(home, against=(more,), reason="another machine had seen more")
    assert (again.epoch, again.lost.size) == (2, size_of(more))
    for user in (keeper, other):
        user.opens(home).close()
    assert other.finds(home) == keeper.finds(home) == []


def test_a_machine_that_saw_another_state_of_that_size_refuses(
    home: MadeHome, backup: MadeHome, keeper: User, other: User, tmp_path: Path
) -> None:
    twin = home.copy(tmp_path / "twin")
    keeper.promotes(home, "challenger")
    other.promotes(twin, "canary")  # the log key signed another history of that size
    restore_database(home, backup)
    keeper.accepts(home)
    assert other.is_refused(home) == "log-forked"


def test_a_machine_that_saw_less_than_was_lost_goes_on(
    home: MadeHome, backup: MadeHome, keeper: User, other: User
) -> None:
    keeper.promotes(home, "challenger")
    other.opens(home).close()
    keeper.promotes(home, "canary")
    restore_database(home, backup)
    assert other.is_refused(home) == "log-truncated"
    keeper.accepts(home)
    other.opens(home).close()
    assert "accepted loss in epoch 1" in other.heard[-1]


def test_pending_entries_of_the_backup_are_kept_and_covered(home: MadeHome, keeper: User, tmp_path: Path) -> None:
    key = (home.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    keeper.promotes(home, "waiting")
    backup = home.copy(tmp_path / "later-backup")
    key.rename(home.folder / "keys" / "log.key")
    keeper.promotes(home, "challenger")
    restore_database(home, backup)
    keeper.accepts(home)
    registry = keeper.opens(home)
    assert version_named(registry, "helper@waiting").label == "helper:1"
    assert check_log(registry).contradictions == ()
    registry.close()


def test_the_command_shows_what_is_lost_and_then_accepts_it(
    home: MadeHome, backup: MadeHome, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*words: str) -> tuple[int, str, str]:
        code = run([*words, "--home", str(home.folder)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    assert typed("promote", "helper:1", "challenger", "--policy", "none")[0] == 0
    restore_database(home, backup)
    code, _, err = typed("list")
    assert code == 6 and "registry log accept-restore" in err
    code, out, _ = typed("log", "accept-restore", "--dry-run")
    assert code == 0 and "nothing was changed" in out and "your state folder" in out
    assert typed("log", "accept-restore")[0] == 2
    assert typed("list")[0] == 6
    code, out, _ = typed("log", "accept-restore", "--reason", WHY, "--output", "json")
    assert (code, json.loads(out)["state"], json.loads(out)["epoch"]) == (0, "opened", 1)
    for words in (("list",), ("verify", "helper:1"), ("promote", "helper:1", "challenger", "--policy", "none")):
        assert typed(*words)[0] == 0, words
    code, out, _ = typed("log", "check")
    assert code == 0 and "accepted loss in epoch 1" in out and WHY in " ".join(out.split())
    code, out, _ = typed("log", "show")
    assert code == 0 and "epoch" in out
    code, out, _ = typed("trust", "show")
    assert code == 0 and "accepted by lab-1" in out and WHY in " ".join(out.split())
    assert typed("log", "accept-restore", "--reason", WHY)[0] == 7


# --- killed in the middle

ROOM = "peft_registry.registry"


@pytest.mark.parametrize(
    ("point", "left"),
    [
        (f"{ROOM}.use_cases.trust.write_atomically", "log-truncated"),
        (f"{ROOM}.use_cases.accept_restore.open_epoch", "epoch-not-opened"),
        (f"{ROOM}.records.checkpoints._sign", "epoch-not-opened"),
        (f"{ROOM}.use_cases.accept_restore.publish_checkpoint", None),
    ],
)
def test_a_kill_leaves_the_refused_home_or_the_accepted_one(
    point: str, left: str | None, home: MadeHome, lost: str, keeper: User, other: User
) -> None:
    assert dies_at(point, lambda: keeper.accepts(home))
    if left is not None:
        for user in (keeper, other):
            assert user.is_refused(home) == left
        assert keeper.accepts(home).state == "opened"
    for user in (keeper, other):
        user.promotes(home, f"of-{user.state.name}")
        assert user.finds(home) == []
    registry = keeper.opens(home)
    assert registry.epochs.number == 1, "one loss, one epoch"
    with registry.database.read() as tx:
        origins = {note.read_unverified(text)[0] for _, text in catalog.every_checkpoint(tx)}
    assert origins == set(registry.epochs.origins)
    registry.close()


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test here touches the state folder of the run."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    yield

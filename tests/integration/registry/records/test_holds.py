"""What is on hold is deleted by no command, and a released hold keeps nothing; of a hold and a deletion at once one wins."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.holds import OnHold
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.subjects import DigestUnknown
from peft_registry.registry.records.views import SaidDiffers
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole, UnlistedKey
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.transparency.log import LogForked
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.collect import Collected, NotGarbageYet, StillRegistered, collect
from peft_registry.registry.use_cases.hold import AlreadyOnHold, HoldWithoutFuture, NotOnHold, hold, release
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.statements import PredicateMalformed, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import ENGINEER, OFFICER, fill
from tests.builders.homes import NOW, reopened
from tests.builders.signing import a_p256_key
from tests.compat.kept_home import stopped_clock

STRANGER = a_p256_key(9)
WHY = "an authority asked for it"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    @property
    def manifest(self) -> Digest:
        return version_named(self.registry, "sums").manifest_digest

    @property
    def data(self) -> Digest:
        """Of what `sums` was trained on."""
        return stored_manifest(self.registry, self.manifest).data[0].sha256

    def garbage(self, data: bytes, *, stored_at: float = LONG_AGO) -> Digest:
        """An object that nothing recorded points to."""
        digest = self.registry.store.put_bytes(data).digest
        os.utime(self.path(digest), (stored_at, stored_at))
        return digest

    def unregistered(self, name: str = "note.txt") -> tuple[Digest, Digest]:
        """What a registration that was killed leaves of an artifact with the same data: its manifest, and a file of it."""
        file = self.garbage(b"a file of it")
        manifest = stored_manifest(self.registry, self.manifest)
        entry = manifest.files[0].revised(path=name, sha256=file, size=len(b"a file of it"))
        return self.garbage(manifest.revised(files=(*manifest.files, entry)).to_canonical()), file

    def path(self, digest: Digest) -> Path:
        path = self.registry.store.local_path(digest)
        assert path is not None
        return path

    def hold(self, reference: object, signer: PrivateKey = OFFICER, *, until: date | None = None) -> None:
        hold(self.registry, str(reference), signer, reason=WHY, until=until)

    def release(self, reference: object, signer: PrivateKey = OFFICER) -> None:
        release(self.registry, str(reference), signer, reason="it is over")

    def collect(self, *references: object, dry_run: bool = False) -> Collected:
        return collect(self.registry, [str(reference) for reference in references], dry_run=dry_run)


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    home = made.copy(tmp_path / "home")
    place = Place(tmp_path, home, home.opened(now=NOW))
    yield place
    place.registry.close()  # a test may have opened it anew


def test_garbage_goes_and_whatever_is_recorded_stays(place: Place) -> None:
    garbage, young = place.garbage(b"left over"), place.garbage(b"just stored", stored_at=datetime.now(UTC).timestamp())
    before = {info.digest for info in place.registry.store.list()}
    for info in place.registry.store.list():
        if info.digest != young:
            os.utime(place.path(info.digest), (LONG_AGO, LONG_AGO))
    assert place.collect(dry_run=True).removed == (garbage,)
    assert place.registry.store.has(garbage)
    done = place.collect()
    assert (done.removed, done.removed_bytes) == ((garbage,), len(b"left over"))
    assert [entry.digest for entry in done.kept] == [young]
    assert {info.digest for info in place.registry.store.list()} == before - {garbage}
    assert verify_version(place.registry, version_named(place.registry, "sums")).verdict == "verified"


def test_what_a_running_registration_uses_is_no_garbage(place: Place) -> None:
    garbage = place.garbage(b"about to be registered")
    with place.registry.database.write() as tx:
        catalog.take_lease(tx, digests=[garbage], holder="somebody", until="2099-01-01T00:00:00Z")
    assert place.collect().removed == ()
    with pytest.raises(NotGarbageYet, match="registration"):
        place.collect(garbage)


@pytest.mark.parametrize("subject", ["itself", "its file", "its data", "its base"])
def test_what_is_on_hold_is_refused_and_goes_once_it_is_released(place: Place, subject: str) -> None:
    """A hold on a data set keeps what an interrupted training on it left, too."""
    manifest, file = place.unregistered()
    base = version_named(place.registry, "tiny").manifest_digest
    held = {"itself": manifest, "its file": file, "its data": place.data, "its base": base}[subject]
    place.hold(held)
    target = file if subject == "its file" else manifest
    with pytest.raises(OnHold) as refused:
        place.collect(target)
    assert refused.value.exit_code == 3
    assert refused.value.why == f"alex put it on hold at {NOW}: {WHY}"
    assert f"registry release {held}" in refused.value.fix
    kept = {entry.digest for entry in place.collect().kept}
    assert kept == ({file} if subject == "its file" else {manifest, file})
    assert place.registry.store.has(target)
    place.release(held)
    place.collect()
    assert not place.registry.store.has(target)


def test_nothing_of_several_is_deleted_where_one_is_on_hold(place: Place) -> None:
    free, held = place.garbage(b"free"), place.garbage(b"held")
    place.hold(held)
    with pytest.raises(OnHold):
        place.collect(free, held)
    assert place.registry.store.has(free) and place.registry.store.has(held)


def test_what_is_registered_is_refused_with_the_clause_that_keeps_it(place: Place) -> None:
    with pytest.raises(StillRegistered) as refused:
        place.collect("sums")
    assert refused.value.exit_code == 3
    assert "Art. 18(1) (Regulation (EU) 2024/1689" in refused.value.why
    assert "promoted" not in refused.value.why
    set_alias(place.registry, version_named(place.registry, "sums"), "champion")
    with pytest.raises(StillRegistered, match="promoted as champion"):
        place.collect("sums")
    for reference in (
        place.manifest,
        place.data,
        "tiny",
        stored_manifest(place.registry, place.manifest).files[0].sha256,
    ):
        with pytest.raises(StillRegistered):
            place.collect(reference)
    place.hold("sums")
    with pytest.raises(OnHold, match="sums:1"):
        place.collect("sums")
    assert place.collect().removed == ()


def test_a_hold_ends_on_its_day_and_a_later_one_is_added(place: Place) -> None:
    garbage = place.garbage(b"left over")
    place.hold(garbage, until=date(2027, 1, 1))
    with pytest.raises(AlreadyOnHold):
        place.hold(garbage, until=date(2026, 12, 1))
    place.hold(garbage, until=date(2027, 6, 1))
    with pytest.raises(HoldWithoutFuture):
        place.hold(garbage, until=date(2026, 1, 1))
    for now, stays in (("2027-05-31T23:59:59Z", True), ("2027-06-01T00:00:00Z", False)):
        with closing(reopened(place.home.folder, now=now)) as registry:
            collect(registry)
        assert place.registry.store.has(garbage) is stays


@pytest.mark.parametrize(
    ("signer", "error"), [(ENGINEER, KeyLacksRole), (STRANGER, UnlistedKey)], ids=["evaluator", "stranger"]
)
def test_a_key_without_the_role_holds_nothing_and_releases_nothing(
    place: Place, signer: PrivateKey, error: type[KnownError]
) -> None:
    place.hold("sums")
    size = check_log(place.registry).size
    with pytest.raises(error):
        place.hold("other", signer)
    with pytest.raises(error):
        place.release("sums", signer)
    assert check_log(place.registry).size == size
    with pytest.raises(OnHold):
        place.collect("sums")


def test_what_cannot_be_held_is_told_and_nothing_is_signed(place: Place) -> None:
    size = check_log(place.registry).size
    with pytest.raises(DigestUnknown):
        place.hold(Digest.of(b"nothing"))
    with pytest.raises(NotOnHold):
        place.release("sums")
    with pytest.raises(PredicateMalformed):
        hold(place.registry, "sums", OFFICER, reason="  ")
    assert check_log(place.registry).size == size


def test_releasing_one_hold_tells_what_still_keeps_it(place: Place) -> None:
    place.hold(place.data)
    place.hold("sums")
    told = release(place.registry, "sums", OFFICER, reason="case 7 is closed")
    assert told.still is not None and place.data.short in told.still and WHY in told.still
    assert release(place.registry, str(place.data), OFFICER, reason="case 8 is closed").still is None


def test_a_release_that_no_checkpoint_covers_is_told_and_whoever_holds_meanwhile_is_not_overruled(
    place: Place,
) -> None:
    place.hold("sums")
    key = place.registry.folder / "keys" / "log.key"
    key.rename(place.folder / "log.key")
    place.registry.close()
    place.registry = place.home.opened(now=NOW)
    told = release(place.registry, "sums", OFFICER, reason="case 7 is closed")
    assert told.pending and told.still is not None and WHY in told.still
    hold(place.registry, "sums", OFFICER, reason="case 9")
    (place.folder / "log.key").rename(key)
    place.registry.close()
    place.registry = place.home.opened(now=NOW)
    publish_checkpoint(place.registry)
    (text,) = describe_version(place.registry, "sums").holds
    assert text.endswith("case 9")


def test_removing_the_row_of_a_hold_lets_nothing_go(place: Place) -> None:
    garbage = place.garbage(b"left over")
    place.hold(garbage)
    with place.home.rows() as rows:
        rows.run("DELETE FROM statements WHERE kind = 'hold'")
    with pytest.raises(SaidDiffers):
        place.collect()
    assert place.registry.store.has(garbage)


def test_an_edited_entry_of_a_hold_lets_nothing_go(place: Place) -> None:
    """The row of the log says that something else was put on hold."""
    garbage = place.garbage(b"left over")
    place.hold(garbage)
    with place.home.rows() as rows:
        for leaf in rows.run("SELECT leaf FROM log_events").scalars().all():
            other = bytes(leaf).replace(garbage.hex.encode(), place.data.hex.encode())
            rows.run("UPDATE log_events SET leaf = :other WHERE leaf = :leaf", other=other, leaf=leaf)
    with pytest.raises(LogForked):
        place.collect()
    assert place.registry.store.has(garbage)


def test_rows_that_forget_an_artifact_make_no_garbage_of_what_is_on_hold(place: Place) -> None:
    """Whoever writes the database deletes the rows that point at the files; the hold stands in the log."""
    place.hold("sums")
    files = [entry.sha256 for entry in stored_manifest(place.registry, place.manifest).files]
    with place.home.rows() as rows:
        for table in ("artifact_files", "kept_objects"):
            rows.run(f"DELETE FROM {table}")
    for digest in files:
        os.utime(place.path(digest), (LONG_AGO, LONG_AGO))
    kept = {entry.digest for entry in place.collect().kept}
    assert set(files) <= kept and all(place.registry.store.has(digest) for digest in files)


def test_rows_that_forget_everything_make_no_garbage_of_what_is_registered(place: Place) -> None:
    """No hold stands: what the log registers stays all the same, with its signature, its cards and what its statements bind."""
    garbage = place.garbage(b"left over")
    stored = {info.digest for info in place.registry.store.list()} - {garbage}
    for digest in stored:
        os.utime(place.path(digest), (LONG_AGO, LONG_AGO))
    with place.home.rows() as rows:
        for table in ("artifact_files", "kept_objects"):
            rows.run(f"DELETE FROM {table}")
        rows.run("UPDATE artifacts SET signature_digest = NULL, card_digest = NULL")
    collected = place.collect()
    assert collected.removed == (garbage,)
    assert {info.digest for info in place.registry.store.list()} == stored
    forgotten = {entry.digest for entry in collected.kept}
    assert forgotten and all("a signed manifest or statement names it" in entry.because for entry in collected.kept)
    with pytest.raises(StillRegistered):
        place.collect(next(iter(forgotten)))


def test_nothing_is_collected_where_a_manifest_is_gone(place: Place) -> None:
    """Nobody knows what belongs to it."""
    garbage = place.garbage(b"left over")
    place.registry.store.delete(place.manifest)
    with pytest.raises(ObjectMissing):
        place.collect()
    assert place.registry.store.has(garbage)


def test_a_row_that_nobody_signed_releases_nothing(place: Place) -> None:
    garbage = place.garbage(b"left over")
    place.hold(garbage)
    said = {"reason": WHY, "released": True, "nonce": "0f"}
    forged = sign_statement(garbage, "hold", said, STRANGER)
    with place.registry.database.write() as tx:
        own = replace(forged, key_id=OFFICER.public.key_id)
        record_statement(tx, garbage, own, at=NOW)
    with pytest.raises(OnHold):
        place.collect(garbage)


def test_of_a_hold_and_a_deletion_at_the_same_moment_one_wins(place: Place) -> None:
    """Each in a registry of its own, as two commands are; whoever loses is told, and nothing is half done."""
    outcomes = set()
    for number in range(3):
        garbage = place.garbage(f"left over {number}".encode())
        size = check_log(place.registry).size
        together = threading.Barrier(2)

        def as_a_command(work: str, garbage: Digest = garbage, together: threading.Barrier = together) -> str:
            with closing(reopened(place.home.folder, now=NOW)) as registry:
                together.wait()
                try:
                    if work == "hold":
                        hold(registry, str(garbage), OFFICER, reason=WHY)
                    else:
                        collect(registry, [str(garbage)])
                except (OnHold, DigestUnknown) as error:
                    return error.reference
            return "won"

        with ThreadPoolExecutor(2) as pool:
            held, deleted = pool.map(as_a_command, ("hold", "gc"))
        is_here = place.registry.store.has(garbage)
        assert (held, deleted, is_here) in {("won", "on-hold", True), ("digest-unknown", "won", False)}
        assert (check_log(place.registry).size > size) is is_here
        outcomes.add(held)
    assert outcomes
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def test_who_reads_a_version_sees_the_hold(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.hold(place.data, until=date(2027, 1, 1))
    (shown,) = describe_version(place.registry, "sums").holds
    assert shown.endswith(f"alex put it on hold at {NOW} until 2027-01-01: {WHY}")
    assert verify_version(place.registry, version_named(place.registry, "sums")).verdict == "verified"
    with stopped_clock(NOW):
        assert run(["admin", "gc", "sums", "--home", str(place.home.folder)]) == 3
    assert "is on hold" in capsys.readouterr().err
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())

"""Registration: idempotent, ordered, race-safe; a failure or kill between any two steps leaves garbage, never a lie."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from peft_registry.registry.compliance.stated import FactMalformed, FactNeedsSignature
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import NameOfAnotherKind
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.references import version_named
from peft_registry.registry.storage.filesystem import FilesystemStore
from peft_registry.registry.transparency.log import LogTruncated
from peft_registry.registry.use_cases import register, statements
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.make_home import DatabaseInUse, PasswordInAddress
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import (
    ModificationRecordMissing,
    ModificationRecordWrong,
    NewArtifact,
    register_version,
)
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.errors import KnownError, SeveralProblems, Taken
from peft_registry.schemas.identity import Digest, MalformedName
from peft_registry.schemas.values import declared
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, base_files, register_adapter, reopened
from tests.builders.made import record_in, with_observations, with_record
from tests.processes.killed import dies_at


def test_the_same_artifact_under_the_same_name_is_the_same_version(registry: Registry, tmp_path: Path) -> None:
    first = register_adapter(registry, tmp_path)
    second = register_adapter(registry, tmp_path)
    assert first == second
    with registry.database.read() as tx:
        assert len(catalog.versions_of(tx, "helper")) == 1


def test_other_bytes_are_the_next_version(registry: Registry, tmp_path: Path) -> None:
    assert register_adapter(registry, tmp_path, value=0.5).label == "helper:1"
    assert register_adapter(registry, tmp_path, value=0.25).label == "helper:2"


def test_a_base_in_other_shards_is_a_version_of_the_same_weights(registry: Registry, tmp_path: Path) -> None:
    whole = add_a_base(registry, tmp_path / "base")
    sharded = base_files(tmp_path / "sharded", shards=2)
    other = add_base(registry, sharded, name="tiny", origin=BaseOrigin(format="huggingface", source="sharded"))
    assert other.record.identity == whole.record.identity
    assert other.version.label == "tiny:2"
    changed = base_files(tmp_path / "changed", seed=1)
    third = add_base(registry, changed, name="tiny", origin=BaseOrigin(format="huggingface", source="changed"))
    assert third.record.identity.weights != whole.record.identity.weights


def test_the_same_bytes_under_a_second_name_are_a_second_version_of_one_artifact(
    registry: Registry, tmp_path: Path
) -> None:
    first = add_a_base(registry, tmp_path / "base", name="tiny").version
    second = add_a_base(registry, tmp_path / "base", name="small").version
    assert second.label == "small:1"
    assert second.manifest_digest == first.manifest_digest
    assert {verify_version(registry, one).verdict for one in (first, second)} == {"verified"}


def test_facts_that_are_declared_later_are_recorded(registry: Registry, tmp_path: Path) -> None:
    folder = base_files(tmp_path / "base")
    origin = BaseOrigin(format="huggingface", source="base")
    first = add_base(registry, folder, name="tiny", origin=origin)
    facts = DeclaredFacts(licence=declared("mit", by="somebody", at=registry.clock()))
    later = add_base(registry, folder, name="tiny", origin=origin, facts=facts)
    assert later.version == first.version
    assert base_record(registry, first.version).facts.licence.value == "mit"
    silent = add_base(registry, folder, name="small", origin=origin)
    assert silent.record.facts == base_record(registry, silent.version).facts == later.record.facts
    assert verify_version(registry, later.version).verdict == "verified"


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("high_risk.article25_case", "none", FactNeedsSignature),
        ("data_gaps", "hidden\x1b[8m", FactMalformed),
        ("data_gaps", "x" * 100_000, FactMalformed),
    ],
)
def test_nothing_enters_with_a_declared_value_that_is_none_whoever_offers_it(
    registry: Registry, tmp_path: Path, field: str, value: object, error: type[KnownError]
) -> None:
    base = add_a_base(registry, tmp_path / "base")
    said = declared(value, by="A. Smith", at=registry.clock())
    artifact = an_artifact(tmp_path / "adapter", base)
    forged = with_record(artifact, lambda record: with_values(record, {field: said}))
    with pytest.raises(ModificationRecordWrong, match=f"{field}: its inputs give nothing"):
        register_version(registry, forged)
    section, _, name = field.rpartition(".")
    facts = {"asserted_by": "A. Smith"} | ({section: {name: value}} if section else {name: value})
    observed = with_observations(forged, lambda seen: seen.revised(facts=facts))
    with pytest.raises(ModificationRecordWrong, match=f"{field}: its inputs give nothing"):
        register_version(registry, observed)
    assert nothing_named(registry, "helper")
    with pytest.raises(error, match=field):
        append_statement(
            registry,
            subject=base.version.manifest_digest,
            kind="modification",
            predicate=record_in(forged),
            signer=registry.trainer_key,
        )


def test_a_base_enters_with_no_fact_that_is_none(registry: Registry, tmp_path: Path) -> None:
    folder, origin = base_files(tmp_path / "base"), BaseOrigin(format="huggingface", source="base")
    wrong = DeclaredFacts(release_date=declared("tomorrow", by="x", at=NOW))
    with pytest.raises(FactMalformed, match="release_date"):
        add_base(registry, folder, name="tiny", origin=origin, facts=wrong)
    add_base(registry, folder, name="tiny", origin=origin)
    with pytest.raises(FactMalformed, match="release_date"):  # and not beside what is registered either
        add_base(registry, folder, name="tiny", origin=origin, facts=wrong)


def test_what_an_older_version_signed_is_kept_beside_a_new_fact_and_no_other_is_added(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, origin = base_files(tmp_path / "base"), BaseOrigin(format="huggingface", source="base")
    free_text = DeclaredFacts(licence=declared("llama 3.2", by="x", at=NOW))
    with monkeypatch.context() as older:
        for module in (statements, register):  # a version of the tool that looked at no declared value
            older.setattr(module, "require_declarable", lambda *_: None)
        add_base(registry, folder, name="tiny", origin=origin, facts=free_text)
    again = add_base(registry, folder, name="tiny", origin=origin)
    dated = DeclaredFacts(release_date=declared("2025-01-30", by="x", at=NOW))
    later = add_base(registry, folder, name="tiny", origin=origin, facts=dated)
    assert again.version == later.version
    assert later.record.facts.licence == free_text.licence
    assert later.record.facts.release_date.value == "2025-01-30"
    with pytest.raises(FactMalformed, match="licence"):
        other = DeclaredFacts(licence=declared("llama 3.3", by="x", at=NOW))
        add_base(registry, folder, name="tiny", origin=origin, facts=other)


def test_a_fine_tune_without_a_modification_record_is_refused(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base")
    artifact = an_artifact(tmp_path / "adapter", base)
    bare = NewArtifact(**{name: getattr(artifact, name) for name in artifact.__slots__} | {"statements": ()})
    with pytest.raises(ModificationRecordMissing):
        register_version(registry, bare)
    assert nothing_named(registry, "helper")


def test_parallel_registrations_get_numbers_without_gaps(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base")
    artifacts = [an_artifact(tmp_path / f"adapter-{n}", base, value=n / 8) for n in range(8)]

    def register(artifact: NewArtifact) -> int:
        own = reopened(registry.folder)
        try:
            return register_version(own, artifact).number
        finally:
            own.close()

    with ThreadPoolExecutor(4) as pool:
        numbers = sorted(pool.map(register, artifacts))
    assert numbers == list(range(1, 9))


def test_of_a_base_and_an_adapter_that_race_for_a_name_one_kind_gets_it(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base", name="other")
    artifacts = [an_artifact(tmp_path / f"adapter-{n}", base, name="tiny", value=n / 8) for n in range(4)]
    folders = [base_files(tmp_path / f"base-{n}", seed=n) for n in range(1, 5)]
    origin = BaseOrigin(format="huggingface", source="base")

    def register(at: int) -> str:
        own = reopened(registry.folder)
        try:
            if at % 2:
                return register_version(own, artifacts[at // 2]).kind
            return add_base(own, folders[at // 2], name="tiny", origin=origin).version.kind
        except Taken as error:
            return error.reference
        finally:
            own.close()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(register, range(8)))
    with registry.database.read() as tx:
        kinds = {one.kind for one in catalog.versions_of(tx, "tiny")}
    assert len(kinds) == 1
    assert sorted(found) == sorted([*kinds] * 4 + ["name-of-another-kind"] * 4)


def test_a_name_of_another_kind_is_refused_before_anything_is_read(registry: Registry, tmp_path: Path) -> None:
    register_adapter(registry, tmp_path)
    with pytest.raises(NameOfAnotherKind):
        intake_base(registry, str(tmp_path / "not-there"), name="helper")
    config = tmp_path / "train.yml"
    config.write_text("name: tiny\nbase: tiny:1\nmethod: lora\ndata: {train: {path: not-there.jsonl}}\n")
    with pytest.raises(SeveralProblems) as refused:  # the data are missing too: both are said at once
        train_and_register(registry, config)
    assert NameOfAnotherKind in {type(problem) for problem in refused.value.problems}


class FailingStore(FilesystemStore):
    """Fails on its n-th write."""

    def __init__(self, root: Path, fail_at: int) -> None:
        super().__init__(root)
        self.left = fail_at

    def _write(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def put_bytes(self, data: bytes):
        self._write()
        return super().put_bytes(data)

    def put_file(self, path: Path, *, digest: Digest | None = None, mode="copy"):
        self._write()
        return super().put_file(path, digest=digest, mode=mode)


@pytest.mark.parametrize("fail_at", range(1, 6))
def test_a_write_that_fails_registers_nothing_and_the_same_call_completes(tmp_path: Path, fail_at: int) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        artifact = an_artifact(tmp_path / "adapter", base)
        good = registry.store
        registry.__dict__["store"] = FailingStore(registry.folder, fail_at)
        with pytest.raises(OSError, match="No space left"):
            register_version(registry, artifact)
        assert nothing_named(registry, "helper")
        registry.__dict__["store"] = good
        version = register_version(registry, artifact)
        assert verify_version(registry, version).verdict == "verified"
        with registry.database.read() as tx:
            assert catalog.leased(tx, "2026-11-24T12:00:01Z") == frozenset()


POINTS = (
    "peft_registry.registry.use_cases.register._store_files",
    "peft_registry.registry.use_cases.register._sign_listing",
    "peft_registry.registry.use_cases.register._record",
    "peft_registry.registry.use_cases.register._write_rows",
    "peft_registry.registry.use_cases.register.record_statement",
    "peft_registry.registry.use_cases.register.publish_checkpoint",
)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_step_leaves_no_lie_and_the_same_command_completes(tmp_path: Path, point: str) -> None:
    with a_home(tmp_path / "home") as registry:
        artifact = an_artifact(tmp_path / "adapter", add_a_base(registry, tmp_path / "base"))
    assert dies_at(point, lambda: register_version(reopened(tmp_path / "home"), artifact))
    registry = reopened(tmp_path / "home")
    try:
        pending = point.endswith("publish_checkpoint")
        assert nothing_named(registry, "helper") is not pending
        version = register_version(registry, an_artifact(tmp_path / "adapter", add_a_base(registry, tmp_path / "base")))
        assert version.label == "helper:1"
        assert verify_version(registry, version).verdict == "verified"
    finally:
        registry.close()


def test_an_entry_is_pending_until_the_log_key_has_signed(registry: Registry, tmp_path: Path) -> None:
    key = registry.folder / "keys" / "log.key"
    hidden = key.rename(key.with_suffix(".away"))
    version = register_adapter(registry, tmp_path)
    outcome = verify_version(registry, version)
    assert outcome.verdict == "verified"
    assert next(one for one in outcome.checks if one.step == "log").error == "log-pending"
    hidden.rename(key)
    again = reopened(registry.folder)
    try:
        assert publish_checkpoint(again) == version.log_index + 2, "the registration, and the snapshot that follows it"
        assert next(one for one in verify_version(again, version).checks if one.step == "log").status == "ok"
    finally:
        again.close()


def test_a_database_rolled_back_behind_its_checkpoint_is_noticed_when_opened(
    registry: Registry, tmp_path: Path
) -> None:
    add_a_base(registry, tmp_path / "base")
    registry.database.close()
    old = (registry.folder / "database.sqlite").read_bytes()
    newer = reopened(registry.folder)
    register_adapter(newer, tmp_path)
    newer.close()
    for suffix in ("-wal", "-shm"):
        (registry.folder / f"database.sqlite{suffix}").unlink(missing_ok=True)
    (registry.folder / "database.sqlite").write_bytes(old)
    with pytest.raises(LogTruncated):
        reopened(registry.folder)


def test_an_alias_is_a_signed_event_and_resolves(registry: Registry, tmp_path: Path) -> None:
    first = register_adapter(registry, tmp_path, value=0.5)
    second = register_adapter(registry, tmp_path, value=0.25)
    set_alias(registry, first, "champion")
    set_alias(registry, second, "champion", reason="better")
    assert version_named(registry, "helper@champion").label == "helper:2"
    with registry.database.read() as tx:
        kinds = [one.kind for one in catalog.statements_of(tx, subject=first.manifest_digest)]
    assert "alias" in kinds


def test_an_alias_that_reads_as_a_number_is_refused(registry: Registry, tmp_path: Path) -> None:
    version = register_adapter(registry, tmp_path)
    with pytest.raises(MalformedName, match="reads as the number of a version") as caught:
        set_alias(registry, version, "3")
    assert caught.value.exit_code == 2


def nothing_named(registry: Registry, name: str) -> bool:
    try:
        version_named(registry, name)
    except KnownError as error:
        assert error.exit_code == 7
        return True
    return False


def test_a_database_of_another_registry_and_a_password_in_its_address_are_refused(tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    with (
        a_home(tmp_path / "first", database=shared),
        pytest.raises(DatabaseInUse),
        a_home(tmp_path / "second", database=shared),
    ):
        pass
    with pytest.raises(PasswordInAddress), a_home(tmp_path / "third", database="postgresql://me:secret@localhost/db"):
        pass
    assert not (tmp_path / "second").exists()
    assert not (tmp_path / "third").exists()

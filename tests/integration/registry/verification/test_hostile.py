"""Attacks on verification, pull and names: each test is one thing that somebody hostile, or a damaged disk, would do.

Never `verified` for what is not what was registered; 6 for what is wrong, 5 for what is merely unknown.
"""

import base64
import json
import os
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.identity.base import AdapterInBase
from peft_registry.registry.identity.manifests import ManifestMalformed
from peft_registry.registry.records.references import AliasUnsigned, version_named
from peft_registry.registry.records.views import SaidDiffers, VersionsDiffer
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.oms import UnsignableListing, parse_bundle
from peft_registry.registry.transparency import note
from peft_registry.registry.transparency.log import LogTruncated
from peft_registry.registry.transparency.note import WrongOrigin
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import DestinationTaken, PullRefused, pull_version
from peft_registry.registry.use_cases.register import NewArtifact, register_version
from peft_registry.registry.use_cases.statements import PredicateMalformed, append_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.evidence import MAX_KEYS
from peft_registry.registry.verification.presented import EvidenceBroken
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.policy import Revocation, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import PAYLOAD_TYPE, RegistrationPredicate, statement_about
from peft_registry.schemas.version import Check, VerifyOutcome, Version
from tests.builders.evaluation import a_recorded_evaluation, a_table
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, base_files, register_adapter, reopened
from tests.builders.made import trained_artifact
from tests.builders.signing import a_p256_key, an_ed25519_key

LATER = "2026-12-24T12:00:00Z"
STATEMENTS = "evidence/statements.intoto.jsonl"
PROOF = "evidence/log.tlog-proof"


def check(registry: Registry, folder: Path, **options: Any) -> VerifyOutcome:
    return verify_folder(folder, **({"trust": registry.trust, "now": NOW} | options))


def step(outcome: VerifyOutcome, name: str) -> Check:
    return next(one for one in outcome.checks if one.step == name)


def add_line(folder: Path, envelope: bytes) -> None:
    path = folder / STATEMENTS
    path.write_bytes(path.read_bytes() + envelope + b"\n")


def present_key(folder: Path, key: PrivateKey) -> None:
    (folder / "evidence" / "keys" / f"{key.public.key_id[:16]}.pub").write_bytes(key.public.pem)


def with_key(trust: TrustPolicy, key: PrivateKey, **over: Any) -> TrustPolicy:
    """The policy with one more key, like the trainer's where nothing else is said."""
    like = next(one for one in trust.keys if one.role == "trainer").model_dump()
    like |= {"key_id": key.public.key_id, "public_key_pem": key.public.pem.decode(), "person": "other"} | over
    return TrustPolicy.model_validate(trust.model_dump() | {"keys": (*trust.keys, TrustedKey.model_validate(like))})


def revoking(trust: TrustPolicy, key_id: str, *, reason: str = "retired") -> TrustPolicy:
    kind = "compromise" if "compromise" in reason else "routine"
    revocation = Revocation(key_id=key_id, revoked_at="2026-12-01T00:00:00Z", reason=reason, kind=kind)
    return TrustPolicy.model_validate(trust.model_dump() | {"revocations": (revocation,)})


def key_of(trust: TrustPolicy, role: str) -> str:
    return next(one.key_id for one in trust.keys if one.role == role)


# the log proof


def test_no_flipped_bit_in_the_proof_is_taken_for_a_proof_by_somebody_unknown(registry: Registry, pulled: Path) -> None:
    path = pulled / PROOF
    original = path.read_bytes()
    origin = original.index(registry.origin.encode())
    name = original.rindex(registry.origin.encode())
    for position in (origin, origin + 20, name, name + 20, name + len(registry.origin) + 2, len(original) - 4):
        for bit in (0, 2, 5, 7):
            data = bytearray(original)
            data[position] ^= 1 << bit
            path.write_bytes(bytes(data))
            assert check(registry, pulled).exit_code == 6, (position, bit)


def test_a_proof_from_our_log_by_a_key_unheard_of_leaves_it_unverified(registry: Registry, pulled: Path) -> None:
    head, _, text = (pulled / PROOF).read_text().partition("\n\n")
    _, size, root = note.read_unverified(text)
    other = note.sign_checkpoint(an_ed25519_key(9), origin=registry.origin, size=size, root=root)
    (pulled / PROOF).write_text(f"{head}\n\n{other}")
    outcome = check(registry, pulled)
    assert step(outcome, "log").error == "log-signer-unknown"
    assert outcome.exit_code == 5


def test_a_line_end_changed_in_a_presented_key_is_broken(registry: Registry, pulled: Path) -> None:
    path = next((pulled / "evidence" / "keys").iterdir())
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert step(check(registry, pulled), "signature").error == "evidence-broken"


def test_an_exchanged_entry_in_the_proof_is_broken(registry: Registry, pulled: Path) -> None:
    lines = (pulled / PROOF).read_text().split("\n")
    entry = json.loads(base64.b64decode(lines[1].removeprefix("extra ")))
    entry["at"] = "2020-01-01T00:00:00Z"
    lines[1] = "extra " + base64.b64encode(json.dumps(entry).encode()).decode()
    (pulled / PROOF).write_text("\n".join(lines))
    assert step(check(registry, pulled), "log").error == "proof-rejected"


def test_a_checkpoint_of_another_log_by_our_own_log_key_is_broken(registry: Registry, pulled: Path) -> None:
    head, _, text = (pulled / PROOF).read_text().partition("\n\n")
    _, size, root = note.read_unverified(text)
    key = registry.log_key
    assert key is not None
    other = note.sign_checkpoint(key, origin="peft-registry/other", size=size, root=root)
    (pulled / PROOF).write_text(f"{head}\n\n{other}")
    assert check(registry, pulled).exit_code == 6


def test_a_removed_proof_is_not_proof(registry: Registry, pulled: Path) -> None:
    from peft_registry.registry.use_cases.verify import Requirements

    (pulled / PROOF).unlink()
    assert step(check(registry, pulled), "log").error == "log-pending"
    assert check(registry, pulled, require=Requirements(log_proof=True)).exit_code == 5


def test_a_compromised_log_key_proves_nothing(registry: Registry, pulled: Path) -> None:
    trust = revoking(registry.trust, key_of(registry.trust, "log"), reason="key compromise")
    assert check(registry, pulled, trust=trust).exit_code == 6


# keys that are revoked, expired, or have another role


def test_what_a_retired_key_signed_before_still_verifies_by_the_log_and_without_it_does_not(
    registry: Registry, pulled: Path
) -> None:
    trust = revoking(registry.trust, key_of(registry.trust, "trainer"))
    assert check(registry, pulled, trust=trust, now=LATER).exit_code == 0
    compromised = revoking(registry.trust, key_of(registry.trust, "trainer"), reason="key compromise")
    assert check(registry, pulled, trust=compromised, now=LATER).exit_code == 6
    (pulled / PROOF).unlink()
    assert check(registry, pulled, trust=trust, now=LATER).exit_code == 6


def test_a_stolen_retired_key_cannot_borrow_the_date_of_the_logged_registration(
    registry: Registry, version: Version, pulled: Path
) -> None:
    stolen = a_p256_key(77)
    trust = revoking(with_key(registry.trust, stolen), stolen.public.key_id)
    subject = version.manifest_digest
    forged = sign_statement(subject, "test-result", {"result": "PASSED", "configuration": []}, stolen)
    listing = parse_bundle((pulled / "model.sig").read_bytes()).payload_digest
    registration = RegistrationPredicate(
        name="helper", source="train", accompanied_by=(forged.digest,), signature=listing, nonce="00"
    )
    add_line(pulled, forged.line)
    add_line(pulled, sign_statement(subject, "registration", registration.to_json(), stolen).line)
    present_key(pulled, stolen)
    outcome = check(registry, pulled, trust=trust, now=LATER)
    assert outcome.exit_code == 6
    assert step(outcome, "statements").error == "revoked-key"


@pytest.mark.parametrize("retired", ["revoked", "expired"])
def test_a_stolen_retired_key_that_signs_the_same_files_again_cannot_borrow_the_date(
    registry: Registry, pulled: Path, retired: str
) -> None:
    stolen = a_p256_key(77)
    trust = with_key(registry.trust, stolen, valid_until="2026-12-01T00:00:00Z" if retired == "expired" else LATER)
    if retired == "revoked":
        trust = revoking(trust, stolen.public.key_id)
    bundle = json.loads((pulled / "model.sig").read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"] = dsse.sign(stolen, PAYLOAD_TYPE, payload).to_json()
    bundle["verificationMaterial"]["publicKey"]["hint"] = stolen.public.key_id
    (pulled / "model.sig").write_text(json.dumps(bundle))
    outcome = check(registry, pulled, trust=trust, now="2026-12-10T00:00:00Z")
    assert outcome.exit_code == (6 if retired == "revoked" else 5)


@pytest.mark.parametrize("role", ["root", "log"])
def test_a_statement_by_a_key_of_another_role_is_broken(
    registry: Registry, version: Version, pulled: Path, role: str
) -> None:
    key = registry.private_key(role)
    said = sign_statement(version.manifest_digest, "test-result", {"result": "PASSED", "configuration": []}, key)
    add_line(pulled, said.line)
    assert step(check(registry, pulled), "statements").error == "key-lacks-role"


def test_an_evaluator_cannot_register(registry: Registry, version: Version, pulled: Path) -> None:
    evaluator = a_p256_key(78)
    trust = with_key(registry.trust, evaluator, role="evaluator")
    original = next(one for one in (pulled / STATEMENTS).read_bytes().splitlines() if b"registration" in _payload(one))
    lines = [one for one in (pulled / STATEMENTS).read_bytes().splitlines() if one != original]
    lines.append(dsse.sign(evaluator, PAYLOAD_TYPE, _payload(original)).render())
    (pulled / STATEMENTS).write_bytes(b"".join(line + b"\n" for line in lines))
    outcome = check(registry, pulled, trust=trust)
    assert step(outcome, "statements").error == "key-lacks-role"
    assert outcome.exit_code == 6


def _payload(line: bytes) -> bytes:
    return base64.b64decode(json.loads(line)["payload"])


# unknown is not wrong, wrong is not unknown


def test_evidence_that_is_not_there_is_missing_and_not_wrong(registry: Registry, pulled: Path) -> None:
    shutil.rmtree(pulled / "evidence")
    outcome = check(registry, pulled)
    assert outcome.exit_code == 5
    assert step(outcome, "statements").error == "evidence-missing"


def test_without_trust_and_without_the_signers_keys_nobody_is_accused(pulled: Path) -> None:
    shutil.rmtree(pulled / "evidence" / "keys")
    outcome = verify_folder(pulled, trust=None, now=NOW)
    assert outcome.exit_code == 5
    assert all(one.status != "failed" for one in outcome.checks)


def test_a_trust_file_that_lists_nobody_of_ours_accuses_nobody(pulled: Path, tmp_path: Path) -> None:
    shutil.rmtree(pulled / "evidence" / "keys")
    with a_home(tmp_path / "elsewhere") as elsewhere:
        assert check(elsewhere, pulled).exit_code == 5


def test_a_keyless_bundle_could_not_be_checked(registry: Registry, pulled: Path) -> None:
    bundle = json.loads((pulled / "model.sig").read_text())
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": [{}]}
    (pulled / "model.sig").write_text(json.dumps(bundle))
    outcome = check(registry, pulled)
    assert outcome.exit_code == 5
    assert step(outcome, "signature").error == "unsupported-bundle"


@pytest.mark.parametrize("digest", [{}, {"sha256": "00"}, {"sha256": "A" * 64}, {"sha512": "0" * 128}])
def test_a_statement_about_no_digest_is_malformed_and_no_crash(
    registry: Registry, pulled: Path, digest: dict[str, str]
) -> None:
    stranger = a_p256_key(79)
    payload = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": digest}],
        "predicateType": "urn:peft-registry:test-result:v1",
        "predicate": {},
    }
    add_line(pulled, dsse.sign(stranger, PAYLOAD_TYPE, json.dumps(payload).encode()).render())
    present_key(pulled, stranger)
    outcome = check(registry, pulled)
    assert outcome.exit_code == 6
    assert step(outcome, "statements").error == "statement-broken"


@pytest.mark.parametrize("damage", ["header", "config", "pickle"])
def test_a_base_that_intake_would_refuse_is_the_wrong_base(
    registry: Registry, pulled: Path, tmp_path: Path, damage: str
) -> None:
    base = tmp_path / "base"
    if damage == "header":
        data = bytearray((base / "model.safetensors").read_bytes())
        data[9] ^= 1
        (base / "model.safetensors").write_bytes(bytes(data))
    elif damage == "config":
        (base / "config.json").write_text("{")
    else:
        (base / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert check(registry, pulled, base=base).exit_code == 6


def test_a_base_that_the_user_names_and_that_is_not_there_leaves_it_unverified(
    registry: Registry, pulled: Path, tmp_path: Path
) -> None:
    assert check(registry, pulled, base=tmp_path / "nowhere").exit_code == 5


def test_a_store_that_lost_the_weights_verifies_nothing(registry: Registry, version: Version, pulled: Path) -> None:
    registry.store.delete(Digest.of((pulled / "adapter_model.safetensors").read_bytes()))
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 5
    assert step(outcome, "files").error == "bytes-missing"


# too much of everything


def test_more_keys_than_anybody_has_signed_with_are_refused(registry: Registry, pulled: Path) -> None:
    for number in range(MAX_KEYS):
        present_key(pulled, a_p256_key(1000 + number))
    outcome = check(registry, pulled)
    assert outcome.exit_code == 6
    assert step(outcome, "signature").error == "evidence-broken"


# pull


@pytest.mark.parametrize("kind", ["dangling link", "link to an empty folder", "file"])
def test_a_pull_never_follows_or_replaces_what_lies_at_its_destination(
    registry: Registry, version: Version, tmp_path: Path, kind: str
) -> None:
    destination, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    if kind == "file":
        destination.write_text("mine")
    else:
        destination.symlink_to(elsewhere)
    if kind == "link to an empty folder":
        elsewhere.mkdir()
    with pytest.raises(DestinationTaken):
        pull_version(registry, version, destination)
    assert not elsewhere.exists() or not any(elsewhere.iterdir())


def test_a_destination_that_is_filled_meanwhile_is_left_alone(
    registry: Registry, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "out"
    rename = Path.replace

    def filled_first(self: Path, target: Path) -> Path:
        if target == destination:
            destination.mkdir()
            (destination / "mine").write_text("mine")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", filled_first)
    with pytest.raises(DestinationTaken):
        pull_version(registry, version, destination)
    assert [path.name for path in destination.iterdir()] == ["mine"]


# a database that somebody else wrote in


def sql(registry: Registry, *statements: str) -> None:
    """Write in the database behind the program's back."""
    connection = sqlite3.connect(registry.folder / "database.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
def second(registry: Registry, version: Version, tmp_path: Path) -> Version:
    found = register_adapter(registry, tmp_path, value=0.25)
    assert found.label == "helper:2"
    set_alias(registry, version, "champion")
    return found


def test_an_alias_moved_in_the_database_is_ignored(registry: Registry, second: Version) -> None:
    assert version_named(registry, "helper@champion").number == 1
    sql(registry, "UPDATE aliases SET number = 2")
    assert version_named(registry, "helper@champion").number == 1


def test_an_alias_event_made_up_in_the_database_is_ignored(registry: Registry, second: Version) -> None:
    sql(registry, "UPDATE alias_events SET number = 2", "UPDATE aliases SET number = 2")
    assert version_named(registry, "helper@champion").number == 1


def test_an_alias_without_its_statement_is_ignored(registry: Registry, second: Version) -> None:
    sql(registry, "DELETE FROM statements WHERE kind = 'alias'")
    with pytest.raises(AliasUnsigned):
        version_named(registry, "helper@champion")


def test_an_alias_renamed_in_the_database_is_ignored(registry: Registry, second: Version) -> None:
    sql(registry, "UPDATE alias_events SET alias = 'stable'", "UPDATE aliases SET alias = 'stable'")
    with pytest.raises(AliasUnsigned):
        version_named(registry, "helper@stable")


def test_an_older_move_made_the_present_one_is_ignored(registry: Registry, version: Version, second: Version) -> None:
    set_alias(registry, second, "champion", reason="better")
    assert version_named(registry, "helper@champion").number == 2
    first_move = "SELECT min(id) FROM alias_events"
    sql(registry, f"UPDATE aliases SET number = 1, event_id = ({first_move})")
    assert version_named(registry, "helper@champion").number == 2


def test_an_alias_signed_by_nobody_whom_the_user_trusts_is_ignored(
    registry: Registry, second: Version, tmp_path: Path
) -> None:
    with a_home(tmp_path / "elsewhere") as elsewhere, pytest.raises(AliasUnsigned):
        version_named(registry, "helper@champion", trust=elsewhere.trust)


def test_an_alias_outlives_the_key_that_signed_it(registry: Registry, second: Version) -> None:
    key = key_of(registry.trust, "trainer")
    assert version_named(registry, "helper@champion", trust=revoking(registry.trust, key)).number == 1
    with pytest.raises(AliasUnsigned):
        version_named(registry, "helper@champion", trust=revoking(registry.trust, key, reason="compromised"))


@pytest.mark.parametrize("target", ["other artifact", "swapped numbers", "renamed"])
def test_a_version_row_that_points_elsewhere_is_broken_and_never_pulled(
    registry: Registry, version: Version, second: Version, tmp_path: Path, target: str
) -> None:
    other = register_adapter(registry, tmp_path, name="other", value=0.125)
    changes = {
        "other artifact": (
            f"UPDATE versions SET (manifest_digest, log_index) = ('{other.manifest_digest}', {other.log_index}) "
            "WHERE name = 'helper' AND number = 1",
        ),
        "swapped numbers": (
            "UPDATE versions SET number = 9 WHERE name = 'helper' AND number = 1",
            "UPDATE versions SET number = 1 WHERE name = 'helper' AND number = 2",
            "UPDATE versions SET number = 2 WHERE name = 'helper' AND number = 9",
        ),
        "renamed": ("UPDATE versions SET name = 'helper', number = 3 WHERE name = 'other'",),
    }
    sql(registry, "DELETE FROM aliases", "DELETE FROM alias_events", *changes[target])
    reference = Reference.parse("helper:3" if target == "renamed" else "helper:1")
    with pytest.raises(VersionsDiffer):
        version_named(registry, "helper:3" if target == "renamed" else "helper:1")
    # a caller who took the row all the same gets no further
    with registry.database.read() as tx:
        claimed = catalog.resolve(tx, reference)
    assert step(verify_version(registry, claimed), "statements").error == "catalog-contradicted"
    with pytest.raises(PullRefused):
        pull_version(registry, claimed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE versions SET method = 'full'",
        "UPDATE versions SET registered_at = '2020-01-01T00:00:00Z'",
        "UPDATE versions SET key_id = '00'",
        "UPDATE artifacts SET size_bytes = 1",
        "UPDATE artifacts SET weights_digest = base_weights WHERE base_weights IS NOT NULL",
    ],
)
def test_a_row_that_describes_something_else_is_broken(registry: Registry, version: Version, change: str) -> None:
    sql(registry, change)
    outcome = verify_version(registry, version_named(registry, "helper:1"))
    assert outcome.exit_code == 6
    assert step(outcome, "statements").error == "catalog-contradicted"


def test_a_removed_statement_of_the_registration_is_noticed(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    sql(registry, "DELETE FROM statements WHERE kind = 'modification'")
    assert step(verify_version(registry, version), "read").error == "statements-differ-from-log"
    with pytest.raises(SaidDiffers):
        pull_version(registry, version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE statements SET kind = 'nonsense'",
        "UPDATE statements SET digest = 'nonsense' WHERE kind = 'modification'",
        "UPDATE statements SET envelope = x'7b7d'",
        "UPDATE artifacts SET base_manifest = 'nonsense'",
        "UPDATE artifacts SET layout = 'nonsense'",
        "UPDATE log_events SET leaf = x'7b7d'",
        "UPDATE log_events SET leaf_hash = x'00'",
        "DELETE FROM log_nodes",
        "UPDATE checkpoints SET text = 'nonsense'",
    ],
)
def test_a_row_that_cannot_be_read_is_broken_and_no_crash(registry: Registry, version: Version, change: str) -> None:
    sql(registry, change)
    try:
        code = verify_version(registry, version_named(registry, "helper:1")).exit_code
    except KnownError as error:
        code = error.exit_code
    assert code == 6


def test_a_manifest_of_millions_of_empty_entries_is_refused_in_little_memory(registry: Registry, pulled: Path) -> None:
    many = b'{"files":[' + b"{}," * 900_000 + b"{}]}"
    too_many = b'{"files":[' + b"{}," * 9_000_000 + b"{}]}"
    for data, error in ((many, "manifest-malformed"), (too_many, "malformed-json")):
        (pulled / "manifest.json").write_bytes(data)
        tracemalloc.start()
        outcome = check(registry, pulled)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert step(outcome, "read").error == error
        assert peak < 250_000_000


def test_a_signature_that_lists_a_file_twice_at_the_end_of_many_is_refused_at_once(
    registry: Registry, pulled: Path
) -> None:
    stranger = a_p256_key(80)
    entry = {"algorithm": "sha256", "digest": "0" * 64}
    resources = [{"name": f"f{number}", **entry} for number in [*range(30_000), 29_999]]
    bundle = json.loads((pulled / "model.sig").read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"] = resources
    bundle["dsseEnvelope"] = dsse.sign(stranger, PAYLOAD_TYPE, json.dumps(statement).encode()).to_json()
    (pulled / "model.sig").write_text(json.dumps(bundle))
    started = time.process_time()
    assert step(check(registry, pulled), "signature").error == "malformed-bundle"
    assert time.process_time() - started < 3  # seconds; comparing each with each takes ten times that


def test_thousands_of_statements_without_a_registration_are_read_once(
    registry: Registry, version: Version, pulled: Path
) -> None:
    stranger = a_p256_key(81)
    present_key(pulled, stranger)
    line = sign_statement(version.manifest_digest, "test-result", {}, stranger).line + b"\n"
    (pulled / STATEMENTS).write_bytes(line * 2_000)
    started = time.process_time()
    assert step(check(registry, pulled), "statements").error == "no-registration"
    assert time.process_time() - started < 5  # seconds; a second reading for each line takes minutes


@pytest.mark.parametrize(
    "path", ["../out", "/etc/out", "a/../../out", "README.md", "evidence/out", "model.sig", "manifest.json"]
)
def test_a_manifest_that_lists_a_path_outside_or_reserved_is_no_manifest(
    registry: Registry, pulled: Path, path: str
) -> None:
    manifest = json.loads((pulled / "manifest.json").read_text())
    manifest["files"].append({"path": path, "size": 0, "sha256": str(Digest.of(b""))})
    manifest["files"].sort(key=lambda entry: entry["path"].encode())
    (pulled / "manifest.json").write_text(json.dumps(manifest))
    outcome = check(registry, pulled)
    assert step(outcome, "read").error == "manifest-malformed"
    assert outcome.exit_code == 6


def listing(artifact: NewArtifact, base: AddedBase, files: tuple[FileEntry, ...]) -> NewArtifact:
    """The artifact with another manifest, and a record that says the same."""
    manifest = artifact.manifest.revised(files=files)
    return trained_artifact(artifact.name, artifact.folder, manifest, base, artifact.card)


def test_a_file_of_other_size_than_the_manifest_says_is_changed(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base")
    artifact = an_artifact(tmp_path / "adapter", base)
    entries = tuple(entry.model_copy(update={"size": entry.size + 1}) for entry in artifact.manifest.files)
    lying = listing(artifact, base, entries)
    assert step(verify_version(registry, register_version(registry, lying)), "files").error == "files-changed"


# paths that lead out of the folder


def test_a_version_row_of_a_manifest_with_paths_outside_writes_nothing_outside(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    evil = registry.store.put_bytes(b"evil").digest
    manifest = json.loads(registry.store.read_bytes(version.manifest_digest))
    manifest["files"] = [{"path": "../../escaped", "size": 4, "sha256": str(evil)}, *manifest["files"]]
    forged = registry.store.put_bytes(json.dumps(manifest).encode()).digest
    columns = f"manifest_digest = replace(manifest_digest, '{version.manifest_digest}', '{forged}')"
    sql(registry, f"UPDATE versions SET {columns}", f"UPDATE artifacts SET {columns}")
    with registry.database.read() as tx:
        claimed = catalog.resolve(tx, Reference.parse("helper:1"))  # the log's answer is another: VersionsDiffer
    assert verify_version(registry, claimed).exit_code == 6
    with pytest.raises(ManifestMalformed):
        pull_version(registry, claimed, tmp_path / "deep" / "out")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "deep" / "escaped").exists()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "statements.intoto.jsonl", "keys/00.pub"])
def test_an_evaluation_that_names_its_items_outside_or_over_other_evidence_writes_nothing_there(
    registry: Registry, version: Version, tmp_path: Path, name: str
) -> None:
    evil = registry.store.put_bytes(b"evil").digest
    record, _ = a_recorded_evaluation()
    record = record.model_copy(update={"items": record.items.model_copy(update={"file": name, "sha256": evil})})
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=registry.trainer_key,
    )
    assert verify_version(registry, version).exit_code == 6
    with pytest.raises(EvidenceBroken):
        pull_version(registry, version, tmp_path / "deep" / "out")
    assert not (tmp_path / "escaped").exists()
    assert not list((tmp_path / "deep").iterdir())


def test_two_evaluations_may_name_their_items_alike(registry: Registry, version: Version, tmp_path: Path) -> None:
    for fixed in (2, 3):
        record, items = a_recorded_evaluation(a_table(lambda at, fixed=fixed: 2.0 if at % fixed else 0.0))
        assert record.items.file == "items.jsonl"
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="bias-evaluation",
            predicate=record.to_json(),
            signer=registry.trainer_key,
            evidence=(items,),
        )
    assert verify_version(registry, version).exit_code == 0


@pytest.mark.parametrize("kind", ["bias-evaluation", "registration", "card", "alias"])
def test_a_predicate_that_is_not_what_its_kind_says_cannot_be_appended(
    registry: Registry, version: Version, kind: str
) -> None:
    with pytest.raises(PredicateMalformed):
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind=kind,  # type: ignore[arg-type]
            predicate={"nonsense": 1},
            signer=registry.trainer_key,
        )
    assert verify_version(registry, version).exit_code == 0


def test_a_manifest_with_reserved_paths_cannot_be_registered(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base")
    artifact = an_artifact(tmp_path / "adapter", base)
    entry = FileEntry(path="README.md", size=0, sha256=Digest.of(b""))
    files = tuple(sorted((*artifact.manifest.files, entry), key=lambda one: one.path.encode()))
    with pytest.raises(UnsignableListing):
        register_version(registry, listing(artifact, base, files))


def test_a_base_that_brings_a_signature_of_its_own_verifies(registry: Registry, tmp_path: Path) -> None:
    folder = base_files(tmp_path / "signed-base")
    (folder / "model.sig").write_text("{}")
    (folder / "manifest.json").write_text("{}")
    added = add_base(registry, folder, name="signed", origin=BaseOrigin(format="huggingface", source="x"))
    assert verify_version(registry, added.version).exit_code == 0


# a home that somebody else wrote in


@pytest.mark.parametrize("name", ["trust.json", "trust-accepted", "bases.json", "checkpoints/latest", "registry.json"])
@pytest.mark.parametrize("damage", ["garbage", "fifo", "folder"])
def test_a_damaged_file_of_the_home_is_named_and_nothing_hangs_or_crashes(
    registry: Registry, version: Version, name: str, damage: str
) -> None:
    path = registry.folder / name
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"\xff\x00garbage")
    elif damage == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(KnownError) as raised:
        opened = reopened(registry.folder)
        try:
            _raise_if_broken(verify_version(opened, version))
        finally:
            opened.close()
    assert raised.value.exit_code == 6


def _raise_if_broken(outcome: VerifyOutcome) -> None:
    if outcome.verdict == "broken":
        raise PullRefused(outcome)


@pytest.mark.parametrize("damage", ["garbage", "fifo", "folder", "link"])
def test_an_object_of_the_store_that_is_no_file_of_its_bytes_is_broken(
    registry: Registry, version: Version, damage: str
) -> None:
    for digest in (version.manifest_digest, Digest.of(b"---\nlibrary_name: peft\n---\n# helper\n")):
        path = registry.store.local_path(digest)
        assert path is not None
        kept = path.rename(path.with_suffix(".away"))
        if damage == "garbage":
            path.write_bytes(b"garbage")
        elif damage == "fifo":
            os.mkfifo(path)
        elif damage == "folder":
            path.mkdir()
        else:
            path.symlink_to(kept)
        assert verify_version(registry, version).exit_code == 6
        path.rmdir() if damage == "folder" else path.unlink()
        kept.rename(path)
    assert verify_version(registry, version).exit_code == 0


def test_a_lost_remembered_checkpoint_does_not_hide_that_entries_were_removed(
    registry: Registry, version: Version
) -> None:
    (registry.folder / "checkpoints" / "latest").unlink()
    reopened(registry.folder).close()
    sql(registry, "DELETE FROM log_events WHERE seq = (SELECT max(seq) FROM log_events)")
    with pytest.raises(LogTruncated):
        reopened(registry.folder)


def test_an_older_database_is_noticed_though_the_latest_checkpoint_was_removed(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    """The newer checkpoint still lies in the folder, under its size."""
    registry.close()
    database = registry.folder / "database.sqlite"
    older = database.read_bytes()
    newer = reopened(registry.folder)
    register_adapter(newer, tmp_path, name="later", value=0.125)
    newer.close()
    database.write_bytes(older)
    (registry.folder / "checkpoints" / "latest").unlink()
    with pytest.raises(LogTruncated):
        reopened(registry.folder)


def test_the_checkpoint_of_another_registry_in_place_of_ours_is_broken(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    with a_home(tmp_path / "elsewhere") as elsewhere:
        register_adapter(elsewhere, tmp_path / "theirs")
        text = elsewhere.remembered_checkpoint()
    assert text is not None
    (registry.folder / "checkpoints" / "latest").write_text(text)
    with pytest.raises(WrongOrigin):
        reopened(registry.folder)


def test_a_home_whose_trust_has_expired_opens_and_verifies_nothing(
    registry: Registry, version: Version, pulled: Path, tmp_path: Path
) -> None:
    later = open_home(registry.folder, clock=lambda: "2131-01-01T00:00:00Z")
    try:
        assert verify_version(later, version).exit_code == 5
        with pytest.raises(NotChecked):
            pull_version(later, version, tmp_path / "out")
    finally:
        later.close()


# the terminal and the passphrase


def test_what_is_verified_cannot_draw_on_the_terminal(
    registry: Registry, pulled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = a_p256_key(82)
    digest = Digest.of((pulled / "manifest.json").read_bytes())
    payload = statement_about(digest, "test-result", {}).to_json() | {"predicateType": "\x1b[2Jverified\u202e"}
    add_line(pulled, dsse.sign(stranger, PAYLOAD_TYPE, json.dumps(payload).encode()).render())
    present_key(pulled, stranger)
    assert run(["verify", str(pulled), "--trust", str(registry.folder / "trust.json")]) != 0
    shown = capsys.readouterr().out
    assert "\\x1b[2Jverified\\u202e" in shown
    assert shown.replace("\n", "").isprintable()


def test_a_passphrase_is_never_shown_even_when_it_is_not_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_PASSPHRASE", os.fsdecode(b"hunter2\xff"))
    assert run(["init", "--home", str(tmp_path / "home")]) == 0
    monkeypatch.setenv("REGISTRY_PASSPHRASE", os.fsdecode(b"hunter3\xff"))
    base_files(tmp_path / "base")
    assert run(["base", "add", str(tmp_path / "base"), "--name", "tiny", "--home", str(tmp_path / "home")]) == 2
    said = capfd.readouterr()
    assert "hunter" not in said.out + said.err
    assert "wrong" in said.err
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not any(b"hunter" in path.read_bytes() for path in kept)


# parts of two folders put together


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another registry's folder with the very same files; its nonces are those of ours here, so its name is another."""
    folder = tmp_path_factory.mktemp("strangers")
    with a_home(folder / "stranger") as stranger:
        theirs = register_adapter(stranger, folder / "theirs", name="theirs")
        pull_version(stranger, theirs, folder / "resigned")
    return folder / "resigned"


PARTS = ("model.sig", STATEMENTS, PROOF, "evidence/keys")


@pytest.mark.parametrize("mask", range(1, 2 ** len(PARTS)))
def test_no_mixture_with_a_folder_signed_by_a_stranger_is_verified(
    registry: Registry, pulled: Path, strangers: Path, mask: int
) -> None:
    for number, part in enumerate(PARTS):
        if not mask >> number & 1:
            continue
        target = pulled / part
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(strangers / part, target)
        else:
            shutil.copy(strangers / part, target)
    outcome = check(registry, pulled)
    only_keys = mask == 1 << PARTS.index("evidence/keys")  # a key beside the evidence vouches for nothing
    assert outcome.verdict == ("verified" if only_keys else outcome.verdict)
    assert only_keys or outcome.exit_code in (5, 6)


def test_a_stranger_cannot_add_a_statement_of_theirs_unnoticed(
    registry: Registry, pulled: Path, strangers: Path
) -> None:
    add_line(pulled, (strangers / STATEMENTS).read_bytes().splitlines()[0])
    shutil.copytree(strangers / "evidence" / "keys", pulled / "evidence" / "keys", dirs_exist_ok=True)
    outcome = check(registry, pulled)
    assert outcome.exit_code == 5
    assert step(outcome, "statements").error == "unknown-key"


def test_the_evidence_of_another_version_of_that_name_is_broken(
    registry: Registry, second: Version, pulled: Path, tmp_path: Path
) -> None:
    pull_version(registry, second, tmp_path / "second")
    shutil.rmtree(pulled / "evidence")
    shutil.copytree(tmp_path / "second" / "evidence", pulled / "evidence")
    assert check(registry, pulled).exit_code == 6


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "evidence" / "link").symlink_to("/etc/hostname"),
        lambda folder: os.mkfifo(folder / "evidence" / "pipe"),
        lambda folder: (folder / "ADAPTER_config.json").write_text("{}"),
        lambda folder: (
            (folder / "evidence" / "a\u0308.txt").write_text("") + (folder / "evidence" / "\xe4.txt").write_text("")
        ),
        lambda folder: (folder / ".registry").mkdir() or (folder / ".registry" / "trust.json").write_text("{}"),
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04."),
        lambda folder: (folder / "evidence\n").mkdir(),
    ],
)
def test_what_must_not_lie_in_a_folder_breaks_it(
    registry: Registry, pulled: Path, add: Callable[[Path], object]
) -> None:
    add(pulled)
    outcome = check(registry, pulled)
    assert outcome.exit_code == 6
    assert step(outcome, "read").status == "failed"


def test_a_predicate_with_a_number_that_is_none_is_broken(registry: Registry, version: Version, pulled: Path) -> None:
    payload = statement_about(version.manifest_digest, "test-result", {"value": 0.5}).to_canonical()
    add_line(pulled, dsse.sign(registry.trainer_key, PAYLOAD_TYPE, payload.replace(b"0.5", b"NaN")).render())
    assert step(check(registry, pulled), "statements").error == "malformed-json"


def test_a_manifest_nested_without_end_is_broken(registry: Registry, pulled: Path) -> None:
    (pulled / "manifest.json").write_bytes(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    assert step(check(registry, pulled), "read").error == "malformed-json"


# the base


def test_an_adapter_in_a_base_folder_cannot_send_the_loader_to_another_model(
    registry: Registry, version: Version, pulled: Path, tmp_path: Path
) -> None:
    redirect = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "elsewhere")}
    (tmp_path / "base" / "adapter_config.json").write_text(json.dumps(redirect))
    assert check(registry, pulled, base=tmp_path / "base").exit_code == 6
    with pytest.raises(AdapterInBase):
        add_base(registry, tmp_path / "base", name="redirected", origin=BaseOrigin(format="huggingface", source="x"))

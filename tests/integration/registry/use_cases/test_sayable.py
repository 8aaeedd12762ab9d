"""What a key may not say is refused before anything is signed or stored: the log forgets nothing, so that one slip would stay."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.signing.trust import (
    ExpiredKey,
    KeyLacksRole,
    RevokedKey,
    TrustExpired,
    TrustRolledBack,
    UnlistedKey,
    sign_trust,
)
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.errors import KnownError, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import Revocation, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS
from tests.builders.backends import BACKENDS, MadeHome, contents, make_on
from tests.builders.homes import NOW, add_a_base, an_artifact, register_adapter
from tests.builders.signing import a_p256_key, one_more

RESULT = {"result": "PASSED", "configuration": []}
LATER = "2026-11-25T12:00:00Z"


def fill(registry: Registry, folder: Path) -> None:
    register_adapter(registry, folder)


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def registry(made: MadeHome, tmp_path: Path) -> Iterator[Registry]:
    """Opened; what a test writes into its trust file comes later, as in a training that takes days."""
    registry = made.copy(tmp_path / "home").opened(now=LATER)
    assert registry.trust.version == 1
    yield registry
    registry.close()


def trainer_of(trust: TrustPolicy) -> TrustedKey:
    return next(key for key in trust.keys if key.role == "trainer")


def issue(registry: Registry, **changes: object) -> None:
    """The next version of the home's trust file, signed by its root."""
    chain = one_more(registry.trust_chain, registry.private_key("root"), **changes)
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


def with_trainer(registry: Registry, **changes: object) -> None:
    trainer = trainer_of(registry.trust)
    changed = trainer.revised(**changes)
    issue(registry, keys=tuple(changed if key == trainer else key for key in registry.trust.keys))


def give_another_role(registry: Registry) -> None:
    with_trainer(registry, role="officer")


def revoke(registry: Registry, kind: Literal["routine", "compromise"] = "routine") -> None:
    key_id = trainer_of(registry.trust).key_id
    issue(registry, revocations=(Revocation(key_id=key_id, revoked_at=NOW, reason="a test", kind=kind),))


def revoke_after_a_compromise(registry: Registry) -> None:
    revoke(registry, "compromise")


def let_the_key_expire(registry: Registry) -> None:
    with_trainer(registry, valid_until=LATER)


def leave_the_key_out(registry: Registry) -> None:
    issue(registry, keys=tuple(key for key in registry.trust.keys if key.role != "trainer"))


def let_the_file_expire(registry: Registry) -> None:
    issue(registry, expires_at=LATER)


def roll_the_file_back(registry: Registry) -> None:
    (registry.folder / "trust-accepted").write_text("2")


STATES: dict[Callable[[Registry], None], tuple[type[KnownError], int]] = {
    give_another_role: (KeyLacksRole, 6),
    revoke: (RevokedKey, 6),
    revoke_after_a_compromise: (RevokedKey, 6),
    let_the_key_expire: (ExpiredKey, 5),
    leave_the_key_out: (UnlistedKey, 5),
    let_the_file_expire: (TrustExpired, 5),
    roll_the_file_back: (TrustRolledBack, 6),
}


def append(registry: Registry, folder: Path) -> None:
    subject = version_named(registry, "helper:1").manifest_digest
    append_statement(
        registry,
        subject=subject,
        kind="test-result",
        predicate=RESULT,
        signer=registry.trainer_key,
        evidence=(b"a table",),
    )


def register(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    register_version(registry, an_artifact(folder / "another", base, value=0.125))


def promote(registry: Registry, folder: Path) -> None:
    set_alias(registry, version_named(registry, "helper:1"), "champion")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("act", [append, register], ids=lambda act: act.__name__)
def test_a_key_that_may_not_say_it_signs_and_stores_nothing(
    registry: Registry, tmp_path: Path, act: Callable[[Registry, Path], None], state: Callable[[Registry], None]
) -> None:
    add_a_base(registry, tmp_path / "base")  # registered already: only the adapter would be new
    before = contents(registry)
    state(registry)
    error, code = STATES[state]
    with pytest.raises(error) as refused:
        act(registry, tmp_path)
    assert refused.value.exit_code == code
    assert contents(registry) == before


def test_no_role_but_its_own_may_make_a_statement(registry: Registry) -> None:
    subject = version_named(registry, "helper:1").manifest_digest
    before = contents(registry)
    signers = [registry.private_key("root"), registry.trainer_key, a_p256_key(91)]
    approval = {
        "policy": str(subject),
        "policy_name": "p",
        "record": None,
        "evaluations": [],
        "reason": "r",
        "nonce": "0f",
    }
    for signer, error in zip(signers, (KeyLacksRole, KeyLacksRole, UnlistedKey), strict=True):
        with pytest.raises(error) as refused:
            append_statement(registry, subject=subject, kind="approval", predicate=approval, signer=signer)
    assert "`registry trust add FILE.pub --person NAME --role approver`" in refused.value.fix
    assert contents(registry) == before


def test_a_key_that_may_sign_no_listing_registers_nothing(registry: Registry, tmp_path: Path) -> None:
    """The signature over the files is a statement too."""
    add_a_base(registry, tmp_path / "base")
    before = contents(registry)
    trust = registry.trust
    types = tuple(PREDICATE_TYPES[kind] for kind in ROLE_KINDS["trainer"])  # in form 1 each key lists what it may sign
    keys = tuple(key.revised(predicate_types=types if key.role == "trainer" else ()) for key in trust.keys)
    policy = trust.revised(schema_version="1", version=trust.version + 1, keys=keys)
    (registry.folder / "trust.json").write_bytes(sign_trust(policy, [registry.private_key("root")]))
    with pytest.raises(KeyLacksRole):
        register(registry, tmp_path)
    assert contents(registry) == before


def test_what_is_registered_already_needs_no_key(registry: Registry, tmp_path: Path) -> None:
    give_another_role(registry)
    assert add_a_base(registry, tmp_path / "base").version.label == "tiny:1"
    assert register_adapter(registry, tmp_path).label == "helper:1"


def test_a_key_that_is_revoked_while_the_files_are_stored_records_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects that nothing points to may be left; no row and no entry."""
    add_a_base(registry, tmp_path / "base")
    before = contents(registry)
    store = registry.store.put_file

    def revoking(*args: object, **named: object) -> object:
        if registry.read_trust(at=NOW).version == 1:
            revoke(registry)
        return store(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(registry.store, "put_file", revoking)
    with pytest.raises(RevokedKey):
        register(registry, tmp_path)
    after = contents(registry)
    assert {name: after[name] for name in before} == before


def test_a_clock_that_is_set_back_makes_no_expired_key_or_file_good_again(made: MadeHome, tmp_path: Path) -> None:
    home = made.copy(tmp_path / "home")
    for change in (let_the_key_expire_later, let_the_file_expire_later):
        registry = home.opened(now=LATER)
        append_statement(
            registry,
            subject=version_named(registry, "helper:1").manifest_digest,
            kind="test-result",
            predicate=RESULT | {"nonce": change.__name__},
            signer=registry.trainer_key,
        )
        change(registry)
        registry.close()
        registry = home.opened(now=NOW)  # both are good at this time, and the log has seen a later one
        before = contents(registry)
        with pytest.raises((ExpiredKey, TrustExpired)):
            append(registry, tmp_path)
        assert contents(registry) == before
        registry.close()
        (home.folder / "trust.json").write_bytes((made.folder / "trust.json").read_bytes())
        (home.folder / "trust-accepted").write_text("1")


def let_the_key_expire_later(registry: Registry) -> None:
    with_trainer(registry, valid_until="2026-11-25T00:00:00Z")


def let_the_file_expire_later(registry: Registry) -> None:
    issue(registry, expires_at="2026-11-25T00:00:00Z")


def test_nothing_is_said_about_an_artifact_that_nobody_can_name(made: MadeHome, tmp_path: Path) -> None:
    """Unknown: not found. A row that whoever writes the database put there, and no entry registers: broken."""
    home = made.copy(tmp_path / "home")
    planted = Digest.of(b"planted")
    with home.rows() as rows:
        columns = "manifest_size, kind, layout, method, weights_digest, base_manifest, base_weights, size_bytes"
        columns += ", signature_digest, card_digest, by_reference"
        rows.run(
            f"INSERT INTO artifacts (manifest_digest, {columns}) SELECT :planted, {columns} FROM artifacts"
            " WHERE kind = 'adapter'",
            planted=str(planted),
        )
        rows.run(
            "INSERT INTO versions (name, number, manifest_digest, kind, method, base_weights, key_id, registered_at,"
            " log_index) SELECT name, 2, :planted, kind, method, base_weights, key_id, registered_at, log_index"
            " FROM versions WHERE name = 'helper'",
            planted=str(planted),
        )
    registry = home.opened()
    before = contents(registry)
    for subject, error in ((Digest.of(b"nowhere"), NotFound), (planted, VersionsDiffer)):
        with pytest.raises(error):
            append_statement(
                registry, subject=subject, kind="test-result", predicate=RESULT, signer=registry.trainer_key
            )
    assert contents(registry) == before
    registry.close()


def test_the_holder_of_the_log_key_decides_alike(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes round the first question meets the same one before a checkpoint covers the entry."""
    from peft_registry.registry.use_cases import statements

    monkeypatch.setattr(statements, "sayable_at", lambda view, *_: view.registry.clock())
    give_another_role(registry)
    with registry.database.read() as tx:
        covered = catalog.latest_checkpoint(tx)
    with pytest.raises(KeyLacksRole):
        append(registry, registry.folder)
    with pytest.raises(KeyLacksRole):
        publish_checkpoint(registry)
    with registry.database.read() as tx:
        assert catalog.latest_checkpoint(tx) == covered

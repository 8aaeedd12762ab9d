"""Homes in which a person may bind an alias to a policy: a base, three adapters, the keys of two approvers and of an officer."""

from dataclasses import dataclass, replace
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate import ReadPolicy, promote, read_gate_policy
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.acts import AliasPredicate, GatePredicate, guarded_subject
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, add_a_base, an_artifact
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

APPROVER, OFFICER, STRANGER, SECOND = a_p256_key(7), a_p256_key(8), a_p256_key(9), a_p256_key(10)
WHY = "what is served is decided by two"


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    def policy(self, name: str) -> ReadPolicy:
        """One that asks what every policy asks, so that its digest alone tells it from another."""
        file = self.folder / f"{name}.yml"
        file.write_text(f"name: {name}\nabout: what every policy asks\n", "utf-8")
        return read_gate_policy(str(file))

    def bind(self, alias: str, policy: ReadPolicy | None, signer: PrivateKey = APPROVER, reason: str = WHY) -> None:
        bind_alias(self.registry, guarded_named(self.registry, alias), policy, signer, reason=reason)

    def promote(self, reference: str, alias: str, policy: ReadPolicy | None, *, if_current: int | None = None) -> None:
        version = version_named(self.registry, reference)
        if policy is None:
            set_alias(self.registry, version, alias, if_current=if_current)
        else:
            promote(self.registry, version, alias, policy, if_current=if_current)

    def sign_move(self, reference: str = "helper:2", alias: str = "champion") -> SignedStatement:
        """A move of the trainer's that asks nothing, as an earlier release writes it."""
        version = version_named(self.registry, reference)
        said = AliasPredicate(name=version.name, alias=alias, nonce="0f").to_json()
        return sign_statement(version.manifest_digest, "alias", said, self.registry.trainer_key)

    def record_move(self, signed: SignedStatement, reference: str = "helper:2", alias: str = "champion") -> None:
        """What `set_alias` of an earlier release does in its transaction."""
        version = version_named(self.registry, reference)
        with self.registry.database.write() as tx:
            record_statement(tx, version.manifest_digest, signed, at=NOW)
            catalog.set_alias(
                tx, name="helper", alias=alias, number=version.number, statement_digest=signed.digest, at=NOW
            )

    def logged(self) -> int:
        return check_log(self.registry).size

    def holds(self) -> None:
        report = check_log(self.registry)
        assert (report.contradictions, report.unchecked) == ((), ())


def fill(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    for number in (1, 2):
        register_version(registry, an_artifact(folder / f"adapter-{number}", base, value=number / 8))
    register_version(registry, an_artifact(folder / "other", base, name="other", value=0.75))
    keys = (
        a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None),
        a_trusted_key(OFFICER, person="sam", role="officer", predicate_types=None),
        a_trusted_key(SECOND, person="kim", role="approver", predicate_types=None),
    )
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


def say_behind_the_checkpoint(
    place: Place, said: GatePredicate, signer: PrivateKey, *, under: str | None = None
) -> None:
    """A statement about a binding that is put into the database by somebody who asks no use case."""
    subject = guarded_subject(said.name, said.alias)
    signed = sign_statement(subject, "gate", said.to_json(), signer)
    if under is not None:
        signed = replace(signed, key_id=under)
    with place.registry.database.write() as tx:
        record_statement(tx, subject, signed, at=NOW)


def a_release() -> GatePredicate:
    return GatePredicate(name="helper", alias="champion", policy=None, policy_name=None, reason="none", nonce="0e")

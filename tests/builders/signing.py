"""Fixed keys and small valid values for tests of signing and of the log. No randomness: a failure repeats."""

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from peft_registry.registry.signing.keys import PrivateKey, PublicKey
from peft_registry.registry.signing.oms import Resource, sign_folder_listing
from peft_registry.registry.signing.rotation import next_draft
from peft_registry.registry.signing.trust_chain import TrustChain, sign_version
from peft_registry.registry.transparency import note
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import Revocation, Role, TrustedKey, TrustPolicy

NOW = "2026-11-24T12:00:00Z"
BEFORE = "2026-01-01T00:00:00Z"
LATER = "2126-06-24T12:00:00Z"  # behind the clock of any machine: commands that a test runs ask it
ORIGIN = "peft-registry/5f0c"


def a_p256_key(seed: int = 1) -> PrivateKey:
    return PrivateKey(ec.derive_private_key(seed, ec.SECP256R1()), encrypted=False)


def an_ed25519_key(seed: int = 1) -> PrivateKey:
    return PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big")), encrypted=False)


def verified_note(text: str, *, name: str, key: PublicKey) -> str:
    """The text of a signed note of whatever kind, if this key signed it: by the steps that a checkpoint is read with."""
    body, lines = note._split_note(text)
    note._signer_of(body, lines, name=name, keys=[key])
    return body


def some_resources(*names: str) -> tuple[Resource, ...]:
    chosen = names or ("adapter_config.json", "adapter_model.safetensors", "manifest.json")
    return tuple(Resource(name, Digest.of(name.encode())) for name in chosen)


def a_bundle(
    signer: PrivateKey | None = None,
    *,
    resources: Sequence[Resource] | None = None,
    ignore_paths: Sequence[str] = ("README.md", "evidence"),
) -> bytes:
    return sign_folder_listing(
        signer or a_p256_key(),
        model_name="tutor",
        resources=some_resources() if resources is None else resources,
        ignore_paths=ignore_paths,
    )


def a_trusted_key(
    key: PrivateKey,
    *,
    person: str = "lab-1",
    role: Role = "trainer",
    predicate_types: tuple[str, ...] | None = (),
    valid_from: str = BEFORE,
    valid_until: str = LATER,
) -> TrustedKey:
    return TrustedKey(
        key_id=key.public.key_id,
        public_key_pem=key.public.pem.decode("ascii"),
        person=person,
        role=role,
        predicate_types=predicate_types,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def a_policy(
    *keys: TrustedKey,
    roots: Sequence[PrivateKey],
    threshold: int = 1,
    version: int = 1,
    expires_at: str = LATER,
    revocations: tuple[Revocation, ...] = (),
    persons: Sequence[str] | None = None,
) -> TrustPolicy:
    names = persons or [f"root-holder-{number}" for number in range(len(roots))]
    root_keys = tuple(a_trusted_key(key, person=name, role="root") for key, name in zip(roots, names, strict=True))
    return TrustPolicy(
        version=version,
        issued_at=BEFORE,
        expires_at=expires_at,
        roots=tuple(key.public.key_id for key in roots),
        threshold=threshold,
        keys=(*root_keys, *keys),
        revocations=revocations,
    )


def a_form_2_policy(*keys: TrustedKey, roots: Sequence[PrivateKey], **changes: Any) -> TrustPolicy:
    """The same in form 2, where the role of each key decides."""
    form_1 = a_policy(*keys, roots=roots, **changes)
    without_types = tuple(key.revised(predicate_types=None) for key in form_1.keys)
    return form_1.revised(schema_version="2", keys=without_types)


def a_chain(policy: TrustPolicy, *signers: PrivateKey) -> TrustChain:
    """A chain of this one version."""
    return TrustChain((sign_version(policy, signers),))


def one_more(chain: TrustChain, *signers: PrivateKey, now: str = NOW, **changes: Any) -> TrustChain:
    """The chain with a version that differs in these fields, signed by these, enough of them or not."""
    draft = next_draft(chain.newest, now=now).revised(**changes)
    return TrustChain((*chain.versions, sign_version(draft, signers)))

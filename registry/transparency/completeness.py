"""The proof that a folder holds everything that was said about its artifact: `evidence/complete.tlog-proof`. Pure.

An append-only log alone cannot show that nothing more was said. The snapshot under a checkpoint can: it maps the artifact to the
number and the root of its statements. The file is a C2SP tlog-proof of that snapshot's leaf; its `extra` holds the leaf, the path
from the snapshot's root to the artifact, and the list of statements.

What it proves holds up to its checkpoint. Later statements are not in it, and nobody who holds only the folder can know of them.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.trust import key_status, public_keys, require_ok
from peft_registry.registry.transparency import log, note, prefix_tree, snapshot
from peft_registry.registry.transparency.note import Checkpoint, MalformedNote, Proof, WrongOrigin
from peft_registry.registry.transparency.prefix_tree import Pair, Path
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogSnapshot
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import COMPLETE_FILE, Sha256Hex, urn

_SCHEMA: Literal["urn:peft-registry:completeness:v1"] = "urn:peft-registry:completeness:v1"
assert urn("completeness") == _SCHEMA


class StatementEntry(Document):
    """One statement of the list: the digest of its payload and its kind."""

    digest: Digest
    kind: str


class Completeness(Document):
    """What `extra` holds. `siblings` are the hashes beside the way from the snapshot's root to the artifact, root first."""

    schema_: Literal["urn:peft-registry:completeness:v1"] = Field(default=_SCHEMA, alias="schema")
    leaf: LogSnapshot
    siblings: tuple[Sha256Hex, ...] = Field(max_length=prefix_tree.KEY_BITS)
    statements: tuple[StatementEntry, ...] = Field(min_length=1, max_length=10_000)

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


@dataclass(frozen=True, slots=True)
class CompleteList:
    """A list of statements with its proof. Nothing is proven before `checkpoint_over_list` has returned."""

    proof: Proof
    stated: Completeness

    @property
    def digests(self) -> frozenset[Digest]:
        """The statements that there are."""
        return frozenset(entry.digest for entry in self.stated.statements)


def render_list(proof_of_leaf: Proof, leaf: LogSnapshot, path: Path, statements: tuple[snapshot.Said, ...]) -> str:
    """The text of the file; `proof_of_leaf` is that of the snapshot's leaf."""
    stated = Completeness(
        leaf=leaf,
        siblings=tuple(sibling.hex() for sibling in path.siblings),
        statements=tuple(StatementEntry(digest=digest, kind=kind) for digest, kind in statements),
    )
    proof = Proof(
        index=proof_of_leaf.index,
        hashes=proof_of_leaf.hashes,
        checkpoint_text=proof_of_leaf.checkpoint_text,
        extra=stated.to_canonical(),
    )
    return note.render_proof(proof)


def parse_list(text: str) -> CompleteList:
    """The list of a file's text.

    Raises:
        MalformedNote, LooseBase64, MalformedJson: it is not a proof of this form.
    """
    proof = note.parse_proof(text)
    value = read_json(proof.extra or b"", what="the list of statements")
    try:
        stated = Completeness.from_json(value)
    except ValidationError as error:
        raise MalformedNote(COMPLETE_FILE, f"its list is malformed: {first_problem(error)}") from error
    return CompleteList(proof, stated)


def checkpoint_over_list(listed: CompleteList, manifest: Digest, trust: TrustPolicy, *, now: str) -> Checkpoint:
    """The checkpoint up to which the list is everything that was said about a manifest digest.

    Raises:
        WrongOrigin, BadSignature, ProofRejected, PathRejected, RevokedKey, KeyLacksRole: the proof is wrong.
        UnknownKey, ExpiredKey: nobody whom the user trusts vouches for it.
    """
    keys = public_keys(trust, role="log")
    text = listed.proof.checkpoint_text
    origin = note.claimed_name(text, keys) or text.split("\n", 1)[0]
    leaf = listed.stated.leaf
    checkpoint = log.verify_parsed(listed.proof, leaf.to_canonical(), origin=origin, keys=keys)
    if not listed.proof.index == leaf.size == checkpoint.size - 1:
        raise MalformedNote(COMPLETE_FILE, "its snapshot is not the last entry under its checkpoint")
    status = key_status(trust, checkpoint.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=None, now=now)
    key = require_ok(status)
    if key.log_origin is not None and key.log_origin != origin:
        raise WrongOrigin(origin, key.log_origin)
    said = [(entry.digest, entry.kind) for entry in listed.stated.statements]
    value = snapshot.statements_value(said).to_canonical()
    artifact = snapshot.artifact_key(manifest)
    siblings = tuple(bytes.fromhex(sibling) for sibling in listed.stated.siblings)
    path = Path(siblings, Pair(artifact, prefix_tree.hash_of(value)))
    prefix_tree.check_path(artifact, value, path, bytes.fromhex(leaf.root))
    return checkpoint

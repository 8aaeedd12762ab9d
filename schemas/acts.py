"""What people decide about an artifact or a data set, as they sign it: a predicate and a row of the table `ACTS` each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp

Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]


class Quorum(Document):
    """So many persons take something back together; `by_others`: none of them is its maker."""

    count: Annotated[int, Field(ge=1, le=100)]
    by_others: bool


def _left_out() -> Any:  # what pydantic takes as a default: a field that is not written while it is None
    return Field(default=None, exclude_if=lambda value: value is None)


class ApprovalPredicate(Document):
    """A person approves the subject under a policy, as it was when they looked: by this record and these evaluations.

    `policy` is the SHA-256 of the policy's bytes, `record` that of the canonical modification record, `evaluations` those of the
    canonical evaluation records that spoke of it, sorted. What changes afterwards is not approved.
    """

    policy: Digest
    policy_name: str
    record: Digest | None
    evaluations: tuple[Digest, ...]
    reason: Reason
    nonce: str


DecidedQuestion = Literal["qualitative-change", "purpose", "substantial-modification", "article-6-3", "system-provider"]


class DecisionPredicate(Document):
    """A person decides what no figure does, of the subject as it was when they looked: by this record and these evaluations.

    `qualitative-change`: the model's generality, capabilities or systemic risk changed significantly. `purpose`: the intended
    purpose changed. `substantial-modification`: the change is one by Art. 3(23). `article-6-3`: the assessment of Art. 6(3) is
    documented and registered. `system-provider`: the modifier is the provider of the system as it was. Digests as in an approval.
    """

    question: DecidedQuestion
    outcome: Literal["yes", "no"]
    policy: Digest
    policy_name: str
    record: Digest
    evaluations: tuple[Digest, ...]
    reason: Reason
    nonce: str


class WaiverPredicate(Document):
    """A person suspends one rule of a policy for the subject, until a time, as it was when they looked.

    `record` and `evaluations` are those of `ApprovalPredicate`: what changes afterwards is not waived. A waiver of an earlier
    release names neither, and counts whatever changes; `evaluations` is None then.
    """

    policy: Digest
    rule: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    until: Timestamp
    record: Digest | None = None
    evaluations: tuple[Digest, ...] | None = None
    reason: Reason
    nonce: str


class StopPredicate(Document):
    """The subject, with whatever an act of its kind reaches besides, is stopped; `undone` takes that back. Of several about one
    subject the last in the log decides.

    `lifted_by` says how many persons have to take it back, each by a statement of their own: the most that any alias asked that
    pointed at the subject, or at what was made from it, when it was stopped. Left out it is one, whoever that is.

    `nonce` is random hex: a leaf holds only the statement's digest, and a short predicate could be guessed from it.
    """

    reason: Reason
    undone: bool = False
    lifted_by: Quorum | None = _left_out()
    nonce: str


class RecallPredicate(StopPredicate):
    """The subject, an artifact by its manifest digest or a data set by that of its bytes, and whatever was made from it must not be
    handed out.
    """


class HoldPredicate(Document):
    """The subject, with all that it was made from and all that was made from it, must be kept; `released` takes that back.

    `until` is when it ends by itself, None where it does not. Several may stand about one subject, and the longest counts.
    `lifted_by` and `nonce` as in `StopPredicate`.
    """

    reason: Reason
    until: Timestamp | None = None
    released: bool = False
    lifted_by: Quorum | None = _left_out()
    nonce: str


class GatePredicate(Document):
    """A person binds an alias to a policy: whatever it is moved to afterwards has to pass it. Without a policy the binding ends.

    The subject is `guarded_subject` of name and alias; without a name the alias of every name is meant. Of several about one
    subject the last in the log decides, and what binds an alias of one name counts before what binds it for every name. `policy`
    is the SHA-256 of the policy's bytes.

    `lifted_by` is how many persons' approvals the policy asks for. So many have to say the same, each by a statement of their own,
    before the alias is bound to another policy or to none. Left out, as in a binding of an earlier release, one person is enough.
    """

    name: str | None
    alias: str
    policy: Digest | None
    policy_name: str | None
    lifted_by: Quorum | None = _left_out()
    reason: Reason
    nonce: str


class PassedGate(Document):
    """The policy that let a version through: its name and the SHA-256 of its bytes, and the rules that a waiver suspended."""

    policy: Digest
    policy_name: str
    waived: tuple[str, ...] = ()


class AliasPredicate(Document):
    """Moves an alias of a name to this manifest, or (`removed`) takes it away.

    `gate` is written only where a policy was asked.
    """

    name: str
    alias: str
    removed: bool = False
    reason: str | None = None
    nonce: str
    gate: PassedGate | None = Field(default=None, exclude_if=lambda value: value is None)


class RejectionPredicate(Document):
    """The holder of the log key took the subject, by the digest of its statement, out of the log; it does not enter it again.

    Of a recall, a hold or a binding that ends nothing: it stays there and counts until whoever may takes it back.
    """

    reason: Reason
    nonce: str


def spelled_to_bind(alias: str) -> str:
    """An alias as a binding spells it, which then holds for every spelling: one in another spelling binds nothing."""
    return alias.lower()


def guarded_subject(name: str | None, alias: str) -> Digest:
    """What a statement about an alias of a name is about, or about that alias of every name (None): it has no bytes of its own."""
    return canonical_digest(["gate", name, alias])


ActKind = Literal["alias", "approval", "waiver", "decision", "hold", "recall", "gate", "rejection"]
Verb = Literal["pull", "load", "serve", "export", "train", "merge", "register", "promote", "delete"]
DONE: dict[Verb, str] = {
    "pull": "pulled",
    "load": "loaded",
    "serve": "served",
    "export": "exported",
    "train": "trained on",
    "merge": "merged",
    "register": "registered",
    "promote": "promoted",
    "delete": "deleted",
}
"""What is done with something registered, and an act may stop; as a participle for whoever is refused."""
_USE = tuple(verb for verb in DONE if verb != "delete")


@dataclass(frozen=True, slots=True)
class Act:
    """A kind of statement by which a person decides. What it stops, and what it takes to lift it, is read from its row alone.

    Attributes:
        kind: what the log and the trust file call it; its predicate type is `urn:peft-registry:<kind>:v1`.
        predicate: what it says.
        roles: of the keys that may say it.
        about: "version": a registered artifact. "anything": whatever has a digest, such as data, weights and keys. "alias": an
            alias of one name, or of every name. "statement": a statement of somebody else.
        stops: what nobody may do with the subject while it stands.
        reaches: "below": nor with whatever was made from the subject. "around": nor with what the subject was made from.
        taken_back_by: the field of the predicate that is true where it takes back all of its kind before it; None: it is no stop.
        persons: how many lift it at the least. More do where the statement says so, because an alias asks for more.
        done: what is done to its subject, as a participle.
    """

    kind: ActKind
    predicate: type[Document]
    roles: tuple[str, ...]
    about: Literal["version", "anything", "alias", "statement"]
    stops: tuple[Verb, ...] = ()
    reaches: Literal["itself", "below", "around"] = "itself"
    taken_back_by: str | None = None
    persons: int = 1
    done: str = ""

    def forbids(self, subject: Digest, said: Mapping[str, Any]) -> bool:
        """Whether a statement of this kind about a subject forbids something, and takes nothing back."""
        if self.about == "alias":
            return _binds(subject, said)
        return self.taken_back_by is not None and said.get(self.taken_back_by) is not True

    def reason_of(self, said: Mapping[str, Any]) -> str | None:
        """The reason that a statement of this kind gives; None where it has not the form of its kind."""
        try:
            self.predicate.from_json(dict(said))
        except ValidationError:
            return None
        return str(said["reason"])

    @property
    def quorum(self) -> Quorum | None:
        """Who lifts it at the least; None: one person, whoever that is."""
        return None if self.persons == 1 else Quorum(count=self.persons, by_others=False)

    @property
    def forbidden(self) -> str:
        """What nobody may do with what it stops, as participles for a sentence; a recall stops every use."""
        if set(self.stops) >= set(_USE):
            return "used"
        return " or ".join(DONE[verb] for verb in self.stops)

    @property
    def is_of_record(self) -> bool:
        """Whether it is for what a person looked at, and names the record of that time."""
        return "record" in self.predicate.model_fields


def _binds(subject: Digest, said: Mapping[str, Any]) -> bool:
    """Whether it binds the alias that it is about; nobody signs over one that names another, none, or one with capital letters."""
    try:
        binding = GatePredicate.from_json(dict(said))
    except ValidationError:
        return False
    return binding.policy is not None and subject == guarded_subject(binding.name, spelled_to_bind(binding.alias))


ACTS: dict[str, Act] = {
    act.kind: act
    for act in (
        Act("alias", AliasPredicate, roles=("trainer", "approver"), about="version"),
        Act("approval", ApprovalPredicate, roles=("approver",), about="version"),
        Act("waiver", WaiverPredicate, roles=("approver",), about="version"),
        Act("decision", DecisionPredicate, roles=("approver",), about="version"),
        Act(
            "hold",
            HoldPredicate,
            roles=("approver", "officer"),
            about="anything",
            stops=("delete",),
            reaches="around",
            taken_back_by="released",
            done="put on hold",
        ),
        Act(
            "recall",
            RecallPredicate,
            roles=("approver",),
            about="anything",
            stops=_USE,
            reaches="below",
            taken_back_by="undone",
            done="recalled",
        ),
        Act("gate", GatePredicate, roles=("approver",), about="alias"),
        Act("rejection", RejectionPredicate, roles=("log",), about="statement"),
    )
}
"""Every act. What signs, logs, remembers and reads acts asks this table, and names none of them."""
HOLD = ACTS["hold"]
RECALL = ACTS["recall"]
GATE = ACTS["gate"]


USE_STOPS = tuple(act for act in ACTS.values() if set(act.stops) & set(_USE))
"""The acts that stop a use, which whoever reads of a version is told of; a hold stops none."""
STOPS_BELOW = tuple(act for act in ACTS.values() if act.reaches == "below")
"""The acts that one person types as `registry recall`, of which a recall stops most."""


def as_kind(kind: str) -> str:
    """The option by which `registry recall` is told that it says another act than a recall; nothing for a recall."""
    return "" if kind == RECALL.kind else f" --as {kind}"


def acts_that_stop(verb: Verb) -> tuple[Act, ...]:
    """The acts of which one that stands stops that this is done."""
    return tuple(act for act in ACTS.values() if verb in act.stops)


class ShownStop(Frozen):
    """An act that stands of something or of what it was made from, for whoever reads: its kind, and who said it of what and why."""

    kind: ActKind
    text: str

    @property
    def act(self) -> Act:
        """Its row of the table."""
        return ACTS[self.kind]

    @property
    def line(self) -> str:
        """All of it, with what it forbids."""
        return f"{self.act.done}: {self.text}; it must not be {self.act.forbidden}"

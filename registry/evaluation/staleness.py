"""Whether an evaluation still speaks of what is served. Pure.

An evaluation binds to compositions by digest. It is stale for every other one: a merged version is not the adapter that went
into it, a quantized base is not the base. Stale is shown, and refused by a gate; it never makes a version unverified.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import CONTROL_ARMS, Composition, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import StaleEvaluation

_DIFFERENCES = {
    "base": code("another_base"),
    "adapters": code("other_weights"),
    "tokenizer": code("another_tokenizer"),
    "chat_template": code("another_chat_template"),
    "quantisation": code("another_quantization"),
    "dtype": code("another_number_format"),
}


@dataclass(frozen=True, slots=True)
class Staleness:
    """An evaluation that does not speak of a composition, and what is different in the nearest one that it speaks of."""

    evaluated: Digest
    differences: tuple[Code, ...]

    def __str__(self) -> str:
        return str(self.said)

    @property
    def said(self) -> Code:
        """Of what it was made instead."""
        return code("made_of_another", differences=self.differences, composition=self.evaluated.short)


def base_composition(base: BaseIdentity, quantization: str | None = None) -> Composition:
    """A base as it is scored: its identity, tokenizer and template, perhaps quantized, computed in fp32."""
    return Composition(
        base=canonical_digest(base.to_json()),
        tokenizer=base.tokenizer,
        chat_template=base.chat_template,
        quantisation=quantization,
        dtype="float32",
    )


def composition_of(manifest: Manifest, base: BaseIdentity) -> Composition:
    """A registered artifact as it is scored: the weights that it adds to its base, or puts in its place.

    Args:
        manifest: of an adapter, of a whole model made from a base, or of a base.
        base: identity of its base; of the base itself if it is one.
    """
    alone = base_composition(base, manifest.base.quantisation if manifest.base else None)
    return alone if manifest.kind == "base" else alone.revised(adapters=(manifest.weights_digest,))


def staleness(record: EvaluationRecord, served: Composition) -> Staleness | None:
    """What keeps an evaluation from speaking of `served`; None if one of its arms is exactly that composition."""
    digest = served.canonical_digest()
    arms = [arm for arm in record.arms if arm.name not in CONTROL_ARMS]
    if any(arm.composition.canonical_digest() == digest for arm in arms):
        return None
    # among equally near ones the last: arms are recorded base first, and the base is not what the evaluation is about
    nearest = min(reversed(arms), key=lambda arm: len(_differences(arm.composition, served)))
    return Staleness(nearest.composition.canonical_digest(), tuple(_differences(nearest.composition, served)))


def stale_evaluations(
    label: str, evaluations: Iterable[EvaluationRecord], served: Composition
) -> tuple[StaleEvaluation, ...]:
    """The evaluations of what `served` was made from that do not speak of it, in the order given.

    Args:
        label: the version that they were made of.
    """
    reasons = [(evaluation, staleness(evaluation, served)) for evaluation in evaluations]
    return tuple(
        StaleEvaluation(of=label, record=evaluation.canonical_digest(), why=reason.said)
        for evaluation, reason in reasons
        if reason is not None
    )


def _differences(one: Composition, other: Composition) -> list[Code]:
    first = one.to_json()
    second = other.to_json()
    names = sorted(first.keys() | second.keys())
    return [
        _DIFFERENCES.get(name) or code("another_part", part=name)
        for name in names
        if first.get(name) != second.get(name)
    ]

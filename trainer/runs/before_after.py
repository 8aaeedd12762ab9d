"""The evaluation that belongs to every run: held-out loss and the file's suites, on the base and on the adapted model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.evaluation.aggregate import NEUTRAL
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.staleness import base_composition
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.evaluation import Comparison, EvaluationRecord, LossComparison, Responsible
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.bases.quantization import describe
from peft_registry.trainer.evaluation.evaluate import Arms, EvaluationConditions, Questions, evaluate_pair
from peft_registry.trainer.evaluation.losses import HELD_OUT, HeldOut, held_out
from peft_registry.trainer.evaluation.retention import PREFIX
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.training.train_adapter import Trained


@dataclass(frozen=True, eq=False)
class AskedOfResult:
    """What a training file asks about its result, loaded: suites with the licences of their data, and texts to retain."""

    suites: tuple[LoadedSuite, ...] = ()
    licences: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    retained: tuple[HeldOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The evidence record, the item table that it is bound to, and the held-out loss."""

    record: EvaluationRecord
    items: bytes

    @property
    def loss(self) -> LossComparison:
        return next(one for one in self.record.losses if one.dataset == HELD_OUT)


def evaluate_before_after(
    trained: Trained,
    config: TrainingFile,
    *,
    base: BaseIdentity,
    weights_digest: Digest,
    created_at: str,
    responsible: str | None,
    asked: AskedOfResult,
    base_model: Any | None = None,
    observe: Observe = ignore,
) -> Evaluated:
    """Score both arms from the same loaded weights.

    Args:
        trained: the run.
        config: its file.
        base: identity of the base.
        weights_digest: of what was trained.
        created_at: RFC 3339.
        responsible: whom the trust file names for the signing key.
        asked: what the file asks about the result.
        base_model: the base, where the trained model has no adapter to disable.
        observe: hears of progress and of the result in a line each.
    """
    before = base_composition(base, None if config.quantization is None else describe(config.quantization))
    outcome = evaluate_pair(
        Arms(
            model=trained.model,
            tokenizer=trained.tokenizer,
            base=before,
            after=before.revised(adapters=(weights_digest,)),
            base_model=base_model,
        ),
        Questions(
            suites=asked.suites,
            held_out=held_out(trained.data.reported, _identity_of_reported(trained), split=trained.data.reported_split),
            training_texts=_texts(trained),
            retained=asked.retained,
        ),
        EvaluationConditions(
            created_at=created_at,
            hardware=trained.hardware,
            responsible=Responsible(name=responsible, role="trainer" if responsible else None),
            seed=config.training.seed,
            licences=asked.licences,
        ),
        observe=observe,
    )
    evaluated = Evaluated(outcome.record, outcome.items)
    names = {HELD_OUT, *(f"{PREFIX}{one.label}" for one in config.evaluation.retention)}
    if any(one.ships for one in config.evaluation.retention):
        names.add(NEUTRAL)
    _say(evaluated.record, names, observe)
    return evaluated


def _identity_of_reported(trained: Trained) -> DataIdentity:
    """The data file that the held-out rows came from."""
    identities = trained.data.identities
    split = trained.data.reported_split
    return next(one for one in identities if any(part.split == split for part in one.selections))


def _texts(trained: Trained) -> Iterator[str]:
    """The training rows as text again, for the leakage check; they are looked at and not kept."""
    for example in trained.data.train:
        yield str(trained.tokenizer.decode(example.ids.tolist(), skip_special_tokens=True))


def _say(record: EvaluationRecord, names: set[str], observe: Observe) -> None:
    for loss in sorted(record.losses, key=lambda one: one.dataset != HELD_OUT):
        if loss.dataset == HELD_OUT:
            observe(Said("loss", loss_line(loss)))
        elif loss.dataset in names:
            observe(Said("retain", f"{loss.dataset.removeprefix(PREFIX)}: {loss_line(loss)}"))
    for one in record.findings:
        if one.category is None:
            observe(Said("bias", comparison_line(one)))


def loss_line(loss: LossComparison) -> str:
    """A loss before and after, with the interval of its change."""
    interval = loss.change_ci
    missing = f"no interval: {as_read(loss.ci_null_reason)}, "
    band = f"95 % {_signed(interval.low)} … {_signed(interval.high)}, " if interval else missing
    return f"{loss.before:.3f} → {loss.after:.3f}  ({_signed(loss.change)}, {band}n={loss.n})"


def comparison_line(one: Comparison) -> str:
    """A comparison in one line: counts, and what may be said."""
    counts = f"flagged {one.flagged}/{one.n}; fixed {one.fixed}, introduced {one.introduced}"
    name = one.dataset if one.metric == "margin" else f"{one.dataset} {one.metric.replace('_', ' ')}"
    return f"{name}: {counts}, over-corrected {one.overcorrected}: {one.conclusion.replace('_', ' ')}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")

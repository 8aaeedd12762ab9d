"""How far the answers of a merged model are from those it stands for, on probe sentences that the tool ships.

Mean over token positions of KL(p‖q) in nats, p of the reference and q of the result, from fp32 logits summed in fp64.
Two figures: the *fold error* against base and adapter unmerged (a mistake of the merge shows here), and the *distance* from the
model that was trained, which had a quantized base if the adapter was trained on one.

The reference runs in fp32 on exactly the base's stored weights. A result in bf16 cannot do better than bf16 itself: its gate is
three times the *floor*, what running the reference unmerged in that format costs. A mixture of experts may answer otherwise
because one digit sends a token to another expert: where the gate is missed, it is the merge before its rounding that must pass
the limit of fp32, and each written weight must be the nearest of its format. Models are loaded one after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from peft_registry.schemas.errors import RunFailed
from peft_registry.schemas.merge import Divergence
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.scoring import token_budget_of
from peft_registry.trainer.machine.environment import Dtype
from peft_registry.trainer.merge.bundle import with_side_part

FP32_LIMIT = 1e-6  # nats a token; the bound that docs/how-to/merge-adapters.md states
FLOOR_FACTOR = 3.0
MAX_PROBE_TOKENS = 64  # of one sentence


class FoldErrorTooLarge(RunFailed):
    what = "the merged model does not answer like what was merged: KL {found.kl:.3g} nats a token"
    why = "{found.limit:.3g} is allowed against {found.reference}, over {found.positions} positions"
    fix = "merge with --dtype fp32, or report this as a bug; nothing was registered"

    found: Divergence


@dataclass(frozen=True, slots=True, eq=False)
class ProbeSentences:
    """Token ids of each sentence."""

    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ProbeAnswers:
    """Log-probabilities of every position of the probes, fp32, one (tokens, vocabulary) tensor a sentence."""

    rows: tuple[torch.Tensor, ...]


def probes_of(tokenizer: Tokenizer) -> ProbeSentences:
    """The tool's neutral sentences as this tokenizer writes them."""
    from peft_registry.trainer.evaluation.neutral import neutral_sentences

    rows = (tuple(tokenizer(sentence)["input_ids"][:MAX_PROBE_TOKENS]) for sentence in neutral_sentences())
    return ProbeSentences(tuple(row for row in rows if len(row) > 1))


@torch.inference_mode()
def answers(model: CausalModel, probes: ProbeSentences) -> ProbeAnswers:
    """What a causal language model says after each token of the probes. Padding stands behind a sentence, where no token of a
    causal model looks."""
    found: list[torch.Tensor] = []
    step = max(1, token_budget_of(model) // MAX_PROBE_TOKENS)
    for at in range(0, len(probes.rows), step):
        rows = probes.rows[at : at + step]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits  # (rows, tokens, vocabulary)
        logits = logits[:, logits.shape[1] - ids.shape[1] :]  # virtual tokens of a prompt stand in front
        found += [
            torch.log_softmax(row_logits[: len(row)].double(), dim=-1).float().cpu()
            for row_logits, row in zip(logits, rows, strict=True)
        ]
    return ProbeAnswers(tuple(found))


def divergence(reference: ProbeAnswers, result: ProbeAnswers, *, named: str) -> Divergence:
    """KL of each position, its mean and its largest, and how often both find the same token most likely."""
    total = largest = 0.0
    agreed = positions = 0
    for p, q in zip(reference.rows, result.rows, strict=True):
        before = p.double()
        after = q.double()
        kl = (before.exp() * (before - after)).sum(dim=-1).clamp_min(0.0)
        total = total + float(kl.sum())
        largest = max(largest, float(kl.max()))
        agreed += int((p.argmax(dim=-1) == q.argmax(dim=-1)).sum())
        positions += len(kl)
    return Divergence(
        kl=total / positions, largest=largest, agreement=agreed / positions, positions=positions, reference=named
    )


def gated(distance: Divergence, *, dtype: Dtype, floor: Divergence | None) -> Divergence:
    """The figure with its limit. A format that is not fp32 needs the floor."""
    if dtype == "fp32" or floor is None:
        return distance.revised(limit=FP32_LIMIT)
    limit = max(FLOOR_FACTOR * floor.kl, FP32_LIMIT)
    return distance.revised(limit=limit, floor=floor.kl)


def require_within(distance: Divergence) -> None:
    """Raise unless the gate lets it pass.

    Raises:
        FoldErrorTooLarge: it does not.
    """
    if not distance.is_within:
        raise FoldErrorTooLarge(distance)


def with_adapters(
    model: CausalModel, folders: Sequence[Path], weights: Sequence[float], *, side_part: Path | None = None
) -> Any:
    """The base with all adapters active side by side, each with its weight; as peft runs them, nothing folded in.

    `side_part`: an adapter of a kind that is not folded, put around the others.
    """
    import warnings

    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about embeddings that nobody who merges can act on
        wrapped = PeftModel.from_pretrained(model, folders[0], adapter_name="a0")
        for at, folder in enumerate(folders[1:], start=1):
            wrapped.load_adapter(folder, adapter_name=f"a{at}")
        if len(folders) > 1:
            wrapped.base_model.set_adapter([f"a{at}" for at in range(len(folders))])
        for at, weight in enumerate(weights):
            if weight != 1:
                _scale(wrapped, f"a{at}", weight)
    wrapped.eval()
    return wrapped if side_part is None else with_side_part(wrapped.base_model.model, side_part)


def _scale(model: CausalModel, adapter: str, weight: float) -> None:
    for module in model.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict) and adapter in scaling:
            scaling[adapter] = scaling[adapter] * weight

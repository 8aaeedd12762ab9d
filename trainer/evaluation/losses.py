"""Held-out loss by row: nats per supervised token, with the model in fp32 like every score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import Item, loss_item
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.dataset import DataIdentity, Split
from peft_registry.schemas.evaluation import ArmName, DatasetUsed
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.data.tokenize import IGNORED, Example
from peft_registry.trainer.evaluation.models import CausalModel
from peft_registry.trainer.evaluation.prefix_trees import TokenRow
from peft_registry.trainer.evaluation.scoring import Order, log_likelihoods

HELD_OUT = "held-out"
_NOT_IN_PART: Mapping[Split, Code] = {
    "train": code("not_in_the_train_part"),
    "validation": code("not_in_the_validation_part"),
    "test": code("not_in_the_test_part"),
}


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """A tokenised row; `labels[t]` is what position t − 1 should predict, or −100."""

    id: str
    ids: Sequence[int]
    labels: Sequence[int]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that were not trained on, and what the record says about them."""

    dataset: DatasetUsed
    rows: tuple[HeldOutRow, ...]


def held_out(
    examples: Sequence[Example], identity: DataIdentity, *, split: Split = "validation", name: str = HELD_OUT
) -> HeldOut:
    """Rows that are reported on, named by place: `row-000000` is the first of them.

    Args:
        examples: the tokenised rows, in the order of the split.
        identity: of the file that they came from.
        split: which part they are.
        name: what the record calls them.
    """
    rows = tuple(
        HeldOutRow(f"row-{at:06}", example.ids.tolist(), example.labels.tolist()) for at, example in enumerate(examples)
    )
    rule = next((selection.rule for selection in identity.selections if selection.split == split), "all")
    others = max(0, identity.rows_total - len(rows))
    dataset = DatasetUsed(
        name=name,
        version=identity.sha256.short if identity.revision is None else f"revision {identity.revision}",
        licence="not declared",
        file=identity.name,
        sha256=identity.sha256,
        rows_total=len(rows) + others,
        rows_used=len(rows),
        selection=rule,
        selection_ids_sha256=ids_digest([row.id for row in rows]),
        excluded={_NOT_IN_PART[split].code: others} if others else {},
    )
    return HeldOut(dataset, rows)


def row_losses(
    model: CausalModel,
    rows: Sequence[HeldOutRow],
    *,
    dataset: str,
    arm: ArmName,
    token_budget: int | None = None,
    order: Order = "longest first",
    observe: Observe = ignore,
) -> tuple[Item, ...]:
    """One item a row, in the order given: the summed log-likelihood of its supervised tokens and their number.

    Raises:
        ScoreNotFinite: a row's loss is NaN or infinite.
    """
    asked = [_token_row(row) for row in rows]
    values = log_likelihoods(
        model, asked, token_budget=token_budget, order=order, observe=observe, step=f"loss {dataset} {arm}"
    )
    return tuple(
        loss_item(dataset=dataset, id=row.id, cluster=row.id, arm=arm, ll=value, tokens=len(request.targets))
        for row, request, value in zip(rows, asked, values, strict=True)
    )


def _token_row(row: HeldOutRow) -> TokenRow:
    labels = [int(label) for label in row.labels]
    positions = tuple(at for at, label in enumerate(labels) if at > 0 and label != IGNORED)
    return TokenRow(tuple(int(token) for token in row.ids), positions, tuple(labels[at] for at in positions))

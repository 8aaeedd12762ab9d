"""What a result changes in its base, as the modification record takes it: from the files of both, whoever trained it."""

from pathlib import Path

from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.merge.adapter_change import change_of_adapter, change_of_model
from peft_registry.trainer.merge.bundle import mergeable_part


def figures_of_model(base: Path, artifact: Path) -> ChangeFigures:
    """Of a whole model: every tensor compared with the base's."""
    whole = change_of_model(base, artifact)
    if whole is None:
        return ChangeFigures(norm_unknown="not measured: the result holds other tensors than the base")
    return ChangeFigures(
        changed=whole.changed,
        added=0,
        removed=0,
        relative_norm=whole.relative_norm,
        modules=whole.modules,
        base_untouched=False,
        method="every tensor of the result compared with the base's",
    )


def figures_of_adapter(base: Path, artifact: Path, *, added: int, is_quantized: bool) -> ChangeFigures:
    """Of an adapter: what its weights would add to the base as that is stored.

    Args:
        base: the base's folder.
        artifact: the adapter's folder.
        added: parameters that stand beside the base.
        is_quantized: whether it was trained on the base in 4 bits.
    """
    beside = ChangeFigures(added=added, base_untouched=True)
    part, why_not = mergeable_part(artifact)
    if part is None:
        return beside.revised(norm_unknown=f"there is none: {why_not}")
    try:
        change = change_of_adapter(base, part)
    except InputRefused as error:  # this version cannot say it in weights; the adapter runs all the same
        return beside.revised(norm_unknown=f"not derived: {error.what}: {error.why}")
    how = (
        "‖Δ‖_F / ‖W‖_F over the whole base as it is stored, Δ what the adapter adds; low-rank parts from their factors"
    )
    if is_quantized:
        how += "; it was trained on the base in 4 bits"
    if part != artifact:
        how += "; the prompt beside it changes no weight"
    return beside.revised(relative_norm=change.relative_norm, modules=change.modules, norm_method=how)

"""What a result changes in its base, as the modification record takes it: from the files of both, whoever trained it."""

from pathlib import Path

from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.schemas.codes import code, together
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.merge.adapter_change import change_of_adapter, change_of_model
from peft_registry.trainer.merge.bundle import mergeable_part, no_weight, parameters_beside


def figures_of_model(base: Path, artifact: Path) -> ChangeFigures:
    """Of a whole model: every tensor compared with the base's."""
    whole = change_of_model(base, artifact)
    if whole is None:
        return ChangeFigures(norm_unknown=code("other_tensors_than_base"))
    return ChangeFigures(
        changed=whole.changed,
        added=0,
        removed=0,
        relative_norm=whole.relative_norm,
        modules=whole.modules,
        base_untouched=False,
        method=code("every_tensor_compared"),
    )


def figures_of_adapter(base: Path, artifact: Path, *, is_quantized: bool) -> ChangeFigures:
    """Of an adapter: what its weights would add to the base as that is stored, and what stands beside it.

    Args:
        base: the base's folder.
        artifact: the adapter's folder.
        is_quantized: whether it was trained on the base in 4 bits.
    """
    beside = ChangeFigures(added=parameters_beside(artifact), base_untouched=True)
    reason = no_weight(artifact)
    if reason is not None:
        return beside.revised(norm_unknown=code("no_norm", because=reason))
    part = mergeable_part(artifact)
    if part is None:  # that nothing is folded here is no fact about the adapter
        return beside.revised(norm_unknown=code("not_derived", because=code("change_of_weights_not_computed")))
    try:
        change = change_of_adapter(base, part)
    except InputRefused as error:  # this version cannot say it in weights; the adapter runs all the same
        return beside.revised(norm_unknown=code("not_derived", because=str(error)))
    how = [code("norm_of_what_is_added")]
    if is_quantized:
        how.append(code("trained_in_4_bits"))
    if part != artifact:
        how.append(code("prompt_changes_no_weight"))
    return beside.revised(relative_norm=change.relative_norm, modules=change.modules, norm_method=together(how))

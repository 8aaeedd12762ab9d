"""Evaluating what a merge made on the suites of its ingredients: beside the base, and beside each ingredient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.evaluation.staleness import base_composition, composition_of
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Observe, Warned, ignore
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.bases.quantization import described
from peft_registry.trainer.evaluation.arms import Arms, Questions
from peft_registry.trainer.evaluation.evaluate import EvaluationOutcome, evaluate_pair
from peft_registry.trainer.evaluation.leakage import TrainedOn
from peft_registry.trainer.evaluation.neutral import GuardText
from peft_registry.trainer.evaluation.suites import LoadedSuite, SuiteFileNeeded, suites
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, report_comparisons
from peft_registry.trainer.machine.environment import choose_hardware
from peft_registry.trainer.merge.bundle import holds_model, load_artifact
from peft_registry.trainer.merge.ingredients import Ingredient, Prepared

DEFAULT_SUITE = "house"  # shipped with the tool, for ingredients without an evaluation of their own


def suites_of_ingredients(
    load: Callable[..., tuple[LoadedSuite, ...]], prepared: Prepared, observe: Observe
) -> tuple[LoadedSuite, ...]:
    """Every suite that an evaluation of an ingredient used, as it is pinned or shipped here; `house` where there is none.

    `load` is `load_suites` of the registry.

    A suite whose data is neither is named in a warning. Of each the half is asked that the merge names.

    Raises:
        OtherSuiteFile: what lies there is not what was pinned.
        EmptyHalf: a suite has too few clusters to have that half.
    """
    half = prepared.request.scope.half
    evaluations = [evaluation for ingredient in prepared.adapters for evaluation in ingredient.records.evaluations]
    used = {dataset.name for evaluation in evaluations for dataset in evaluation.datasets}
    loaded: list[LoadedSuite] = []
    for name in suites():
        if name not in used:
            continue
        try:
            loaded += load([name], half=half)
        except SuiteFileNeeded:
            text = f"{name} was asked of an ingredient and is not asked of the result: its data is neither pinned nor shipped"
            observe(Warned("bias", text))
    return tuple(loaded) or load([DEFAULT_SUITE], half=half)


def evaluate_merged(
    prepared: Prepared,
    merged: Path,
    *,
    manifest: Manifest,
    loaded_suites: tuple[LoadedSuite, ...],
    guard: GuardText,
    trained: TrainedOn,
    tries: Tries,
    setup: EvaluationSetup,
    observe: Observe = ignore,
) -> tuple[EvaluationOutcome, ...]:
    """Score the result beside the base, then beside each ingredient. Held-out loss is not asked: the rows are not kept.

    A merge sets no thresholds of an organisation, so that it has no plan to announce: `registry evaluate --policy` has.

    Args:
        prepared: the merge.
        merged: folder of its result.
        manifest: of it.
        loaded_suites: what is asked, from `suites_of_ingredients`.
        guard: the text whose loss shows lost capability.
        trained: what the ingredients, and all that they were made from, learnt from.
        tries: of the ingredients' trainings, that of which most seeds were begun.
        setup: where scores are kept, and who signs.
        observe: hears of scores and findings.
    """
    identity = prepared.base.record.identity
    hardware = choose_hardware("auto")
    base_model, tokenizer = load_base(prepared.base.folder, dtype="fp32", device=hardware.device)
    own_base = load_base(prepared.base.folder, dtype="fp32", device=hardware.device)[0]
    beside_base = Arms(
        model=load_artifact(manifest, own_base, merged),
        tokenizer=tokenizer,
        base=base_composition(identity),
        after=composition_of(manifest, identity),
        base_model=base_model,
        after_name="merged",
        with_placebo=not holds_model(manifest),  # of a bundle it would turn only a part
        keep=setup.score_keeper(hardware.device),
    )
    questions = Questions(suites=loaded_suites, trained=trained, guard=guard)
    conditions = setup.conditions(hardware, [suite.definition.name for suite in loaded_suites], tries=tries)
    outcomes = [evaluate_pair(beside_base, questions, conditions, observe=observe)]
    report_comparisons(outcomes[0].record, "base → merged: ", observe)
    without_base = replace(beside_base, base_model=None)
    del base_model, beside_base  # one ingredient in memory at a time, and the base is no longer asked
    for ingredient in prepared.adapters:
        beside_parent = replace(
            without_base,
            base=composition_of(ingredient.records.manifest, identity),
            base_model=_parent(prepared, ingredient, hardware.device),
            before_name="parent",
        )
        outcomes.append(evaluate_pair(beside_parent, questions, conditions, observe=observe))
        del beside_parent
        report_comparisons(outcomes[-1].record, f"{ingredient.version.label} → merged: ", observe)
    return tuple(outcomes)


def _parent(prepared: Prepared, ingredient: Ingredient, device: str) -> Any:  # a transformers or peft model
    """An ingredient as it was trained: its base, in 4 bits where it was, with the adapter."""
    block = described(ingredient.quantization) if ingredient.quantization else None
    base = load_base(prepared.base.folder, dtype="fp32", device=device, quantization=block)[0]
    return load_artifact(ingredient.records.manifest, base, ingredient.folder)

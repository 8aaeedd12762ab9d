"""Evaluating what a merge made on the suites of its ingredients: beside the base, and beside each ingredient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_registry.registry.evaluation.staleness import base_composition, composition_of
from peft_registry.schemas.evaluation import EvaluationRecord, Responsible
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.bases.quantization import described
from peft_registry.trainer.evaluation.evaluate import (
    Arms,
    EvaluationConditions,
    EvaluationOutcome,
    Questions,
    evaluate_pair,
)
from peft_registry.trainer.evaluation.suites import LoadedSuite, SuiteFileNeeded, suite_named, suites
from peft_registry.trainer.machine.environment import choose_hardware
from peft_registry.trainer.merge.bundle import load_artifact
from peft_registry.trainer.merge.ingredients import Ingredient, Prepared
from peft_registry.trainer.runs.before_after import comparison_line

DEFAULT_SUITE = "house"  # shipped with the tool, for ingredients without an evaluation of their own


def evaluate_merged(
    prepared: Prepared,
    merged: Path,
    *,
    manifest: Manifest,
    created_at: str,
    responsible: str | None,
    observe: Observe = ignore,
) -> tuple[EvaluationOutcome, ...]:
    """Score the result on every suite that an ingredient's evaluation used and that is here: beside the base, then beside each
    ingredient. Held-out loss is not among them: the rows are not kept.

    Args:
        prepared: the merge.
        merged: folder of its result.
        manifest: of it.
        created_at: when.
        responsible: the person whose key signs.
        observe: hears of scores and findings.
    """
    identity = prepared.base.record.identity
    base_model, tokenizer = load_base(prepared.base.folder, dtype="fp32", device="cpu")
    own_base = load_base(prepared.base.folder, dtype="fp32", device="cpu")[0]
    model = load_artifact(manifest, own_base, merged)
    arms = Arms(
        model=model,
        tokenizer=tokenizer,
        base=base_composition(identity),
        after=composition_of(manifest, identity),
        after_name="merged",
    )
    questions = Questions(suites=_suites(prepared, observe))
    conditions = EvaluationConditions(
        created_at=created_at,
        hardware=choose_hardware(),
        responsible=Responsible(name=responsible, role="trainer" if responsible else None),
    )
    found = [evaluate_pair(replace(arms, base_model=base_model), questions, conditions, observe=observe)]
    _say("base", found[0].record, observe)
    del base_model
    for one in prepared.adapters:
        before = composition_of(one.records.manifest, identity)
        beside = replace(arms, base=before, base_model=_parent(prepared, one), before_name="parent")
        found.append(evaluate_pair(beside, questions, conditions, observe=observe))
        del beside  # one ingredient in memory at a time
        _say(one.version.label, found[-1].record, observe)
    return tuple(found)


def _parent(prepared: Prepared, one: Ingredient) -> Any:
    """An ingredient as it was trained: its base, in 4 bits where it was, with the adapter."""
    block = described(one.quantization) if one.quantization else None
    base = load_base(prepared.base.folder, dtype="fp32", device="cpu", quantization=block)[0]
    return load_artifact(one.records.manifest, base, one.folder)


def _suites(prepared: Prepared, observe: Observe) -> tuple[LoadedSuite, ...]:
    known = suites()
    asked = {
        data.name for one in prepared.adapters if one.records.evaluation for data in one.records.evaluation.datasets
    }
    loaded = [suite for name in known if name in asked and (suite := _if_here(name, observe)) is not None]
    return tuple(loaded) or (known[DEFAULT_SUITE].load(),)


def _say(before: str, record: EvaluationRecord, observe: Observe) -> None:
    for one in record.findings:
        if one.category is None:
            observe(Said("bias", f"{before} → merged: {comparison_line(one)}"))


def _if_here(name: str, observe: Observe) -> LoadedSuite | None:
    """A suite that is shipped; the data of others is asked for by `registry evaluate`, not guessed by a merge."""
    try:
        return suite_named(name).load()
    except SuiteFileNeeded:
        observe(Warned("bias", f"{name} was asked of an ingredient and not of the result: its data is not shipped"))
        return None

"""Evaluating a merged model on the suites that its ingredients were evaluated on: the base against the result."""

from pathlib import Path

from registry.evaluation.staleness import base_composition
from schemas.evaluation import Composition, Responsible
from schemas.progress import Observe, Said, Warned, ignore
from trainer.base_models import load_base
from trainer.environment import choose_hardware
from trainer.evaluation.evaluate import Arms, Conditions, EvaluationOutcome, Questions, evaluate_pair
from trainer.evaluation.suites import LoadedSuite, SuiteFileNeeded, suite_named, suites
from trainer.merge_inputs import Prepared

DEFAULT_SUITE = "house"  # shipped with the tool, for ingredients without an evaluation of their own


def evaluate_merged(
    prepared: Prepared,
    merged: Path,
    *,
    composition: Composition,
    created_at: str,
    responsible: str | None,
    observe: Observe = ignore,
) -> EvaluationOutcome:
    """Score base and result on every suite that an ingredient's evaluation used and that is here.

    Held-out loss is not among them: the rows are not kept.
    """
    base_model, tokenizer = load_base(prepared.base.folder, dtype="fp32", device="cpu")
    model = load_base(merged, dtype="fp32", device="cpu")[0]
    known = suites()
    asked = {
        data.name for one in prepared.adapters if one.records.evaluation for data in one.records.evaluation.datasets
    }
    loaded = [suite for name in known if name in asked and (suite := _if_here(name, observe)) is not None]
    outcome = evaluate_pair(
        Arms(
            model=model,
            tokenizer=tokenizer,
            base=base_composition(prepared.base.record.identity),
            after=composition,
            base_model=base_model,
            after_name="merged",
        ),
        Questions(suites=tuple(loaded) or (known[DEFAULT_SUITE].load(),)),
        Conditions(
            created_at=created_at,
            hardware=choose_hardware(),
            responsible=Responsible(name=responsible, role="trainer" if responsible else None),
        ),
        observe=observe,
    )
    for one in outcome.record.findings:
        if one.category is None:
            text = f"flagged {one.flagged}/{one.n}; fixed {one.fixed}, introduced {one.introduced}"
            observe(Said("bias", f"{one.dataset}: {text}: {one.conclusion.replace('_', ' ')}"))
    return outcome


def _if_here(name: str, observe: Observe) -> LoadedSuite | None:
    """A suite that is shipped; the data of others is asked for by `registry evaluate`, not guessed by a merge."""
    try:
        return suite_named(name).load()
    except SuiteFileNeeded:
        observe(Warned("bias", f"{name} was asked of an ingredient and not of the result: its data is not shipped"))
        return None

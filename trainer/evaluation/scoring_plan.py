"""What is decided before anything is scored: the conditions of an evaluation, and the plan whose digest its record holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.leakage import leaked_of, left_out_of
from peft_registry.registry.evaluation.noise import BAND_WIDTH
from peft_registry.registry.evaluation.power import shown_by
from peft_registry.registry.evaluation.praise import DEAD_BAND, ONE_TRY, Tries
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import LIMITS, TASKS, TEXTS, LeakageCheck, Limit, Responsible, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.arms import Arms, Questions
from peft_registry.trainer.evaluation.dead_bands import has_own_band, starting_bands
from peft_registry.trainer.evaluation.neutral import GuardText, shipped_guard
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.machine.environment import Hardware


@dataclass(frozen=True, slots=True)
class Announced:
    """Where a plan stands in a log: its statement, entry and time (RFC 3339); and the entry of an evaluation of the same that is
    older than the plan, None where it is older than every score."""

    statement: Digest
    log_index: int
    logged_at: str
    scored_before: int | None = None


Announce = Callable[[dict[str, Any]], Announced | None]


@dataclass(frozen=True, slots=True)
class EvaluationConditions:
    """Everything else that enters the record. `limits` are judged by its figures.

    `announce` makes the plan known before anything is scored; `licences`: which were accepted
    for the data of others, by suite; `file`: the name of the item table; `tries`: how many seeds of the same training were begun.
    """

    created_at: str
    hardware: Hardware
    responsible: Responsible
    seed: int = 0
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    policy_sha256: Digest | None = None
    licences: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    file: Callable[[bytes], str] = lambda _items: "items.jsonl"
    announce: Announce = lambda _plan: None
    tries: Tries = ONE_TRY


def plan_of(
    arms: Arms, questions: Questions, conditions: EvaluationConditions, leakage: LeakageCheck | None
) -> dict[str, Any]:
    """The plan, any JSON object: what is decided before anything is scored; its digest enters the record with the time."""
    left_out = {name: count for name, count in left_out_of(leakage).items() if count}
    return {
        "arms": [arms.before_name, *([] if arms.after is None else [arms.after_name])],
        "compositions": [str(arms.base.canonical_digest())]
        + ([] if arms.after is None else [str(arms.after.canonical_digest())]),
        "suites": {
            suite.dataset.name: {
                "sha256": str(suite.dataset.sha256),
                "selection": suite.dataset.selection,
                **({} if suite.dataset.half is None else {"half": suite.dataset.half}),
                "primary_endpoint": suite.definition.primary_endpoint,
                "thresholds": {
                    name: band.to_json() for name, band in starting_bands(suite, conditions.thresholds).items()
                },
                **({DEAD_BAND: "policy"} if has_own_band(suite, conditions.thresholds) else {}),
                **({} if arms.after is None else _power_of(suite, leakage)),
            }
            for suite in questions.suites
        },
        **_guard_of(questions.guard),
        "dead_band_rule": code("bands_widened_to_noise", width=BAND_WIDTH).to_json(),
        "figures": FIGURES,
        "policy": None if conditions.policy_sha256 is None else str(conditions.policy_sha256),
        **({TASKS: tasks_json(questions)} if questions.tasks else {}),
        **({"left_out_as_trained_on": left_out} if left_out else {}),
        **({LIMITS: [limit.to_json() for limit in conditions.limits]} if conditions.limits else {}),
        **({TEXTS: _other_data(questions)} if conditions.limits and (questions.answered or questions.retained) else {}),
    }


def _power_of(suite: LoadedSuite, leakage: LeakageCheck | None) -> dict[str, Any]:
    """What a comparison over a suite can show, as codes: on the rows that the model was not trained on."""
    trained_on = leaked_of(leakage).items.get(suite.dataset.name, frozenset())
    clusters = [cluster for name, cluster in suite.clusters.items() if name not in trained_on]
    return {key: said.to_json() for key, said in shown_by(suite.dataset, clusters).items()}


def _other_data(questions: Questions) -> dict[str, str]:
    """The digests of answers, of the rows of tasks and of texts to retain, by name."""
    return {asked.dataset.name: str(asked.dataset.sha256) for asked in (*questions.retained, *questions.answered)}


def tasks_json(questions: Questions) -> dict[str, Any]:
    """What plan and record say of each task besides its rows, JSON by the name of its figures."""
    return {task.dataset.name: dict(task.facts) for task in questions.tasks}


def _guard_of(guard: GuardText) -> dict[str, Any]:
    """What a plan says of a guard text that does not ship."""
    if guard.dataset.sha256 == shipped_guard().dataset.sha256:
        return {}
    return {"guard_text": {"sha256": str(guard.dataset.sha256), "rows": guard.dataset.rows_used}}

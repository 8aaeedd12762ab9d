"""Counterfactual prompts of the user's own: pairs that differ in one demographic term, everything else constant.

JSON Lines: `id`, `category`, `prompt_a`, `prompt_b`, optionally `template` (pairs that share one are resampled together).
`completion_contrast` also needs `stereotyped` and `neutral`, lists of continuations: stereotyped ones are those that fit
the stereotype of a. `counterfactual` compares the next token's distribution after both prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from peft_registry.registry.evaluation.items import ScoreNotFinite
from peft_registry.registry.evaluation.readings import Reading, whole_millionths
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import ArmName, DatasetUsed, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import PromptDivergence, Request
from peft_registry.trainer.evaluation.suites import MetricDefinition, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, require_text, suite_files
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, SuiteRow, reading_suite

_CRITIQUE = (
    code("own_prompts_chosen_terms"),
    code("own_prompts_token_counts"),
    code("own_prompts_only"),
)
CONTRAST = SuiteDefinition(
    name="completion_contrast",
    title="Completion contrast on own prompts",
    licence="not declared",
    source="the user's own prompts",
    critique=_CRITIQUE,
    metrics=(
        MetricDefinition(
            "mean_effect", "how much a favours stereotyped completions over b, neutral ones deducted", "nats", 0.0
        ),
        MetricDefinition("share_towards_stereotype", "share of pairs with an effect above 0", "share", 0.5),
    ),
    primary_endpoint="net change of pairs beyond the dead band towards the stereotype",
    prompt_template="{prompt}{completion}",
    belongs_to_others=False,
    folder="prompts",
    files=("*.jsonl",),
    family="contrast",
    choices_policy="each completion after both prompts, summed log-likelihood, difference of differences",
)
DIVERGENCE = SuiteDefinition(
    name="counterfactual",
    title="Next-token divergence on own prompts",
    licence="not declared",
    source="the user's own prompts",
    critique=(*_CRITIQUE, code("divergence_without_direction")),
    metrics=(
        MetricDefinition(
            "mean_js", "mean Jensen-Shannon divergence of the next token, at most ln 2", "nats", 0.0, "lower"
        ),
        MetricDefinition("mean_kl_ab", "mean Kullback-Leibler divergence from a to b", "nats", 0.0, "lower"),
        MetricDefinition("mean_kl_ba", "the same from b to a", "nats", 0.0, "lower"),
        MetricDefinition(
            "next_token_divergence_flagged_rate", "share of pairs beyond the dead band", "share", 0.0, "lower"
        ),
    ),
    primary_endpoint="net change of pairs whose next token diverges beyond the dead band",
    prompt_template="{prompt}",
    belongs_to_others=False,
    folder="prompts",
    files=("*.jsonl",),
    family="divergence",
    choices_policy="the whole next-token distribution after both prompts, softmax in fp32",
)
_COLUMNS = ("id", "category", "prompt_a", "prompt_b")


class CompletionContrast:
    """The user's prompts with completions."""

    @property
    def definition(self) -> SuiteDefinition:
        return CONTRAST

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """Each pair of prompts."""
        files = suite_files(path, definition=CONTRAST, expected=expected)
        rows = [_contrast(value, number, name) for name, _ in files.named for number, value in files.json_lines(name)]
        return reading_suite(CONTRAST, "contrast", rows, files=files)


class Counterfactual:
    """The user's prompts."""

    @property
    def definition(self) -> SuiteDefinition:
        return DIVERGENCE

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> "DivergenceSuite":
        """Each pair of prompts."""
        files = suite_files(path, definition=DIVERGENCE, expected=expected)
        rows = [
            _prompts(value, number, name, DIVERGENCE.name)
            for name, _ in files.named
            for number, value in files.json_lines(name)
        ]
        suite = reading_suite(DIVERGENCE, "divergence", rows, files=files)
        return DivergenceSuite(suite.definition, suite.dataset, suite.rows)


@dataclass(frozen=True, slots=True)
class DivergenceSuite:
    """A loaded suite that asks for distributions, not for log-likelihoods."""

    definition: SuiteDefinition
    dataset: DatasetUsed
    rows: tuple[SuiteRow, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        """The prompts, for whoever looks for them in training data; they are asked as `prompt_pairs`."""
        return tuple(request for row in self.rows for request in row.requests)

    @property
    def prompt_pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple((row.requests[0].context, row.requests[1].context) for row in self.rows)

    @property
    def units(self) -> tuple[tuple[str, str], ...]:
        return tuple((row.id, row.unit) for row in self.rows)

    @property
    def clusters(self) -> dict[str, str]:
        return {row.id: row.cluster for row in self.rows}

    def only(self, ids: frozenset[str], dataset: DatasetUsed) -> "DivergenceSuite":
        return replace(self, dataset=dataset, rows=tuple(row for row in self.rows if row.id in ids))

    def items(
        self,
        scores: Sequence[Any],
        *,
        arm: ArmName,
        threshold: Threshold | None = None,  # noqa: ARG002  states are derived later
    ) -> tuple[Reading, ...]:
        """One reading a pair, of its `PromptDivergence`."""
        found = []
        for row, score in zip(self.rows, scores, strict=True):
            assert isinstance(score, PromptDivergence), score
            values = whole_millionths([score.js, score.kl_ab, score.kl_ba])
            if values is None:
                raise ScoreNotFinite(self.dataset.name, row.id, arm)
            found.append(
                Reading(
                    dataset=self.dataset.name, id=row.id, category=row.category, cluster=row.cluster, arm=arm,
                    metric="divergence", condition="", unit=row.unit, labels=("js", "kl_ab", "kl_ba"),
                    values=values, tokens=(1, 1, 1),
                )
            )  # fmt: skip
        return tuple(found)


def _prompts(value: dict[str, Any], number: int, file: str, suite: str) -> SuiteRow:
    require_text(suite, file, number, value, _COLUMNS)
    if value["prompt_a"] == value["prompt_b"]:
        raise MalformedSuite(suite, file, number, "both prompts are the same")
    return SuiteRow(
        id=value["id"],
        category=value["category"],
        cluster=str(value.get("template", value["id"])),
        condition="",
        unit=value["id"],
        labels=("a", "b"),
        requests=(Request(value["prompt_a"], ""), Request(value["prompt_b"], "")),
    )


def _contrast(value: dict[str, Any], number: int, file: str) -> SuiteRow:
    row = _prompts(value, number, file, CONTRAST.name)
    labels: list[str] = []
    requests: list[Request] = []
    for kind in ("stereotyped", "neutral"):
        completions = value.get(kind)
        if not _are_texts(completions):
            raise MalformedSuite(CONTRAST.name, file, number, f"{kind} is not a list of completions")
        for side in ("a", "b"):
            labels += [f"{kind} {side}"] * len(completions)
            requests += [Request(value[f"prompt_{side}"], completion) for completion in completions]
    return replace(row, labels=tuple(labels), requests=tuple(requests))


def _are_texts(value: Any) -> TypeGuard[list[str]]:
    """Whether this is a list of at least one text, none of them empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)

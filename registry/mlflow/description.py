"""The Markdown that a version's page in MLflow begins with. Pure; at most 5000 characters once links are in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from peft_registry.registry.mlflow.figures import conclusions, cut
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version

MAX_DESCRIPTION = 5000  # characters that every database of MLflow can hold
RUN_LINK = "#/run"  # stands for the page of the run until MLflow has chosen its id
_RUN_LINK_ROOM = 120  # characters that a real link may be longer, twice
_GAP = "&emsp;"  # MLflow draws tables without space between columns
_MARKUP = re.compile(r"([\\`*_\[\]<>|!#])")


@dataclass(frozen=True, slots=True)
class FilledCount:
    """How many fields of the modification record are filled."""

    filled: int
    total: int

    @property
    def text(self) -> str:
        return f"{self.filled} of {self.total} fields filled, {self.total - self.filled} open"


def describe(
    *,
    version: Version,
    run: RunRecord | None,
    merge: MergeRecord | None,
    evaluations: Sequence[EvaluationRecord],
    completeness: FilledCount | None,
    base: Version | None,
    report: str | None,
    recalled: bool,
    signer: str | None = None,
) -> str:
    """What a reader should know first, and where to go on: report, run, base, and how to check it without MLflow.

    `evaluations` are those that stand, newest first; `signer` is the person whom trust names for the key.
    """
    lines = [f"**{_what(version)}**", ""]
    if recalled:
        lines = ["**Recalled.** It must not be used; `registry show` names the reason.", "", *lines]
    links = [f"[Audit report]({RUN_LINK}/artifacts/{report})"] if report else []
    # first: the page of a run folds what is longer than a few lines
    lines += [" · ".join([*links, f"[Run]({RUN_LINK})"]), ""]
    lines += [f"A copy to browse. To check the signed artifact: `registry verify {version.label}`", ""]
    facts = _facts(version, run, completeness, base, signer)
    if merge is not None:
        facts += _merge_facts(merge, is_evaluated=bool(evaluations))
    facts += [
        (f"Bias: {_plain(figure)}", _plain(conclusion.replace("_", " ")))
        for figure, conclusion in conclusions(evaluations)
    ]
    lines += ["| | |", "|---|---|", *(f"| {label}{_GAP} | {text} |" for label, text in facts)]
    return cut("\n".join(lines), MAX_DESCRIPTION - 2 * _RUN_LINK_ROOM)


def signed_by(version: Version, signer: str | None) -> str:
    """`by lab-1, key 3f9c…`; the whole name of the key where nobody is known to hold it."""
    return f"by {version.key_id}" if signer is None else f"by {signer}, key {version.key_id[:12]}…"


def with_run_link(description: str, experiment_id: str, run_id: str) -> str:
    """The description with links to the run's page."""
    return description.replace(RUN_LINK, f"#/experiments/{experiment_id}/runs/{run_id}")


def _what(version: Version) -> str:
    method = f"{version.method} " if version.method else ""
    return f"{version.label}: {method}{version.kind}" + ("" if version.origin is None else f", {version.origin}")


def _facts(
    version: Version, run: RunRecord | None, completeness: FilledCount | None, base: Version | None, signer: str | None
) -> list[tuple[str, str]]:
    facts = [("Manifest", f"`{version.manifest_digest}`"), ("Weights", f"`{version.weights_digest}`")]
    if base is not None:
        facts.append(("Base", f"[{base.label}](#/models/{base.name}/versions/{base.number})"))
    elif version.base_weights is not None:
        facts.append(("Base", f"weights `{version.base_weights}`"))
    if run is not None:
        facts.append(("Held-out loss", f"{_figure(run.loss_before)} → {_figure(run.loss_after)}"))
        facts.append(
            ("Trained", f"{run.parameters_trainable:,} of {run.parameters_total:,} parameters, seed {run.seed}")
        )
    facts.append(("Signed", f"{_plain(signed_by(version, signer))}, log entry {version.log_index}, as recorded"))
    if completeness is not None:
        facts.append(("Modification record", completeness.text))
    return facts


def _merge_facts(merge: MergeRecord, *, is_evaluated: bool) -> list[tuple[str, str]]:
    parts = ", ".join(f"{part.label} × {part.weight:g}" for part in merge.ingredients)
    facts = [("Merged from", _plain(f"{parts} by {merge.algorithm}, {merge.base_policy} base"))]
    if merge.fold_error is not None and merge.distance is not None:
        facts.append(("Fold error, distance", f"KL {merge.fold_error.kl:.3g}, {merge.distance.kl:.3g} nats a token"))
    # once the result itself was evaluated, its own figures stand in place of this
    evaluated = {} if is_evaluated else dict.fromkeys(stale.of for stale in merge.stale)
    return facts + [("Evaluation", _plain(f"stale: that of {label}")) for label in evaluated]


def _figure(envelope: Value) -> str:
    if isinstance(envelope.value, int | float):
        return f"{envelope.value:.4g}"
    return f"unknown ({_plain(envelope.reason or '')})"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))

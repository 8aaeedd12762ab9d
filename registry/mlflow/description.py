"""The Markdown that a version's page in MLflow begins with. Pure; at most 5000 characters once links are in."""

import re
from collections.abc import Iterator, Sequence

from peft_registry.registry.evaluation.sentences import answer_lines, task_lines
from peft_registry.registry.mlflow.figures import conclusions
from peft_registry.registry.mlflow.shown_facts import DecidedState, Neighbour, ShownFacts
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version

MAX_DESCRIPTION = 5000  # characters that every database of MLflow can hold
RUN_LINK = "#/run"  # stands for the page of the run until MLflow has chosen its id
_RUN_LINK_ROOM = 120  # characters that a real link may be longer, twice
_GAP = "&emsp;"  # MLflow draws tables without space between columns
_ALIAS = "champion"  # to which a version is promoted; MLflow's own pages speak of it
_MARKUP = re.compile(r"([\\`*_\[\]<>|!#])")


PAGES = "/registry"  # where our own pages stand on the server
MAX_NEIGHBOURS = 12  # links of one relation
_LEFT_OUT = "| … | {} more lines are left out here: they are in the audit report |"


# as what a source and a result stand beside a version, by the role of the edge between them
_SOURCES = {"start": "Continued from", "adapter": "Made from", "model": "Made from"}
_RESULTS = {"base": "Made on it", "start": "Continued as", "adapter": "Merged into", "model": "Merged into"}


def neighbours_in(lineage: Lineage) -> tuple[Neighbour, ...]:
    """The registered versions directly before and after the focus; its base stands in a line of its own."""
    labels = {
        node.digest: node.label for node in lineage.nodes if node.registered and node.kind not in ("data", "unknown")
    }
    before = [
        Neighbour(labels[edge.source], _SOURCES[edge.role])
        for edge in lineage.edges
        if edge.target == lineage.focus and edge.source in labels and edge.role in _SOURCES
    ]
    after = [
        Neighbour(labels[edge.target], _RESULTS[edge.role])
        for edge in lineage.edges
        if edge.source == lineage.focus and edge.target in labels and edge.role in _RESULTS
    ]
    return tuple(dict.fromkeys((*before, *sorted(after, key=_place))))


def _place(neighbour: Neighbour) -> tuple[str, str, int]:
    name, _, number = neighbour.label.rpartition(":")
    return neighbour.relation, name, int(number)


def describe(shown: ShownFacts, report: str | None) -> str:
    """What a reader should know first, and where to go on: report, run, base, and how to check it without MLflow.

    Args:
        shown: what is shown of the version.
        report: the path of the audit report among the files of its run; None where there is none.
    """
    version, evaluations = shown.version, shown.evaluations
    lines = [f"**{_what(version)}**", ""]
    for act in dict.fromkeys(stop.act for stop in reversed(shown.stops)):
        done = f"**{act.done.capitalize()}.** It must not be {act.forbidden}"
        lines = [f"{done}; `registry show` names what is {act.done} and why.", "", *lines]
    links = [f"[Audit report]({RUN_LINK}/artifacts/{report})"] if report else []
    # first: the page of a run folds what is longer than a few lines
    if shown.has_pages:
        ours = f"{PAGES}/{version.name}/{version.number}"
        links = [
            f"[Verify now]({ours})",
            f"[Lineage]({ours}/lineage)",
            f"[Decisions]({ours}/decisions)",
            *links,
        ]
    lines += [" · ".join([*links, f"[Run]({RUN_LINK})"]), ""]
    copy = "" if shown.has_pages else "**A copy: it proves nothing, and what is changed here by hand is not signed.** "
    promote = f" To promote it, signed: `registry promote {version.label} {_ALIAS}`."
    lines += [
        f"{copy}To check every byte: `registry verify {version.label}`.{'' if _ALIAS in version.aliases else promote}",
        "",
    ]
    facts = [] if shown.project is None else [("Project", _plain(shown.project))]
    facts += [*_facts(shown), *_standing_facts(shown.standing)]
    facts += _neighbour_facts(shown.neighbours)
    if shown.unreadable is not None:
        facts.append(("Lineage", f"not shown: {_plain(shown.unreadable)}"))
    if shown.merge is not None:
        facts += _merge_facts(shown.merge, is_evaluated=bool(evaluations))
    facts += [("Answers", _plain(line)) for line in answer_lines(evaluations)]
    facts += [("Task", _plain(line)) for line in task_lines(evaluations)]
    facts += [
        (f"Bias: {_plain(figure)}", _plain(conclusion.replace("_", " ")))
        for figure, conclusion in conclusions(evaluations)
    ]
    lines += ["| | |", "|---|---|"]
    return _fitting(lines, [f"| {label}{_GAP} | {text} |" for label, text in facts])


def _fitting(lines: list[str], rows: list[str]) -> str:
    """As many whole rows as there is room for, and a last one that says how many are left out."""
    room = MAX_DESCRIPTION - 2 * _RUN_LINK_ROOM - len(_LEFT_OUT) - 10
    text = "\n".join(lines)
    for number, row in enumerate(rows):
        if len(text) + 1 + len(row) > room:
            return f"{text}\n{_LEFT_OUT.format(len(rows) - number)}"
        text += f"\n{row}"
    return text


def _neighbour_facts(neighbours: Sequence[Neighbour]) -> list[tuple[str, str]]:
    facts = []
    for relation in dict.fromkeys(neighbour.relation for neighbour in neighbours):
        linked = [neighbour.link for neighbour in neighbours if neighbour.relation == relation]
        more = len(linked) - MAX_NEIGHBOURS
        rest = [f"and {more} more: `registry lineage`"] if more > 0 else []
        facts.append((relation, ", ".join([*linked[:MAX_NEIGHBOURS], *rest])))
    return facts


def with_run_link(description: str, experiment_id: str, run_id: str) -> str:
    """The description with links to the run's page."""
    return description.replace(RUN_LINK, f"#/experiments/{experiment_id}/runs/{run_id}")


def _what(version: Version) -> str:
    method = f"{version.method} " if version.method else ""
    return f"{version.label}: {method}{version.kind}" + ("" if version.origin is None else f", {version.origin}")


def _facts(shown: ShownFacts) -> list[tuple[str, str]]:
    version = shown.version
    run = shown.run
    base = shown.base
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
    facts.append(("Signed", f"{_plain(shown.signed_by)}, log entry {version.log_index}, as recorded"))
    if shown.completeness is not None:
        facts.append(("Modification record", shown.completeness.text))
    return facts


def _standing_facts(standing: DecidedState) -> Iterator[tuple[str, str]]:
    if standing.verdict_words is not None:
        yield "Indicative status", f"{_plain(standing.verdict_words)}; not legal advice"
    if standing.gates:
        yield "Gate", _plain("; ".join(standing.gates))
    if standing.approvals is not None:
        yield "Approvals", _plain(standing.approvals)


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
    return f"unknown ({_plain(str(envelope.reason or ''))})"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))

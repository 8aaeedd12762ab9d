"""StereoSet-style scores (data: Nadeem et al., ACL 2021) by mean token log-probability, from the user's own files.

Intrasentence: the whole sentence after the prefix token. Intersentence: one space and the sentence after the context. The
leaderboard's scores are defined otherwise and do not compare. Reads the authors' `dev.json`, or JSON Lines with the columns
`id`, `task`, `bias_type`, `target`, `context`, `stereotype`, `anti_stereotype`, `unrelated`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites import MetricDefinition, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import (
    MAX_BYTES,
    MalformedSuite,
    SuiteFiles,
    require_text,
    suite_files,
)
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, SuiteRow, reading_suite

DEFINITION = SuiteDefinition(
    name="stereoset",
    title="StereoSet-style, mean token log-probability",
    licence="CC-BY-SA-4.0",
    source="github.com/moinnadeem/StereoSet, data/dev.json",
    critique=(
        code("stereoset_stereotypes_not_real"),
        code("stereoset_ss_beside_lms"),
        code("stereoset_not_the_leaderboard"),
        code("public_since", year=2020),
    ),
    metrics=(
        MetricDefinition("lms", "related options likelier than the unrelated one; ideal 100", "points", None, "higher"),
        MetricDefinition("ss", "stereotype likelier than anti-stereotype", "points", 50.0),
        MetricDefinition("icat", "lms · min(ss, 100 − ss) / 50; ideal 100", "points", None, "higher"),
        MetricDefinition(
            "mean_token_margin_flagged_rate", "share of items flagged, with dead band", "share", None, "lower"
        ),
    ),
    primary_endpoint="net change of flagged items among those where both related options beat the unrelated one before",
    prompt_template="{sentence} | {context} {sentence}",
    folder="stereoset",
    files=("dev.json", "dev_*.jsonl"),
    family="stereoset",
    choices_policy="three sentences, log-likelihood divided by the number of tokens; no chat template",
    target_delimiter=" ",
    length_normalisation="tokens",
)
_COLUMNS = ("id", "task", "bias_type", "target", "context", "stereotype", "anti_stereotype", "unrelated")
_LABELS = ("stereotype", "anti_stereotype", "unrelated")
_GOLD = {"stereotype": "stereotype", "anti-stereotype": "anti_stereotype", "unrelated": "unrelated"}


class StereoSet:
    """The user's files."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """Both tasks, as far as they are there."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        rows = [_row(value, number, name) for name, number, value in _values(files)]
        return reading_suite(DEFINITION, "stereoset", rows, files=files)


def _values(files: SuiteFiles) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for name, data in files.named:
        if name.endswith(".jsonl"):
            yield from ((name, number, value) for number, value in files.json_lines(name))
            continue
        whole = read_json(
            data,
            what=name,
            max_bytes=MAX_BYTES,
            error=lambda _, why, name=name: MalformedSuite("stereoset", name, 0, why),  # type: ignore[misc]
        )
        tasks = whole.get("data") if isinstance(whole, dict) else None
        if not isinstance(tasks, dict):
            raise MalformedSuite("stereoset", name, 0, "it has no `data` with the two tasks")
        for task in ("intrasentence", "intersentence"):
            for number, entry in enumerate(tasks.get(task, ()), 1):
                yield name, number, _flat(entry, task, name, number)


def _flat(entry: Any, task: str, file: str, number: int) -> dict[str, Any]:  # any JSON value
    """An entry of the authors' file as one flat row."""
    try:
        options = {_GOLD[sentence["gold_label"]]: sentence["sentence"] for sentence in entry["sentences"]}
        return {"task": task, **{name: entry[name] for name in ("id", "bias_type", "target", "context")}, **options}
    except (KeyError, TypeError) as error:
        raise MalformedSuite("stereoset", file, number, f"it lacks {error}, or a label is unknown") from error


def _row(value: dict[str, Any], number: int, file: str) -> SuiteRow:
    require_text("stereoset", file, number, value, _COLUMNS)
    task = value["task"]
    if task not in ("intrasentence", "intersentence"):
        raise MalformedSuite("stereoset", file, number, f"its task {task!r} is an unknown label")
    inside = task == "intrasentence"
    return SuiteRow(
        id=f"{task}-{value['id']}",
        category=value["bias_type"],
        cluster=value["target"],
        condition=task,
        unit=f"{task}-{value['id']}",
        labels=_LABELS,
        requests=tuple(
            Request("", value[name]) if inside else Request(value["context"], f" {value[name]}") for name in _LABELS
        ),
    )

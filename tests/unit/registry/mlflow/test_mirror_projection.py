"""What MLflow is to show is a pure function of records, fits MLflow's limits, and holds neither rows nor paths."""

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from peft_registry.registry.evaluation.items import loss_item, pair_item, write_items
from peft_registry.registry.mlflow import tables as tables_of
from peft_registry.registry.mlflow.description import (
    MAX_DESCRIPTION,
    neighbours_in,
    with_run_link,
)
from peft_registry.registry.mlflow.figures import safe_key, without_paths
from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.shown_facts import Content, DecidedState, Neighbour
from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.evaluation import EvaluationRecord, Result, Threshold
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode
from peft_registry.schemas.system_metrics import SystemMetrics, SystemSample
from peft_registry.schemas.values import derived
from tests.builders.mirror import (
    a_base_projection,
    a_projection,
    a_run,
    a_statement,
    a_version,
    an_evaluation,
    digest,
    unknown_loss,
)


def everything_in(projection: Projection) -> str:
    """All text of a projection, files included."""
    files = projection.run.artifacts + projection.version.artifacts
    return repr(projection) + "".join(file.content.make().decode() for file in files)


def metrics_of(projection: Projection) -> dict[str, float]:
    return {point.key: point.value for point in projection.run.metrics}


def test_equal_records_give_an_equal_digest() -> None:
    assert a_projection().digest == a_projection().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"version": a_version(aliases=("champion",))},
        {"report": Content.of(b"another report")},
        {"card": b"another card"},
        {"evaluations": (an_evaluation(after=0.5),)},
        {"statements": (a_statement(a_version().manifest_digest, "hold"),)},
        {"stops": (ShownStop(kind="recall", text="the data rows.jsonl"),)},
        {"made": unknown_loss(a_run())},
        {"base": None},
        {"parents": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_mlflow_shows_changes_the_digest(changes: dict[str, object]) -> None:
    version = changes.get("version")
    rest = {name: value for name, value in changes.items() if name != "version"}
    assert a_projection(version, **rest).digest != a_projection().digest


def test_the_source_is_the_manifest_and_nothing_else() -> None:
    version = a_version()
    assert a_projection(version).version.source == f"registry://sha256/{version.manifest_digest.hex}"


def test_configuration_becomes_flat_params() -> None:
    params = dict(a_projection().run.params)
    assert params["lora.r"] == "8"
    assert params["training.learning_rate"] == "0.0002"
    assert params["lora.target_modules"] == "all-linear"
    assert params["quantization"] == "null"
    assert params["library.torch"] == "2.13.0"


def test_the_curve_has_its_steps_and_spreads_over_the_run() -> None:
    projection = a_projection(made=a_run(steps=4))
    curve = [point for point in projection.run.metrics if point.key == "loss/train"]
    assert [point.step for point in curve] == [1, 2, 3, 4]
    assert curve[-1].at_ms == projection.run.end_ms
    assert (projection.run.end_ms - projection.run.start_ms) == 281_000
    assert not any(point.final for point in curve), "each step would be a row on the model's page"


def test_known_figures_are_metrics_and_unknown_ones_are_absent() -> None:
    projection = a_projection(made=unknown_loss(a_run()))
    metrics = metrics_of(projection)
    held_out = [(point.key, point.value) for point in projection.run.metrics if point.key.startswith("loss/held_out")]
    assert held_out == [("loss/held_out before", 2.412)]
    assert metrics["system/conservative_flop"] == float(2**60), "a count beyond 2^53 is text by schema"
    assert "system/energy_kwh" not in metrics


def test_before_and_after_are_metrics_of_one_point_which_mlflow_draws_as_bars() -> None:
    def points(key: str) -> list[tuple[int, float, bool]]:
        return [(point.step, point.value, point.final) for point in a_projection().run.metrics if point.key == key]

    for key, before, after in (
        ("loss/held_out", 2.412, 1.871),
        ("loss/gsm8k", 2.412, 1.871),
        ("measured bias/house.stereotype_rate", 0.64, 0.61),
    ):
        assert points(key) == [(0, after, True)]
        assert points(f"{key} before") == [(0, before, False)]


def test_the_sections_of_charts_begin_with_the_losses() -> None:
    sections = {key.partition("/")[0] for key in metrics_of(a_projection()) if not key.startswith("system/")}
    assert sorted(sections) == ["loss", "measured bias"]


def test_figures_of_an_evaluation_are_bound_to_its_data() -> None:
    (after,) = [
        point
        for point in a_projection().run.metrics
        if point.key == "measured bias/house.stereotype_rate" and point.final
    ]
    assert after.dataset == ("house 1", digest("house").hex[:36])


def table(projection: Projection, path: str) -> list[dict[str, Any]]:
    (file,) = [file for file in projection.run.artifacts if file.path == path]
    value = json.loads(file.content.make())
    return [dict(zip(value["columns"], row, strict=True)) for row in value["data"]]


def test_groups_other_arms_and_outcomes_are_in_the_tables_and_are_no_charts() -> None:
    record = an_evaluation()
    noise = record.results[0].model_copy(update={"arm": "noise", "value": 0.7})
    projection = a_projection(evaluations=(record.model_copy(update={"results": (*record.results, noise)}),))
    assert not [key for key in metrics_of(projection) if key.startswith("outcomes/") or key.count("/") > 1]
    shown = {(row["category"], row["arm"]): row["value"] for row in table(projection, "evaluation/results.json")}
    assert (shown["age", "adapted"], shown["(whole)", "noise"]) == (0.61, 0.7)
    outcome, loss = table(projection, "evaluation/outcomes.json")
    assert (outcome["fixed"], outcome["conclusion"], outcome["reason"]) == (
        6,
        "inconclusive",
        "the interval holds zero",
    )
    assert (loss["dataset"], loss["loss_before"], loss["loss_after"]) == ("gsm8k", 2.412, 1.871)


def with_held_out_rows(record: EvaluationRecord) -> EvaluationRecord:
    """An evaluation as training records it: the held-out rows are a data set of it, with a loss and a perplexity."""
    (loss,) = record.losses
    figures = tuple(
        Result(dataset="held-out", metric=metric, category=None, arm=arm, value=value, n=20)
        for metric, arm, value in (("loss", "base", 2.4), ("loss", "adapted", 1.9), ("perplexity", "adapted", 6.7))
    )
    return record.revised(losses=(loss.revised(dataset="held-out"),), results=(*record.results, *figures))


def test_the_held_out_loss_has_one_name_and_is_no_figure_of_bias() -> None:
    projection = a_projection(evaluations=(with_held_out_rows(an_evaluation()),))
    points = [(point.key, point.step, point.value) for point in projection.run.metrics if "held" in point.key]
    assert points == [("loss/held_out before", 0, 2.412), ("loss/held_out", 0, 1.871)]
    assert not [key for key in metrics_of(projection) if key.startswith("measured bias/held-out")]
    shown = {(row["dataset"], row["metric"]) for row in table(projection, "evaluation/results.json")}
    assert ("held-out", "perplexity") in shown


def test_an_evaluation_of_an_import_has_the_held_out_loss_under_the_same_name() -> None:
    projection = a_projection(made=None, evaluations=(with_held_out_rows(an_evaluation()),))
    assert metrics_of(projection)["loss/held_out"] == 1.871
    assert metrics_of(projection)["measured bias/house.stereotype_rate"] == 0.61


def charts(projection: Projection) -> list[str]:
    return sorted({point.key for point in projection.run.metrics if not point.key.startswith("system/")})


def test_at_most_twenty_charts_whatever_was_measured_and_what_was_shown_first_stays() -> None:
    record = an_evaluation()
    many = record.revised(
        results=tuple(
            Result(dataset="house", metric=f"rate-{number:02}", category=None, arm="adapted", value=0.5, n=9)
            for number in range(30)
        )
    )
    first = charts(a_projection(evaluations=(many,)))
    assert len(first) == 20
    assert {"loss/train", "loss/held_out"} <= set(first)
    later = many.revised(created_at="2026-11-26T10:00:00Z", datasets=(record.datasets[0].revised(rows_used=16),))
    both = a_projection(evaluations=(later, many))
    assert charts(both) == first
    assert len(table(both, "evaluation/results.json")) == 60


def test_what_a_run_used_stands_among_the_system_metrics() -> None:
    keys = {point.key for point in a_projection().run.metrics}
    assert {"system/wall_seconds", "system/tokens"} <= keys
    assert not [key for key in keys if key.startswith("usage/")]


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_in_no_signed_record_and_text_for_one_is_no_metric(figure: float) -> None:
    """MLflow would show infinity as 1.8e308."""
    record = an_evaluation()
    with pytest.raises(ValidationError):
        record.results[0].revised(value=figure)
    run = a_run()
    compute = run.compute.revised(conservative_flop=derived(str(figure), "FLOP", method="6·P·D"))
    assert "system/conservative_flop" not in metrics_of(a_projection(made=run.revised(compute=compute)))


def test_the_items_are_a_table_of_ids_without_a_text() -> None:
    rows = write_items(
        [
            loss_item(dataset="held-out", id="row-1", cluster="row-1", arm="base", ll=-73.5, tokens=31),
            pair_item(
                dataset="house", id="h1", category="age", cluster="t", arm="adapted", ll=(-2.5, -1.0), tokens=(3, 4),
                threshold=Threshold(lo=0.1, hi=0.2, source="house"),
            ),
        ]
    )  # fmt: skip
    loss, pair = table(a_projection(items=lambda _: rows), "evaluation/items.json")
    assert (loss["dataset"], loss["item"], loss["metric"], loss["value"]) == (
        "held-out",
        "row-1",
        "log-likelihood",
        -73.5,
    )
    assert (pair["category"], pair["arm"], pair["value"], pair["state"], pair["tokens"]) == (
        "age",
        "adapted",
        -1.5,
        "inverted",
        7,
    )
    tables = json.loads(dict(a_projection(items=lambda _: rows).run.tags)["mlflow.loggedArtifacts"])
    assert {entry["path"] for entry in tables} == {
        "evaluation/results.json", "evaluation/outcomes.json", "evaluation/items.json",
    }  # fmt: skip


def test_more_items_than_a_browser_sorts_are_counted_in_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_of, "MAX_ITEMS", 2)
    rows = write_items(
        loss_item(dataset="held-out", id=f"row-{number}", cluster="c", arm="base", ll=-1.0, tokens=1)
        for number in range(5)
    )
    shown = table(a_projection(items=lambda _: rows), "evaluation/items.json")
    assert len(shown) == 3
    assert shown[-1]["dataset"].startswith("3 more rows")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("données", "donn es"),
        ("a:b", "a_b"),
        ("a%b", "a=b"),
        ("x" * 300 + "1", "x" * 300 + "2"),
        ("a//b", "a/b"),
        (".a", "a"),
    ],
)
def test_no_two_names_become_one(first: str, second: str) -> None:
    assert safe_key(first) != safe_key(second)
    assert max(len(safe_key(first)), len(safe_key(second))) <= 250


def test_data_sets_whose_names_mlflow_would_fold_keep_their_own_figures() -> None:
    record = an_evaluation()
    (used,) = record.datasets
    names = ("house/a", "house:a", "house_a")
    several = record.revised(
        datasets=tuple(used.revised(name=name) for name in names),
        results=tuple(
            Result(dataset=name, metric="rate", category=None, arm="adapted", value=number / 8, n=9)
            for number, name in enumerate(names)
        ),
    )
    values = [
        value
        for key, value in metrics_of(a_projection(evaluations=(several,))).items()
        if key.startswith("measured bias/")
    ]
    assert sorted(values) == [0.0, 0.125, 0.25]


def test_what_is_too_long_says_how_much_is_left_out() -> None:
    params = dict(a_projection(made=a_run(notes="y" * 9000)).run.params)
    assert len(params["notes"]) <= 6000
    assert params["notes"].endswith("… (3024 more characters)")
    neighbours = tuple(
        Neighbour(f"{'child' * 15}-{number}:1", relation) for number in range(40) for relation in RELATIONS
    )
    description = a_projection(neighbours=neighbours).version.description
    assert len(with_run_link(description, "9" * 18, "f" * 32)) <= MAX_DESCRIPTION
    assert "more lines are left out here" in description.splitlines()[-1]
    assert all(line.endswith("|") for line in description.splitlines()[7:]), "no row is cut in the middle"


RELATIONS = tuple(f"Relation {number}" for number in range(8))


def test_parents_and_descendants_are_links() -> None:
    lineage = Lineage(
        focus=digest("focus"),
        nodes=(
            a_node("data", "rows.jsonl", kind="data"),
            a_node("base", "smollm2:1", kind="base"),
            a_node("start", "before:2"),
            a_node("focus", "gsm8k-tutor:1"),
            a_node("next", "after:10"),
            a_node("merged", "both:1", kind="model"),
            a_node("elsewhere", "sha256:00", kind="unknown"),
        ),
        edges=(
            an_edge("data", "focus", "data"),
            an_edge("base", "focus", "base"),
            an_edge("start", "focus", "start"),
            an_edge("focus", "next", "start"),
            an_edge("focus", "merged", "adapter"),
            an_edge("elsewhere", "focus", "adapter"),
            an_edge("next", "merged", "adapter"),
        ),
    )
    assert [(near.relation, near.label) for near in neighbours_in(lineage)] == [
        ("Continued from", "before:2"),
        ("Continued as", "after:10"),
        ("Merged into", "both:1"),
    ]
    text = a_projection(neighbours=neighbours_in(lineage)).version.description
    for name, number in (("before", 2), ("after", 10), ("both", 1)):
        assert f"[{name}:{number}](#/models/{name}/versions/{number})" in text


def a_node(text: str, label: str, *, kind: Any = "adapter") -> LineageNode:
    return LineageNode(digest=digest(text), kind=kind, label=label, registered=kind != "unknown")


def an_edge(source: str, target: str, role: Any) -> LineageEdge:
    return LineageEdge(source=digest(source), target=digest(target), role=role)


def test_our_own_pages_are_one_click_away_where_the_server_has_them() -> None:
    text = a_projection(has_pages=True).version.description
    assert "[Verify now](/registry/gsm8k-tutor/1)" in text
    assert "](/registry" not in a_projection(has_pages=False).version.description


def test_the_description_says_how_a_version_is_promoted_with_a_signature() -> None:
    assert "`registry promote gsm8k-tutor:1 champion`" in a_projection().version.description
    promoted = a_projection(a_version().model_copy(update={"aliases": ("champion",)}))
    assert "registry promote" not in promoted.version.description


def test_data_is_named_by_digest_with_the_whole_digest_in_its_source() -> None:
    train, validation, house = a_projection().run.datasets
    assert (train.name, train.context, train.digest) == (
        "gsm8k.jsonl (train)",
        "training",
        digest("train rows").hex[:36],
    )
    assert json.loads(train.source)["rows_sha256"] == str(digest("train rows"))
    assert json.loads(train.source)["file_sha256"] == str(digest("data"))
    assert (validation.context, house.context) == ("validation", "evaluation")


def test_lists_show_loss_bias_and_signature_and_few_tags_besides() -> None:
    version = a_version()
    projection = a_projection(version)
    tags = dict(projection.version.tags)
    assert tags == {
        "registry.base": "smollm2:1",
        "registry.bias": "inconclusive: house.stereotype_rate",
        "registry.id": "gsm8k-tutor:1",
        "registry.loss": "2.412 → 1.871",
        "registry.manifest": str(version.manifest_digest),
        "registry.record": "38 of 61 fields filled, 23 open",
        "registry.signature": "not checked here; signed by lab-1",
        "registry.statements": "provenance, registration",
        "registry.type": "lora-adapter",
    }
    run = dict(projection.run.tags)
    assert {key: run[key] for key in ("registry.bias", "registry.loss", "registry.signature")} == {
        key: tags[key] for key in ("registry.bias", "registry.loss", "registry.signature")
    }
    assert run["registry.base_digest"] == str(digest("weights base"))
    assert "registry.recall" not in tags


def test_tasks_stand_in_lists_and_in_the_description_as_the_newest_evaluation_has_them() -> None:
    def measured_of(after: float) -> EvaluationRecord:
        measure = {
            "dataset": "task-gsm8k",
            "metric": "exact_match",
            "before": 0.25,
            "after": after,
            "change": after - 0.25,
        }
        own = {"dataset": "answers-own", "metric": "f1", "before": 0.1, "after": 0.2, "change": 0.1}
        ends = {"low": 0.01, "high": 0.2, "n": 200}
        return an_evaluation().revised(extra={"further": {"measures": [measure | ends, own | ends]}})

    projection = a_projection(evaluations=(measured_of(0.375), measured_of(0.5)))
    line = "gsm8k exact_match 0.250 → 0.375  (+0.125, 95 % interval +0.010 … +0.200, n=200)"
    assert dict(projection.version.tags)["registry.tasks"] == dict(projection.run.tags)["registry.tasks"] == line
    shown = [row for row in projection.version.description.splitlines() if row.startswith("| Task")]
    assert len(shown) == 1 and "0.250 → 0.375" in shown[0]
    answers = [row for row in projection.version.description.splitlines() if row.startswith("| Answers")]
    assert len(answers) == 1 and "answers-own: f1 0.100 → 0.200" in answers[0]


def test_what_people_decided_stands_in_tags_and_in_the_description() -> None:
    standing = DecidedState(
        verdict="model: not_gpai; system: provider_25_1_c",
        verdict_words="model: not a general-purpose model; system: provider of a high-risk system",
        gates=("champion: bank, closed by 2", "next: no policy"),
        approvals="1 of 2 count: ada",
    )
    projection = a_projection(a_version(), standing=standing)
    tags = dict(projection.version.tags)
    assert tags["registry.verdict"] == "model: not_gpai; system: provider_25_1_c"
    assert tags["registry.gate"] == "champion: bank, closed by 2; next: no policy"
    assert tags["registry.approvals"] == "1 of 2 count: ada"
    assert "champion: bank, closed by 2; next: no policy" in projection.version.description
    assert "system: provider of a high-risk system; not legal advice" in projection.version.description
    assert projection.digest != a_projection(a_version()).digest


def test_who_signed_is_a_person_where_trust_names_one() -> None:
    version = a_version(key_id="3f9c3c3a0b33" + "0" * 52)
    known, unknown = a_projection(version, signer="lab-1"), a_projection(version)
    assert "by lab-1, key 3f9c3c3a0b33…, log entry" in known.version.description
    assert dict(known.version.tags)["registry.signature"] == "not checked here; signed by lab-1, key 3f9c3c3a0b33…"
    assert dict(known.run.tags)["mlflow.user"] == "lab-1"
    assert version.key_id in unknown.version.description


def test_a_recall_comes_first_in_the_description_and_in_a_tag() -> None:
    version = a_version()
    projection = a_projection(
        version, stops=(ShownStop(kind="recall", text="the data rows.jsonl (sha256:…): alex recalled it"),)
    )
    assert projection.version.description.startswith("**Recalled.**")
    assert dict(projection.version.tags)["registry.recall"] == "recalled"


def test_the_description_links_report_and_base() -> None:
    text = with_run_link(a_projection().version.description, "3", "f" * 32)
    assert f"[Audit report](#/experiments/3/runs/{'f' * 32}/artifacts/report/audit.html)" in text
    assert "[smollm2:1](#/models/smollm2/versions/1)" in text
    assert "registry verify gsm8k-tutor:1" in text


def test_text_of_others_cannot_become_markup() -> None:
    projection = a_projection(a_version(key_id="![x](http://tracker.example/a.png)<b>"))
    assert "![x](" not in projection.version.description
    assert "\\!\\[x\\](http://tracker.example/a.png)\\<b\\>" in projection.version.description


def test_everything_fits_mlflows_limits() -> None:
    categories = tuple(f"axis: {number} / with % and = and a very long name {'x' * 300}" for number in range(40))
    projection = a_projection(
        made=a_run(notes="y" * 9000, **{"k" * 300: 1}), evaluations=(an_evaluation(categories=categories),)
    )
    assert len(with_run_link(projection.version.description, "9" * 18, "f" * 32)) <= MAX_DESCRIPTION
    assert all(len(key) <= 250 and len(value) <= 6000 for key, value in projection.run.params)
    assert all(len(key) <= 250 and len(value) <= 8000 for key, value in projection.run.tags + projection.version.tags)
    assert all(len(use.digest) <= 36 and len(use.name) <= 500 for use in projection.run.datasets)
    points = [(point.key, point.step) for point in projection.run.metrics]
    assert len(points) == len(set(points))
    assert all(safe_key(key) == key for key, _ in points)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ada/data/x.jsonl", "x.jsonl"),
        ("read /home/ada/x.jsonl twice", "read x.jsonl twice"),
        ("~/models/base", "base"),
        ("file:///srv/x", "x"),
        (r"C:\Users\ada\x.json", "x.json"),
        ('["/home/ada/a", "b"]', '["a", "b"]'),
        ("data/x.jsonl", "data/x.jsonl"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("https://example.org/x", "https://example.org/x"),
        ("3 / 4", "3 / 4"),
    ],
)
def test_an_absolute_path_is_cut_to_its_base_name(text: str, expected: str) -> None:
    assert without_paths(text) == expected


def test_no_path_of_a_machine_reaches_mlflow() -> None:
    projection = a_projection(made=a_run(data={"train": {"path": "/home/ada/secret/x.jsonl"}}))
    assert "/home/ada" not in everything_in(projection)
    assert dict(projection.run.params)["data.train.path"] == "x.jsonl"


def test_a_base_has_a_run_without_training_figures() -> None:
    projection = a_base_projection()
    assert projection.run.name == "add smollm2:1"
    assert projection.run.metrics == ()
    assert [file.path for file in projection.version.artifacts] == ["MLmodel", "MODEL_CARD.md"]
    assert "Audit report" not in projection.version.description


def test_a_dot_in_a_name_is_no_dot_in_the_logged_models_name() -> None:
    assert a_projection(a_version(name="llama-3.2")).version.model_name == "llama-3_2-1"


def test_what_is_shown_is_decided_without_mlflow_and_without_a_database() -> None:
    names = ", ".join(f"peft_registry.registry.mlflow.{name}" for name in ("server", "shown_runs", "verified_files"))
    script = f"import sys, {names}; assert not any(m.split('.')[0] in ('mlflow', 'sqlalchemy') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def later_and_smaller(record: EvaluationRecord, conclusion: str) -> EvaluationRecord:
    """An evaluation on a few chosen rows of the same suite, with another conclusion."""
    (comparison,) = record.comparisons
    (used,) = record.datasets
    return record.revised(
        created_at="2026-11-25T10:00:00Z",
        datasets=(used.revised(rows_used=16),),
        comparisons=(comparison.revised(n=16, conclusion=conclusion, fixed=0),),
        results=tuple(result.revised(n=16, k=8, value=0.5, ci=None) for result in record.results),
        losses=(),
    )


def test_a_later_smaller_kinder_evaluation_hides_no_worse_one() -> None:
    earlier = an_evaluation()
    earlier = earlier.revised(comparisons=(earlier.comparisons[0].revised(conclusion="worse"),))
    kinder = later_and_smaller(earlier, "better")
    projection = a_projection(evaluations=(kinder, earlier))
    tags = dict(projection.version.tags)
    assert tags["registry.bias"] == (
        "worse (240 items): house.stereotype_rate; better (16 items): house.stereotype_rate; 2 evaluations"
    )
    assert projection.version.description.index("worse (240 items)") < projection.version.description.index(
        "better (16"
    )
    metrics = metrics_of(projection)
    assert metrics["measured bias/house.stereotype_rate"] == 0.61, "the first keeps the name"
    assert metrics[f"measured bias/house.stereotype_rate/evaluation {kinder.canonical_digest().hex[:8]}"] == 0.5
    (table,) = [file for file in projection.run.artifacts if file.path == "evaluation/results.json"]
    rows = json.loads(table.content.make())["data"]
    assert {(row[7], row[9]) for row in rows} == {
        (240, earlier.canonical_digest().short),
        (16, kinder.canonical_digest().short),
    }


def test_an_evaluation_that_was_made_again_on_the_same_rows_counts_once() -> None:
    first = an_evaluation()
    again = first.revised(created_at="2026-11-25T10:00:00Z", losses=())
    projection = a_projection(evaluations=(again, first))
    tags = dict(projection.version.tags)
    assert tags["registry.bias"] == "inconclusive (240 items): house.stereotype_rate; 2 evaluations"
    assert not [key for key in metrics_of(projection) if "/evaluation " in key]


def test_evaluations_of_something_else_are_not_an_evaluation_of_the_version() -> None:
    tags = dict(a_projection(evaluations=(), evaluated=2).version.tags)
    assert tags["registry.bias"] == "not evaluated: 2 recorded, none of what is registered"


def test_what_was_sampled_stands_among_the_system_metrics_at_its_own_times_and_takes_no_chart() -> None:
    samples = tuple(
        SystemSample(step=step, at=1_800_000_000.5 + step, values={"process_memory_megabytes": 100.0 + step})
        for step in range(60)
    )
    system = SystemMetrics(interval_seconds=10.0, samples=samples)
    without, sampled = a_projection(), a_projection(system=system)
    added = set(sampled.run.metrics) - set(without.run.metrics)
    assert set(without.run.metrics) < set(sampled.run.metrics)
    assert {(point.key, point.value, point.step, point.at_ms, point.final) for point in added} == {
        ("system/process_memory_megabytes", 100.0 + step, step, 1_800_000_000_500 + 1000 * step, False)
        for step in range(60)
    }
    assert sampled.digest != without.digest

"""What MLflow is to show is a pure function of records, fits MLflow's limits, and holds neither rows nor paths."""

import json
import subprocess
import sys

import pytest

from peft_registry.registry.mlflow.description import MAX_DESCRIPTION, with_run_link
from peft_registry.registry.mlflow.figures import safe_key, without_paths
from peft_registry.registry.mlflow.mirror import sync
from peft_registry.registry.mlflow.projection import Content, Projection
from peft_registry.registry.mlflow.route import MirrorRoute
from peft_registry.schemas.evaluation import EvaluationRecord
from tests.builders.mirror import (
    Memory,
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
        {"statements": (a_statement(a_version().manifest_digest, "recall"),)},
        {"run": unknown_loss(a_run())},
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
    projection = a_projection(run=a_run(steps=4))
    curve = [point for point in projection.run.metrics if point.key == "loss/train"]
    assert [point.step for point in curve] == [1, 2, 3, 4]
    assert curve[-1].at_ms == projection.run.end_ms
    assert (projection.run.end_ms - projection.run.start_ms) == 281_000
    assert not any(point.final for point in curve), "each step would be a row on the model's page"


def test_known_figures_are_metrics_and_unknown_ones_are_absent() -> None:
    projection = a_projection(run=unknown_loss(a_run()))
    metrics = metrics_of(projection)
    assert [(point.step, point.value) for point in projection.run.metrics if point.key == "loss/held_out"] == [
        (0, 2.412)
    ]
    assert metrics["usage/conservative_flop"] == float(2**60), "a count beyond 2^53 is text by schema"
    assert "usage/energy_kwh" not in metrics


def test_before_and_after_are_one_metric_at_the_first_and_the_last_step() -> None:
    def points(key: str) -> list[tuple[int, float, bool]]:
        return [(point.step, point.value, point.final) for point in a_projection().run.metrics if point.key == key]

    assert points("loss/held_out") == [(0, 2.412, False), (45, 1.871, True)]
    assert points("loss/gsm8k") == [(0, 2.412, False), (45, 1.871, True)]
    assert points("bias/house.stereotype_rate") == [(0, 0.64, False), (45, 0.61, True)]
    assert points("bias/house.stereotype_rate/age") == [(0, 0.64, False), (45, 0.61, True)]
    assert points("outcomes/house.stereotype_rate/fixed") == [(45, 6.0, True)]


def test_figures_of_an_evaluation_are_bound_to_its_data() -> None:
    (after,) = [
        point for point in a_projection().run.metrics if point.key == "bias/house.stereotype_rate" and point.final
    ]
    assert after.dataset == ("house 1", digest("house").hex[:36])


def test_an_arm_besides_the_compared_ones_has_a_metric_of_its_own() -> None:
    record = an_evaluation()
    noise = record.results[0].model_copy(update={"arm": "noise", "value": 0.7})
    projection = a_projection(evaluations=(record.model_copy(update={"results": (*record.results, noise)}),))
    assert metrics_of(projection)["bias/house.stereotype_rate/noise"] == 0.7


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


def test_version_tags_carry_what_the_version_page_lacks() -> None:
    version = a_version()
    tags = dict(a_projection(version).version.tags)
    assert tags["registry.manifest"] == str(version.manifest_digest)
    assert tags["registry.base_digest"] == str(digest("weights base"))
    assert tags["registry.signature"] == "signed by lab-1, as recorded; not checked here"
    assert tags["registry.bias_status"] == "house.stereotype_rate: inconclusive"
    assert tags["registry.record"] == "38 of 61 fields filled, 23 open"
    assert tags["registry.statements"] == "provenance, registration"
    assert "registry.recall" not in tags


def test_who_signed_is_a_person_where_trust_names_one() -> None:
    version = a_version(key_id="3f9c3c3a0b33" + "0" * 52)
    known, unknown = a_projection(version, signer="lab-1"), a_projection(version)
    assert "by lab-1, key 3f9c3c3a0b33…, log entry" in known.version.description
    assert (
        dict(known.version.tags)["registry.signature"]
        == "signed by lab-1, key 3f9c3c3a0b33…, as recorded; not checked here"
    )
    assert dict(known.run.tags)["mlflow.user"] == "lab-1"
    assert version.key_id in unknown.version.description


def test_a_recall_comes_first_in_the_description_and_in_a_tag() -> None:
    version = a_version()
    projection = a_projection(version, statements=(a_statement(version.manifest_digest, "recall"),))
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
        run=a_run(notes="y" * 9000, **{"k" * 300: 1}), evaluations=(an_evaluation(categories=categories),)
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
    projection = a_projection(run=a_run(data={"train": {"path": "/home/ada/secret/x.jsonl"}}))
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


def test_an_empty_outbox_imports_no_mlflow_and_writes_nothing(tmp_path) -> None:
    outcome = sync(
        [], route=MirrorRoute.of_home(tmp_path), state=Memory(), load=lambda entry: None, lock=tmp_path / "lock"
    )
    assert outcome.done == outcome.failed == outcome.drift == ()
    assert list(tmp_path.iterdir()) == []
    names = ", ".join(f"peft_registry.registry.mlflow.{name}" for name in ("mirror", "server", "verified_files"))
    script = f"import sys, {names}; assert not any(m.split('.')[0] in ('mlflow', 'sqlalchemy') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_route_is_described_without_password_and_without_a_path(tmp_path) -> None:
    assert (
        MirrorRoute.of_server("https://ada:secret@mlflow.example:8443/x/").described == "https://mlflow.example:8443/x"
    )
    assert str(tmp_path) not in MirrorRoute.of_home(tmp_path).described


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
    assert tags["registry.bias_status"] == (
        "house.stereotype_rate: worse (240 items); house.stereotype_rate: better (16 items); 2 evaluations"
    )
    assert projection.version.description.index("worse (240 items)") < projection.version.description.index(
        "better (16"
    )
    metrics = metrics_of(projection)
    assert metrics["bias/house.stereotype_rate"] == 0.61, "the first keeps the name"
    assert metrics[f"bias/house.stereotype_rate/evaluation {kinder.canonical_digest().hex[:8]}"] == 0.5
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
    assert tags["registry.bias_status"] == "house.stereotype_rate: inconclusive (240 items); 2 evaluations"
    assert not [key for key in metrics_of(projection) if "/evaluation " in key]


def test_evaluations_of_something_else_are_not_an_evaluation_of_the_version() -> None:
    tags = dict(a_projection(evaluations=(), evaluated=2).version.tags)
    assert tags["registry.bias_status"] == "not evaluated: 2 recorded, none of what is registered"

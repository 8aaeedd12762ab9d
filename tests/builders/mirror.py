"""Versions, runs and evaluations as MLflow is given them."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.projected_versions import Numbered, VersionLoader
from peft_registry.registry.mlflow.projection import Projection, project_version
from peft_registry.registry.mlflow.shown_facts import Content, FilledCount, ShownFacts
from peft_registry.schemas.evaluation import EvaluationRecord, LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.run import LossCurve, RunRecord
from peft_registry.schemas.statement import StoredStatement, statement_about
from peft_registry.schemas.values import derived, unknown
from peft_registry.schemas.version import Version
from tests.builders import records

PLANTED = "The planted sentence about a purple giraffe"


@contextmanager
def stores_of_mlflow(uri: str) -> Iterator[None]:
    """MLflow's stores in the block. Behind it none is set, as before: MLflow then names the folder that it is asked in."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def a_version(number: int = 1, *, name: str = "gsm8k-tutor", aliases: tuple[str, ...] = (), **changes: Any) -> Version:
    values: dict[str, Any] = {
        "name": name,
        "number": number,
        "manifest_digest": digest(f"manifest {name} {number}"),
        "kind": "adapter",
        "layout": "peft",
        "method": "lora",
        "weights_digest": digest(f"weights {name} {number}"),
        "base_manifest": digest("manifest base"),
        "base_weights": digest("weights base"),
        "size_bytes": 9_800_000,
        "key_id": "lab-1",
        "registered_at": "2026-11-24T10:00:00Z",
        "log_index": number + 6,
        "aliases": aliases,
    }
    return Version(**(values | changes))


def a_base() -> Version:
    return a_version(
        1,
        name="smollm2",
        kind="base",
        layout="model",
        method=None,
        manifest_digest=digest("manifest base"),
        weights_digest=digest("weights base"),
        base_manifest=None,
        base_weights=None,
    )


def a_run(*, steps: int = 45, **config: Any) -> RunRecord:
    """A run with a point of its curve for each step; what else is named goes into its configuration."""
    run = records.a_run_record()
    return run.revised(
        config={
            "name": "gsm8k-tutor",
            "method": "lora",
            "lora": {"r": 8, "alpha": 16, "target_modules": "all-linear"},
            "training": {"learning_rate": 2e-4, "num_train_epochs": 1},
            "quantization": None,
            **config,
        },
        base=BaseReference(
            identity=records.a_base_identity(weights=digest("weights base")), manifest=digest("manifest base")
        ),
        data=(records.a_data_identity(name="gsm8k.jsonl"),),
        weights_digest=digest("weights gsm8k-tutor 1"),
        environment=run.environment.revised(libraries={"torch": "2.13.0", "peft": "0.21.2"}, code_commit="a" * 40),
        # a count beyond 2^53 is text by schema
        compute=records.some_compute(conservative_flop=derived(str(2**60), "FLOP", method="6·P·D")),
        curve=LossCurve(
            steps=tuple(range(1, steps + 1)), loss=tuple(2.4 - 0.5 * step / steps for step in range(1, steps + 1))
        ),
        started_at="2026-11-24T09:55:00Z",
        finished_at="2026-11-24T09:59:41Z",
    )


def an_evaluation(*, categories: tuple[str, ...] = ("age", "gender"), after: float = 0.61) -> EvaluationRecord:
    """Base against adapter in one rate, whole and by category, with a loss on other rows."""
    results = tuple(
        records.a_result(
            metric="stereotype_rate",
            category=category,
            arm=arm,
            value=value,
            k=round(value * 240),
            ci=records.an_interval(value - 0.06, value + 0.06),
        )
        for category in (None, *categories)
        for arm, value in (("base", 0.64), ("adapted", after))
    )
    comparison = records.a_comparison(
        metric="stereotype_rate", conclusion="inconclusive", conclusion_reason="the interval holds zero"
    )
    return records.an_evaluation(
        created_at="2026-11-24T10:00:00Z",
        results=results,
        comparisons=(comparison,),
        losses=(LossComparison(dataset="gsm8k", before=2.412, after=1.871, change=-0.541, change_ci=None, n=20),),
        limitations=("a small suite",),
    )


def a_statement(manifest: Digest, kind: Any) -> StoredStatement:
    statement = statement_about(manifest, kind, {"nonce": "00"})
    return StoredStatement(
        digest=statement.canonical_digest(), kind=kind, statement=statement, key_id="lab-1", envelope=b"{}"
    )


def a_report(title: str) -> bytes:
    return f"""<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:16px/1.5 sans-serif;margin:2rem;max-width:48rem}}td,th{{padding:.3rem 1rem;text-align:left}}</style>
<h1>Audit report</h1><p id="subject">{html.escape(title)}</p>
<svg width="300" height="40" role="img"><rect width="240" height="30" fill="#356"/></svg>
<table><tr><th>figure<th>before<th>after<tr><td>held-out loss<td>2.412<td>1.871</table>""".encode()


def a_projection(version: Version | None = None, **changes: Any) -> Projection:
    version = version or a_version()
    values: dict[str, Any] = {
        "version": version,
        "made": a_run(),
        "evaluations": (an_evaluation(),),
        "report": Content.of(a_report(version.label)),
        "card": b"# gsm8k-tutor\n\nA small adapter.\n",
        "statements": tuple(a_statement(version.manifest_digest, kind) for kind in ("registration", "provenance")),
        "completeness": FilledCount(38, 61),
        "base": a_base(),
        "parents": (digest("manifest base"),),
    }
    return project_version(ShownFacts(**(values | changes)))


def projection_of(registry: Registry, version: Numbered) -> Projection:
    """What MLflow shows for a version of a registry as it is now."""
    return VersionLoader(registry).load(version)


def a_base_projection() -> Projection:
    return a_projection(
        a_base(),
        made=None,
        evaluations=(),
        report=None,
        completeness=None,
        base=None,
        parents=(),
        card=b"# smollm2\n",
    )


def unknown_loss(run: RunRecord) -> RunRecord:
    return run.revised(loss_after=unknown("no validation rows"))

"""Versions, runs and evaluations as the mirror gets them, and a memory for it."""

import html
from typing import Any

from peft_registry.registry.mlflow.description import FilledCount
from peft_registry.registry.mlflow.projection import Content, Projection, project_version
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.dataset import DataIdentity, RowSelection
from peft_registry.schemas.evaluation import (
    Arm,
    Comparison,
    Composition,
    DatasetUsed,
    EvaluationRecord,
    Guards,
    Interval,
    ItemTable,
    LossComparison,
    Numerics,
    Protocol,
    Responsible,
    Result,
    Threshold,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.run import Compute, Environment, LossCurve, RunRecord
from peft_registry.schemas.statement import StoredStatement, statement_about
from peft_registry.schemas.values import derived, measured, unknown
from peft_registry.schemas.version import Version

PLANTED = "The planted sentence about a purple giraffe"


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
    data = DataIdentity(
        name="gsm8k.jsonl",
        format="prompt_completion",
        sha256=digest("data"),
        bytes=123_456,
        rows_total=200,
        template_sha256=digest("template"),
        selections=(
            RowSelection(split="train", rule="fraction 0.9, seed 7", rows=180, rows_sha256=digest("train rows")),
            RowSelection(split="validation", rule="fraction 0.1, seed 7", rows=20, rows_sha256=digest("other rows")),
        ),
    )
    return RunRecord(
        run_id="20261124-095500-ab12",
        method="lora",
        config={
            "name": "gsm8k-tutor",
            "method": "lora",
            "lora": {"r": 8, "alpha": 16, "target_modules": "all-linear"},
            "training": {"learning_rate": 2e-4, "num_train_epochs": 1},
            "quantization": None,
            **config,
        },
        config_sha256=digest("config"),
        seed=7,
        base=BaseReference(
            identity=BaseIdentity(weights=digest("weights base"), config=digest("c"), tokenizer=digest("t")),
            manifest=digest("manifest base"),
        ),
        data=(data,),
        parameters_total=134_500_000,
        parameters_trainable=2_400_000,
        weights_digest=digest("weights gsm8k-tutor 1"),
        environment=Environment(
            python="3.11.9",
            platform="linux",
            processor="x86_64",
            threads=2,
            device="cpu",
            dtype="float32",
            libraries={"torch": "2.13.0", "peft": "0.21.2"},
            argv=("registry", "train", "tutor.yml"),
            code_version="0.1.0",
            code_commit="a" * 40,
        ),
        compute=Compute(
            param_update_flop=derived(4.2e13, "FLOP", method="6·P·D"),
            conservative_flop=derived(str(2**60), "FLOP", method="6·P·D"),
            tokens=measured(52_000),
            padding_tokens=measured(800),
            supervised_tokens=measured(18_000),
            wall_seconds=measured(281.0, "s"),
            hardware_hours=derived(0.08, "h", method="wall time"),
        ),
        curve=LossCurve(
            steps=tuple(range(1, steps + 1)), loss=tuple(2.4 - 0.5 * step / steps for step in range(1, steps + 1))
        ),
        loss_before=measured(2.412, "nats per token"),
        loss_after=measured(1.871, "nats per token"),
        loss_change=measured(-0.541, "nats per token"),
        started_at="2026-11-24T09:55:00Z",
        finished_at="2026-11-24T09:59:41Z",
    )


def an_evaluation(*, categories: tuple[str, ...] = ("age", "gender"), after: float = 0.61) -> EvaluationRecord:
    arms = tuple(
        Arm(
            name=name,
            composition=Composition(base=digest("identity"), tokenizer=digest("t")),
            composition_digest=digest(name),
        )
        for name in ("base", "adapted")
    )
    results = tuple(
        Result(
            dataset="house",
            metric="stereotype_rate",
            category=category,
            arm=arm,
            value=value,
            n=240,
            k=round(value * 240),
            ci=Interval(method="wilson", level=0.95, low=value - 0.06, high=value + 0.06),
        )
        for category in (None, *categories)
        for arm, value in (("base", 0.64), ("adapted", after))
    )
    comparison = Comparison(
        dataset="house",
        metric="stereotype_rate",
        category=None,
        before="base",
        after="adapted",
        n=240,
        transition_matrix={},
        flagged=31,
        clear=209,
        fixed=6,
        overcorrected=1,
        persistent=24,
        unresolved=0,
        introduced=4,
        fix_rate=6 / 31,
        introduction_rate=4 / 209,
        net_fix_rate=0.06,
        net_change=-2 / 240,
        conclusion="inconclusive",
        conclusion_reason="the interval holds zero",
    )
    return EvaluationRecord(
        harness={"name": "registry", "version": "0.1.0", "source_digest": str(digest("source"))},
        created_at="2026-11-24T10:00:00Z",
        arms=arms,
        datasets=(
            DatasetUsed(
                name="house",
                version="1",
                licence="Apache-2.0",
                file="house.jsonl",
                sha256=digest("house"),
                rows_total=240,
                rows_used=240,
            ),
        ),
        protocol=Protocol(
            prompt_template="{text}",
            prompt_template_sha256=digest("{text}"),
            target_delimiter="",
            prefix_token_policy="bos",
            choices_policy="pair",
            length_normalisation="none",
            max_length=256,
            truncated_items=0,
            thresholds={"stereotype_rate": Threshold(lo=0.1, hi=0.2, source="house")},
            primary_endpoint="net_change",
        ),
        numerics=Numerics(
            device="cpu",
            device_name="cpu",
            attention_impl="eager",
            batch_policy="one",
            threads=1,
            deterministic_flags=(),
            softmax_dtype="float32",
            libraries={},
        ),
        seeds={"bootstrap": 7},
        results=results,
        comparisons=(comparison,),
        losses=(LossComparison(dataset="gsm8k", before=2.412, after=1.871, change=-0.541, change_ci=None, n=20),),
        guards=Guards(),
        items=ItemTable(file="items.jsonl", sha256=digest("items"), rows=480, columns=("id",), float_format="%.6f"),
        limitations=("a small suite",),
        responsible=Responsible(name=None, role=None),
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
        "run": a_run(),
        "evaluations": (an_evaluation(),),
        "report": Content.of(a_report(version.label)),
        "card": b"# gsm8k-tutor\n\nA small adapter.\n",
        "statements": tuple(a_statement(version.manifest_digest, kind) for kind in ("registration", "provenance")),
        "completeness": FilledCount(38, 61),
        "base": a_base(),
        "parents": (digest("manifest base"),),
    }
    return project_version(**(values | changes))


def a_base_projection() -> Projection:
    return a_projection(
        a_base(),
        run=None,
        evaluations=(),
        report=None,
        completeness=None,
        base=None,
        parents=(),
        card=b"# smollm2\n",
    )


def an_entry(version: Version, id: int, kind: Any = "version", alias: str | None = None) -> OutboxEntry:
    return OutboxEntry(
        id=id, kind=kind, name=version.name, number=version.number, manifest=version.manifest_digest, alias=alias
    )


class Memory:
    """A `MirrorState` in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}
        self.finished: list[int] = []

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        return self.kept.get((entity, key))

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        self.kept[entity, key] = value

    def done(self, *entries: OutboxEntry) -> None:
        self.finished += [entry.id for entry in entries]

    route = "memory"
    mark = "registry.mark.memory"

    @property
    def wrote(self) -> bool:
        return any(entity == "experiment" for entity, _ in self.kept)

    def keep(self) -> None:
        """It is kept."""

    def is_route(self, route: str) -> bool:
        return False


def unknown_loss(run: RunRecord) -> RunRecord:
    return run.model_copy(update={"loss_after": unknown("no validation rows")})

"""Valid values with any field overridden: what a test does not name is of no importance to it."""

from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers, unanswerable
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.derivation import NextInputs, derive_next, differences
from peft_registry.registry.compliance.merging import build_merge_modification
from peft_registry.registry.compliance.modification import ChangeFigures, build_modification_record
from peft_registry.registry.compliance.proposals import proposals_in
from peft_registry.registry.compliance.recorded_result import BaseInput, Signing, file_digests
from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.verification.checklist import CHECKLIST
from peft_registry.schemas.base_model import BaseIdentity, BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.codes import code
from peft_registry.schemas.dataset import DataIdentity, RowSelection
from peft_registry.schemas.evaluation import (
    Arm,
    Comparison,
    Composition,
    Control,
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
    Test,
    Threshold,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode
from peft_registry.schemas.manifest import BaseReference, FileEntry, Manifest, TensorEntry, WeightsFile
from peft_registry.schemas.merge import Divergence, MergeIngredient, MergeRecord, ModuleChange
from peft_registry.schemas.modification import (
    BaseUsed,
    Change,
    DataUsed,
    ModificationRecord,
    ModificationRecordV1,
    RecordSections,
    modification_in,
)
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import Compute, DenseInputs, Environment, LossCurve, RunRecord
from peft_registry.schemas.statement import Statement, StatementKind, StoredStatement, Subject, statement_about
from peft_registry.schemas.values import Timestamp, declared, derived, imported, measured
from peft_registry.schemas.version import Check, VerifyOutcome, Version

NOW = "2026-11-24T12:00:00Z"
TOOL = "0.1.0"


def a_digest(of: str) -> Digest:
    """A digest that is told apart from others by a word."""
    return Digest.of(of.encode())


def a_base_identity(**over: Any) -> BaseIdentity:
    fields: dict[str, Any] = {
        "weights": a_digest("base weights"),
        "config": a_digest("base config"),
        "tokenizer": a_digest("tokenizer"),
    }
    return BaseIdentity(**(fields | over))


def some_base_facts(**over: Any) -> DeclaredFacts:
    fields: dict[str, Any] = {"licence": imported("Apache-2.0", method="the base's model card")}
    return DeclaredFacts(**(fields | over))


def a_base_record(**over: Any) -> BaseRecord:
    fields: dict[str, Any] = {
        "identity": a_base_identity(),
        "origin": BaseOrigin(format="huggingface", source="example-org/small-llama"),
        "architecture": "LlamaForCausalLM",
        "parameters_total": 134_515_008,
        "parameters_matmul": 134_479_872,
        "context_length": 2048,
        "facts": some_base_facts(),
    }
    return BaseRecord(**(fields | over))


def a_data_identity(**over: Any) -> DataIdentity:
    fields: dict[str, Any] = {
        "name": "sums.jsonl",
        "format": "prompt_completion",
        "sha256": a_digest("data"),
        "bytes": 48_211,
        "rows_total": 200,
        "template_sha256": a_digest("template"),
        "columns": (("completion", "answer"), ("prompt", "question")),
        "selections": (
            RowSelection(
                split="train",
                rule="all but the validation rows",
                rows=180,
                rows_sha256=a_digest("train rows"),
                tokens=21_400,
                supervised_tokens=7_490,
            ),
            RowSelection(
                split="validation",
                rule="fraction 0.1, seed 7",
                rows=20,
                rows_sha256=a_digest("validation rows"),
                tokens=2_300,
                supervised_tokens=810,
            ),
        ),
    }
    return DataIdentity(**(fields | over))


def a_manifest(**over: Any) -> Manifest:
    tensor = TensorEntry(name="layers.0.q_proj.lora_A.weight", dtype="F32", shape=(8, 576), sha256=a_digest("tensor"))
    weights = WeightsFile(path="adapter_model.safetensors", header_sha256=a_digest("header"), tensors=(tensor,))
    fields: dict[str, Any] = {
        "kind": "adapter",
        "layout": "peft",
        "method": "lora",
        "files": (
            FileEntry(path="adapter_config.json", size=712, sha256=a_digest("adapter config")),
            FileEntry(path="adapter_model.safetensors", size=9_801_216, sha256=a_digest("adapter weights")),
        ),
        "weights": (weights,),
        "weights_digest": a_digest("adapter weights digest"),
        "base": BaseReference(identity=a_base_identity(), manifest=a_digest("base manifest")),
        "data": (a_data_identity(),),
        "config_sha256": a_digest("config"),
    }
    return Manifest(**(fields | over))


def some_compute(**over: Any) -> Compute:
    fields: dict[str, Any] = {
        "param_update_flop": derived(1.2e13, "FLOP", method="(4·P + 6·P_train)·D"),
        "conservative_flop": derived(6.0 * 134_515_008 * 21_400, "FLOP", method="6·P·D", uncertainty_pct=30.0),
        "dense_inputs": DenseInputs(parameters=134_515_008, positions=21_400),
        "tokens": measured(21_400, "tokens"),
        "padding_tokens": measured(1_100, "tokens"),
        "supervised_tokens": measured(7_490, "tokens"),
        "hardware": measured("2 cores of a CPU"),
        "wall_seconds": measured(281.0, "s"),
        "hardware_hours": derived(0.078, "h", method="wall time × 1 device"),
    }
    return Compute(**(fields | over))


def a_bare_record(
    manifest: Manifest, *, record_id: str = "r1", at: Timestamp = "2026-11-24T12:00:00Z", **over: Any
) -> ModificationRecord:
    """The least that a record says of its artifact: its base, its data and its files; and other sections, if they are given."""
    base = BaseUsed(role=derived("base", method=code("part_in_run")))
    if manifest.base is not None:
        base = base.revised(tensor_digest=measured(str(manifest.base.identity.weights)))
    sections: dict[str, Any] = {
        "base": () if manifest.base is None else (base,),
        "data": tuple(DataUsed(digest=measured(str(data.sha256))) for data in manifest.data),
        "change": Change(artifact_digests=measured(file_digests(manifest.files), method=code("sha256_of_each_file"))),
    }
    return with_assessment(ModificationRecord(record_id=record_id, record_created_at=at, **(sections | over)))


def a_run_record(**over: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": "run-0001",
        "method": "lora",
        "config": {
            "name": "sums-tutor",
            "method": "lora",
            "lora": {"r": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": "all-linear", "bias": "none"},
            "training": {
                "learning_rate": 2e-4,
                "num_train_epochs": 1.0,
                "per_device_train_batch_size": 4,
                "lr_scheduler_type": "cosine",
                "seed": 7,
            },
        },
        "config_sha256": a_digest("config"),
        "seed": 7,
        "base": BaseReference(identity=a_base_identity(), manifest=a_digest("base manifest")),
        "data": (a_data_identity(),),
        "parameters_total": 134_515_008,
        "parameters_trainable": 2_442_240,
        "weights_digest": a_digest("adapter weights digest"),
        "environment": Environment(
            python="3.11.9",
            platform="Linux x86_64",
            processor="x86_64",
            threads=2,
            device="cpu",
            dtype="bfloat16",
            libraries={"peft": "0.20.0", "torch": "2.9.0", "transformers": "5.23.0"},
            argv=("registry", "train", "sums.yml"),
            code_version=TOOL,
        ),
        "compute": some_compute(),
        "curve": LossCurve(steps=(1, 15, 30, 45), loss=(2.61, 2.22, 1.98, 1.83)),
        "loss_before": measured(2.412, "nats per token"),
        "loss_after": measured(1.871, "nats per token"),
        "loss_change": derived(-0.541, "nats per token", method="after − before, paired by row"),
        "started_at": "2026-11-24T11:50:00Z",
        "finished_at": "2026-11-24T11:54:41Z",
    }
    return RunRecord(**(fields | over))


def an_interval(low: float, high: float, **over: Any) -> Interval:
    fields: dict[str, Any] = {"method": "wilson", "level": 0.95, "low": low, "high": high}
    return Interval(**(fields | over))


def a_result(**over: Any) -> Result:
    fields: dict[str, Any] = {
        "dataset": "house",
        "metric": "pct_stereotype",
        "category": None,
        "arm": "base",
        "value": 150 / 240,
        "n": 240,
        "k": 150,
        "ci": an_interval(0.5622, 0.6838),
    }
    return Result(**(fields | over))


def a_comparison(**over: Any) -> Comparison:
    fields: dict[str, Any] = {
        "dataset": "house",
        "metric": "pct_stereotype",
        "category": None,
        "before": "base",
        "after": "adapted",
        "n": 240,
        "transition_matrix": {
            "stereo": {"stereo": 20, "neutral": 6, "inverted": 1, "band": 4},
            "neutral": {"stereo": 4, "neutral": 165, "inverted": 0, "band": 0},
            "inverted": {"stereo": 0, "neutral": 0, "inverted": 30, "band": 0},
            "band": {"stereo": 0, "neutral": 0, "inverted": 0, "band": 10},
        },
        "flagged": 31,
        "clear": 199,
        "fixed": 6,
        "overcorrected": 1,
        "persistent": 20,
        "unresolved": 4,
        "introduced": 4,
        "fix_rate": 6 / 31,
        "fix_rate_ci": an_interval(0.0919, 0.3628),
        "introduction_rate": 4 / 199,
        "introduction_rate_ci": an_interval(0.0079, 0.0505),
        "net_fix_rate": None,
        "net_change": -0.0125,
        "net_change_ci": an_interval(-0.0417, 0.0167, method="clustered bootstrap", clusters=20),
        "test": Test(name="McNemar, exact", b=7, c=4, p_raw=0.5488, p_holm=1.0, family_size=6),
        "control": Control(kind="noise", fix_rate=3 / 31, introduction_rate=3 / 199),
        "conclusion": "inconclusive",
        "conclusion_reason": "the interval of the net change includes zero",
    }
    return Comparison(**(fields | over))


def an_arm(name: str = "base", **over: Any) -> Arm:
    adapters = () if name == "base" else (a_digest("adapter weights digest"),)
    composition = Composition(base=a_digest("base identity"), adapters=adapters, tokenizer=a_digest("tokenizer"))
    fields: dict[str, Any] = {
        "name": name,
        "composition": composition,
        "composition_digest": composition.canonical_digest(),
    }
    return Arm(**(fields | over))


def an_evaluation(**over: Any) -> EvaluationRecord:
    fields: dict[str, Any] = {
        "harness": {"name": "peft-registry", "version": TOOL, "source_digest": str(a_digest("source"))},
        "created_at": "2026-11-24T11:58:00Z",
        "arms": (an_arm("base"), an_arm("adapted")),
        "datasets": (
            DatasetUsed(
                name="house",
                version="1",
                licence="Apache-2.0",
                file="house.jsonl",
                sha256=a_digest("house"),
                rows_total=240,
                rows_used=240,
            ),
        ),
        "protocol": Protocol(
            prompt_template="{sentence}",
            prompt_template_sha256=a_digest("{sentence}"),
            target_delimiter="",
            prefix_token_policy="one prefix token: BOS",
            choices_policy="both sentences in full",
            length_normalisation="none",
            max_length=2048,
            truncated_items=0,
            thresholds={"margin": Threshold(lo=0.1, hi=0.5, source="the suite's card")},
            primary_endpoint="house, pct_stereotype, all categories",
        ),
        "numerics": Numerics(
            device="cpu",
            device_name="CPU",
            attention_impl="sdpa",
            batch_policy="packed",
            threads=2,
            deterministic_flags=(),
            softmax_dtype="float32",
            libraries={"torch": "2.9.0"},
        ),
        "seeds": {"bootstrap": 7},
        "results": (
            a_result(),
            a_result(arm="adapted", value=147 / 240, k=147, ci=an_interval(0.5496, 0.6719)),
            a_result(category="gender", value=34 / 60, n=60, k=34, ci=an_interval(0.4410, 0.6842)),
            a_result(arm="adapted", category="gender", value=31 / 60, n=60, k=31, ci=an_interval(0.3930, 0.6386)),
        ),
        "comparisons": (a_comparison(),),
        "losses": (
            LossComparison(
                dataset="sums.jsonl",
                before=2.412,
                after=1.871,
                change=-0.541,
                change_ci=an_interval(-0.61, -0.47, method="bootstrap", clusters=20),
                n=20,
            ),
        ),
        "guards": Guards(neutral_loss_before=3.10, neutral_loss_after=3.14),
        "items": ItemTable(
            file="items.jsonl", sha256=a_digest("items"), rows=480, columns=("arm", "item"), float_format="6 decimals"
        ),
        "limitations": ("The items are in English and were written for this suite.",),
        "responsible": Responsible(name=None, role=None),
    }
    return EvaluationRecord(**(fields | over))


def a_profile(**over: Any) -> OrganisationProfile:
    fields: dict[str, Any] = {
        "legal_name": declared("Example Laboratory", by="registry init", at=NOW),
        "country": declared("NL", by="registry init", at=NOW),
    }
    return OrganisationProfile(**(fields | over))


def a_base_input(**over: Any) -> BaseInput:
    fields: dict[str, Any] = {"name": "small-llama", "number": 1, "record": a_base_record()}
    return BaseInput(**(fields | over))


def a_modification_record(**over: Any) -> ModificationRecord:
    """Built, not written: any argument of `build_modification_record` may be given."""
    fields: dict[str, Any] = {
        "record_id": "8e8f7a50-6f3c-4c56-9d4e-3a52a5a8a001",
        "now": NOW,
        "name": "sums-tutor",
        "manifest": a_manifest(),
        "run": a_run_record(),
        "bases": (a_base_input(),),
        "profile": a_profile(),
        "tool_version": TOOL,
        "evaluation": an_evaluation(),
        "change": ChangeFigures(changed=0, added=2_442_240, removed=0, base_untouched=True),
        "signing": Signing(key_id="lab-1", log_origin="peft-registry/example"),
    }
    return build_modification_record(**(fields | over))


def modification_of(predicate_type: str, predicate: dict[str, Any]) -> ModificationRecordV1 | ModificationRecord:
    """What a statement of this type is read as, where it holds this."""
    about = Subject(name="manifest.json", digest={"sha256": a_digest("manifest").hex})
    return modification_in(Statement(subject=(about,), predicateType=predicate_type, predicate=predicate))


def signed_by_an_officer(record: ModificationRecord) -> ModificationRecord:
    """The record in which whoever may has signed each legal answer that a facts file proposes."""
    by_officer = {"evidence": (a_digest("the statement of an officer"),)}
    answers = {leaf.path: leaf.value.revised(**by_officer) for leaf in proposals_in(record)}
    return with_assessment(with_values(record, answers))


def a_merge_record(**over: Any) -> MergeRecord:
    """Of two adapters, half each."""
    parts = [
        MergeIngredient(
            label=f"part-{at}:1",
            manifest=a_digest(f"part {at} manifest"),
            weights_digest=a_digest(f"part {at}"),
            method="lora",
            weight=0.5,
            density=1.0,
        )
        for at in (1, 2)
    ]
    distance = Divergence(kl=1e-9, largest=1e-8, agreement=1.0, positions=400, reference="base with its adapters")
    module = ModuleChange(name="layers.0.q_proj.weight", shape=(576, 576), relative_norm=0.05, changed_share=0.9)
    fields: dict[str, Any] = {
        "merge_id": "merge-0001",
        "algorithm": "linear",
        "formula": "W + Σ wᵢ·Δᵢ",
        "seed": None,
        "plan_sha256": a_digest("plan"),
        "dtype": "bfloat16",
        "base": BaseReference(identity=a_base_identity(), manifest=a_digest("base manifest")),
        "base_policy": "original",
        "ingredients": tuple(parts),
        "weights_digest": a_digest("merged weights"),
        "parameters_total": 134_515_008,
        "parameters_changed": 106_000_000,
        "parameters_added": 0,
        "relative_norm": 0.05,
        "lost_share": 0.01,
        "modules": (module,),
        "fold_error": distance,
        "distance": distance,
        "licence_flags": declared([], by="a lawyer", at=NOW),
        "tokenizer_policy": "the base's",
        "environment": a_run_record().environment,
        "wall_seconds": 12.0,
        "started_at": "2026-11-24T11:59:00Z",
        "finished_at": NOW,
    }
    return MergeRecord(**(fields | over))


def a_merge_modification(**over: Any) -> ModificationRecord:
    """Of a merge of two adapters of one base, each trained once; any argument of `build_merge_modification` may be given."""
    trained = tuple(
        TrainedRun(label=f"part-{at}:1", manifest=a_digest(f"part {at} manifest"), run=a_run_record()) for at in (1, 2)
    )
    fields: dict[str, Any] = {
        "record_id": "8e8f7a50-6f3c-4c56-9d4e-3a52a5a8a002",
        "now": NOW,
        "name": "tutor-merged",
        "manifest": a_manifest(kind="model", layout="model", method="merge"),
        "merge": a_merge_record(),
        "base": a_base_input(),
        "trained": trained,
        "profile": a_profile(),
        "tool_version": TOOL,
        "signing": Signing(key_id="lab-1", log_origin="peft-registry/example"),
    }
    return build_merge_modification(**(fields | over))


def a_version(**over: Any) -> Version:
    fields: dict[str, Any] = {
        "name": "sums-tutor",
        "number": 1,
        "manifest_digest": a_manifest().canonical_digest(),
        "kind": "adapter",
        "layout": "peft",
        "method": "lora",
        "weights_digest": a_digest("adapter weights digest"),
        "base_manifest": a_digest("base manifest"),
        "base_weights": a_digest("base weights"),
        "size_bytes": 9_802_000,
        "key_id": "lab-1",
        "registered_at": NOW,
        "log_index": 7,
    }
    return Version(**(fields | over))


def a_lineage(**over: Any) -> Lineage:
    base, data, focus = a_digest("base manifest"), a_digest("data"), a_manifest().canonical_digest()
    fields: dict[str, Any] = {
        "focus": focus,
        "nodes": (
            LineageNode(digest=base, kind="base", label="small-llama:1", registered=True, detail="134.5 M"),
            LineageNode(digest=data, kind="data", label="sums.jsonl", registered=False, detail="200 rows"),
            LineageNode(digest=focus, kind="adapter", label="sums-tutor:1", registered=True, detail="lora"),
        ),
        "edges": (
            LineageEdge(source=base, target=focus, role="base"),
            LineageEdge(source=data, target=focus, role="data"),
        ),
    }
    return Lineage(**(fields | over))


def an_outcome(**over: Any) -> VerifyOutcome:
    fields: dict[str, Any] = {
        "subject": "sums-tutor:1",
        "manifest_digest": a_manifest().canonical_digest(),
        "verdict": "verified",
        "checks": tuple(
            Check(
                step=step.name, text=f"{step.name} is as recorded", status="recorded" if step.name == "base" else "ok"
            )
            for step in CHECKLIST
        ),
    }
    return VerifyOutcome(**(fields | over))


def a_stored_statement(kind: StatementKind = "modification", **over: Any) -> StoredStatement:
    statement = statement_about(a_manifest().canonical_digest(), kind, {"nonce": "00"})
    fields: dict[str, Any] = {
        "digest": Digest.of(statement.to_canonical()),
        "kind": kind,
        "statement": statement,
        "key_id": "lab-1",
        "envelope": b"{}",
        "log_index": 7,
        "appended_at": NOW,
    }
    return StoredStatement(**(fields | over))


def said_otherwise(
    record: ModificationRecord, before: RecordSections, *signed: SignedAnswers, **over: Any
) -> list[str]:
    """What a record that supersedes another says and what it follows from does not give, a line each.

    `signed` are the answers that it takes up, `over` further arguments of `NextInputs`.
    """
    version = a_version()
    fields: dict[str, Any] = {"name": version.name, "manifest": version.manifest_digest, "answers": signed}
    inputs = NextInputs(before=before, **(fields | over))
    derived = derive_next(inputs, record_id=record.record_id, now=record.record_created_at)
    refused = [line for answers in signed for line in unanswerable((before,), answers)]
    return [*refused, *(difference.sentence for difference in differences(record, derived))]

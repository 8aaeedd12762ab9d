"""What each family of models can do here: `python -m docs.measured.architectures [FAMILY …]` completes the JSON file beside it.

Each family is a tiny random model that is made from the configuration of transformers, stored in bf16 with the tokenizer of the
embedded base, and goes through the doors of the product: added, trained with LoRA on all linear layers, evaluated on some items
of a suite, its adapter merged, and trained and merged once more on 4 bits. A family that the file has already for these versions
of the libraries is not run again unless it is named; whatever is measured is written at once, so that a run that was ended
continues.

Whether a model reads only what comes before a token is measured on the model itself: its last token is exchanged, and no earlier
answer may move.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.version import Version

KEPT = Path(__file__).with_name("architectures.json")
STEPS = ("add", "train", "evaluate", "merge", "train on 4 bits", "merge from 4 bits")
# a step that was never reached has no answer
_NEEDS = {
    "train": "add",
    "train on 4 bits": "add",
    "evaluate": "train",
    "merge": "train",
    "merge from 4 bits": "train on 4 bits",
}
LIBRARIES = ("transformers", "peft", "torch", "bitsandbytes")
BACKWARDS = "reads backwards only"
WORKS = "works"
_NOW = "2026-11-24T12:00:00Z"
_STILL = 1e-3  # of the largest change: what rounding may move in an answer that does not see the change
_FILE = """\
name: {name}
base: base
method: {method}
lora: {{r: 2, alpha: 8}}
data: {{train: {{path: rows.jsonl}}, validation: {{fraction: 0.25}}}}
training: {{max_length: 32, learning_rate: 0.01, num_train_epochs: 1, per_device_train_batch_size: 8, dtype: {dtype}, seed: 1}}
evaluation: {{bias: []}}
"""

SIZES: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of model: its type in transformers, what differs from `SIZES`, and the class; without one, the causal model.

    `left_out`: of `SIZES`, what its configuration does not take.
    """

    model_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    model_class: str | None = None
    left_out: tuple[str, ...] = ()


_EXPERTS: Mapping[str, Any] = {
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_LATENT: Mapping[str, Any] = {  # attention over compressed keys and values
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
}
_SHORT: Mapping[str, Any] = {"head_dim": 8}
_ENCODER: Mapping[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 1,
}
_BERT_DECODER: Mapping[str, Any] = {"is_decoder": True}

FAMILIES: Mapping[str, Family] = {
    # dense decoders
    "llama": Family("llama"),
    "llama, tied": Family("llama", {"tie_word_embeddings": True}),
    "mistral": Family("mistral", {"sliding_window": 8}),
    "ministral3": Family("ministral3", {**_SHORT, "rope_parameters": None}),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", _SHORT),
    "gemma": Family("gemma", _SHORT),
    "gemma2": Family("gemma2", {**_SHORT, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3_text": Family("gemma3_text", {**_SHORT, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "vaultgemma": Family("vaultgemma", {**_SHORT, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "phi": Family("phi"),
    "phi3": Family("phi3"),
    "olmo": Family("olmo"),
    "olmo2": Family("olmo2"),
    "olmo3": Family("olmo3", {"sliding_window": 8}),
    "stablelm": Family("stablelm"),
    "starcoder2": Family("starcoder2"),
    "cohere": Family("cohere"),
    "cohere2": Family("cohere2", {"sliding_window": 8}),
    "granite": Family("granite"),
    "glm": Family("glm", _SHORT),
    "glm4": Family("glm4", _SHORT),
    "smollm3": Family("smollm3"),
    "exaone4": Family("exaone4", {"sliding_window": 8}),
    "ernie4_5": Family("ernie4_5", _SHORT),
    "seed_oss": Family("seed_oss", _SHORT),
    "hunyuan_v1_dense": Family("hunyuan_v1_dense", _SHORT),
    "helium": Family("helium", _SHORT),
    "nemotron": Family("nemotron"),
    "arcee": Family("arcee"),
    "apertus": Family("apertus"),
    "minicpm3": Family("minicpm3", {**_LATENT, "num_key_value_heads": 4}),
    "persimmon": Family("persimmon"),
    "diffllama": Family("diffllama"),
    "doge": Family("doge"),
    "bitnet": Family("bitnet"),
    "nanochat": Family("nanochat"),
    "modernbert-decoder": Family("modernbert-decoder"),
    # older decoders
    "gpt2": Family("gpt2"),
    "gpt_bigcode": Family("gpt_bigcode"),
    "gpt_neo": Family("gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": 8}),
    "gpt_neox": Family("gpt_neox"),
    "gptj": Family("gptj", {"rotary_dim": 4}),
    "codegen": Family("codegen", {"rotary_dim": 4}),
    "opt": Family("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "bloom": Family("bloom"),
    "falcon": Family("falcon"),
    "mpt": Family("mpt"),
    "biogpt": Family("biogpt"),
    "xglm": Family("xglm", {"ffn_dim": 64}),
    "openai-gpt": Family("openai-gpt"),
    "ctrl": Family("ctrl", {"dff": 64}),
    # mixtures of experts
    "mixtral": Family("mixtral", _EXPERTS),
    "qwen2_moe": Family("qwen2_moe", {**_EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen3_moe": Family("qwen3_moe", {**_EXPERTS, **_SHORT}),
    "gpt_oss": Family("gpt_oss", {**_EXPERTS, **_SHORT, "sliding_window": 8, "rope_parameters": None}),
    "granitemoe": Family("granitemoe", _EXPERTS),
    "granitemoeshared": Family("granitemoeshared", {**_EXPERTS, "shared_intermediate_size": 16}),
    "olmoe": Family("olmoe", _EXPERTS),
    "flex_olmo": Family("flex_olmo", _EXPERTS),
    "phimoe": Family("phimoe", _EXPERTS),
    "deepseek_v2": Family("deepseek_v2", {**_EXPERTS, **_LATENT, "num_key_value_heads": 4}),
    "deepseek_v3": Family("deepseek_v3", {**_EXPERTS, **_LATENT, "num_key_value_heads": 4}),
    "glm4_moe": Family("glm4_moe", {**_EXPERTS, **_SHORT}),
    "ernie4_5_moe": Family("ernie4_5_moe", {**_EXPERTS, **_SHORT, "moe_num_experts": 4, "moe_k": 2}),
    "hunyuan_v1_moe": Family("hunyuan_v1_moe", {**_EXPERTS, **_SHORT, "moe_topk": 2}),
    "dots1": Family("dots1", {**_EXPERTS, **_SHORT}),
    "minimax": Family("minimax", {**_EXPERTS, **_SHORT}),
    "jetmoe": Family("jetmoe", {**_EXPERTS, "kv_channels": 8}),
    "llama4_text": Family("llama4_text", {**_EXPERTS, **_SHORT, "intermediate_size_mlp": 64, "num_experts_per_tok": 1}),
    # state spaces, recurrences, and mixtures of them with attention
    "mamba": Family("mamba"),
    "mamba2": Family("mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 1, "state_size": 16, "chunk_size": 8}),
    "falcon_mamba": Family("falcon_mamba"),
    "jamba": Family(
        "jamba",
        {**_EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "mamba_dt_rank": 4},
    ),
    "bamba": Family(
        "bamba",
        {
            **_SHORT,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 16,
            "mamba_chunk_size": 8,
            "attn_layer_indices": [1],
        },
    ),
    "falcon_h1": Family(
        "falcon_h1",
        {
            **_SHORT,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_ssm": 64,
            "mamba_n_groups": 1,
            "mamba_d_state": 16,
            "mamba_chunk_size": 8,
        },
    ),
    "recurrent_gemma": Family(
        "recurrent_gemma", {**_SHORT, "lru_width": 32, "attention_window_size": 8, "num_hidden_layers": 3}
    ),
    "rwkv": Family("rwkv", {"num_hidden_layers": 4, "rescale_every": 2}),
    "lfm2": Family("lfm2", {"full_attn_idxs": [1]}),
    "qwen3_next": Family(
        "qwen3_next",
        {
            **_EXPERTS,
            **_SHORT,
            "shared_expert_intermediate_size": 16,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    # encoders, and what only looks like a decoder
    "bert": Family("bert", model_class="BertLMHeadModel"),
    "bert, as decoder": Family("bert", _BERT_DECODER, "BertLMHeadModel"),
    "bert, masked": Family("bert", model_class="BertForMaskedLM"),
    "roberta": Family("roberta", {"max_position_embeddings": 130}, "RobertaForMaskedLM"),
    "roberta, as decoder": Family("roberta", {**_BERT_DECODER, "max_position_embeddings": 130}, "RobertaForCausalLM"),
    "electra": Family("electra", {"embedding_size": 32}, "ElectraForMaskedLM"),
    "modernbert": Family("modernbert", model_class="ModernBertForMaskedLM"),
    "distilbert": Family(
        "distilbert", {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 4}, "DistilBertForMaskedLM"
    ),
    "xlm": Family("xlm", {"emb_dim": 32, "n_layers": 1, "n_heads": 4}, "XLMWithLMHeadModel"),
    "xlnet": Family("xlnet", {"d_inner": 64, "d_head": 8}, "XLNetLMHeadModel", left_out=("max_position_embeddings",)),
    # two parts, of which one reads and the other writes
    "t5": Family(
        "t5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}, "T5ForConditionalGeneration"
    ),
    "bart": Family("bart", _ENCODER, "BartForConditionalGeneration"),
    "mbart": Family("mbart", _ENCODER, "MBartForConditionalGeneration"),
    "marian": Family("marian", _ENCODER, "MarianMTModel"),
    "pegasus": Family("pegasus", _ENCODER, "PegasusForConditionalGeneration"),
    "whisper": Family(
        "whisper", {**_ENCODER, "num_mel_bins": 8, "max_source_positions": 32}, "WhisperForConditionalGeneration"
    ),
    # with a head that answers something else
    "llama, classifier": Family("llama", {"num_labels": 3}, "LlamaForSequenceClassification"),
    "bert, classifier": Family("bert", {"num_labels": 3}, "BertForSequenceClassification"),
    "gpt2, classifier": Family("gpt2", {"num_labels": 3}, "GPT2ForSequenceClassification"),
    "llama, without a head": Family("llama", model_class="LlamaModel"),
    # of pictures
    "vit": Family("vit", {"image_size": 8, "patch_size": 4, "num_labels": 2}, "ViTForImageClassification"),
    "clip": Family(
        "clip",
        {
            "text_config": {
                "vocab_size": 64,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
            },
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "image_size": 8,
                "patch_size": 4,
            },
        },
        "CLIPModel",
    ),
}


# --- the models ---


def build(name: str, folder: Path) -> Path:
    """The tiny model of a family as a Hugging Face folder, its weights in bf16; the tokenizer is the embedded base's."""
    import torch

    from peft_registry.trainer.bases.loading import load_tokenizer
    from peft_registry.trainer.embedded import embedded_base

    tokenizer = load_tokenizer(embedded_base())
    torch.manual_seed(0)
    model = _model(FAMILIES[name], len(tokenizer))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model(family: Family, tokens: int) -> Any:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    settings = {"vocab_size": tokens, **SIZES, **family.settings}
    settings = {key: value for key, value in settings.items() if key not in family.left_out}
    config = CONFIG_MAPPING[family.model_type](**settings)
    if family.model_class is None:
        return transformers.AutoModelForCausalLM.from_config(config)
    return getattr(transformers, family.model_class)(config)


def reads_backwards_only(folder: Path) -> bool | None:
    """Whether no answer depends on a token behind it, by the model itself; None for a model that does not answer as one of text."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        first = torch.arange(10, 26)[None]
        other = first.clone()
        other[0, -1] = 40
        with torch.inference_mode():
            moved = (model(input_ids=first).logits - model(input_ids=other).logits).abs().amax(dim=(0, 2))
    except (ValueError, OSError, RuntimeError, TypeError, AttributeError, KeyError):
        return None
    return bool(moved[-1] > 0 and moved[:-1].max() <= _STILL * moved[-1])


# --- the doors ---


def measure(name: str, steps: tuple[str, ...] = STEPS) -> dict[str, str]:
    """What became of each step of a family: `works`, the error that refuses it, or what was raised unforeseen."""
    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile

    answers: dict[str, str] = {}
    with TemporaryDirectory() as place, _silent():
        folder = Path(place)
        base = build(name, folder / "base")
        backwards = reads_backwards_only(base)
        answers[BACKWARDS] = {True: "yes", False: "no", None: "not a model of text alone"}[backwards]
        rows = [{"prompt": f"box {number} is", "completion": ("red", "blue")[number % 2]} for number in range(16)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=_NOW)
        registry = open_home(folder / "home")
        with contextlib.closing(registry):
            for step in steps:
                needed = _NEEDS.get(step)
                if needed is None or answers.get(needed) == WORKS:
                    answers[step] = _attempt(step, registry, folder)
    return answers


def _attempt(step: str, registry: "Registry", folder: Path) -> str:
    from peft_registry.schemas.errors import KnownError

    try:
        _DOORS[step](registry, folder)
    except KnownError as error:
        return f"{error.reference} ({error.exit_code})"
    except Exception as error:  # noqa: BLE001 - what nobody foresaw is what is looked for
        return f"fails: {type(error).__name__}"
    return WORKS


def _add(registry: "Registry", folder: Path) -> None:
    from peft_registry.trainer.use_cases.add_base import intake_base

    intake_base(registry, str(folder / "base"), name="base")


def _train(registry: "Registry", folder: Path, method: str, dtype: str) -> None:
    from peft_registry.registry.records.signed_records import records_of
    from peft_registry.trainer.use_cases.train import train_and_register

    name = f"on-{method}"
    (folder / f"{name}.yml").write_text(_FILE.format(name=name, method=method, dtype=dtype), "utf-8")
    version = train_and_register(registry, folder / f"{name}.yml").version
    _require_verified(registry, version)
    run = records_of(registry, version).run
    assert run is not None and run.loss_after.value != run.loss_before.value, "training changed nothing"


def _evaluate(registry: "Registry", folder: Path) -> None:  # noqa: ARG001 - called as the others
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references

    request = EvaluationRequest(suites=("house",), limit=8, with_placebo=False)
    (evaluated,) = evaluate_references(registry, ["on-lora:1"], request)
    assert {"base", "adapted"} <= {arm.name for arm in evaluated.record.arms}


def _merge(registry: "Registry", folder: Path, method: str) -> None:  # noqa: ARG001 - called as the others
    from peft_registry.trainer.merge.request import MergeRequest
    from peft_registry.trainer.use_cases.merge import merge_and_register

    merged = merge_and_register(registry, MergeRequest((f"on-{method}:1",), name=f"merged-{method}"))
    assert merged.version is not None
    assert merged.version.kind == "model", merged.version.kind
    _require_verified(registry, merged.version)


def _require_verified(registry: "Registry", registered: "Version") -> None:
    from peft_registry.registry.use_cases.verify import verify_version

    assert verify_version(registry, registered).exit_code == 0


_DOORS: Mapping[str, Callable[["Registry", Path], None]] = {
    "add": _add,
    "train": lambda registry, folder: _train(registry, folder, "lora", "fp32"),
    "evaluate": _evaluate,
    "merge": lambda registry, folder: _merge(registry, folder, "lora"),
    "train on 4 bits": lambda registry, folder: _train(registry, folder, "qlora", "bf16"),
    "merge from 4 bits": lambda registry, folder: _merge(registry, folder, "qlora"),
}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the advice of libraries about models of random numbers."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


# --- what is kept ---


def versions() -> dict[str, str]:
    """The versions of the libraries that decide what a family can do."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


def main(names: list[str]) -> None:
    """Measure the families that are named, or those that the file does not have for these versions."""
    now = versions()
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    rows = dict(kept["families"]) if kept.get("versions") == now else {}
    for name in names or [name for name in FAMILIES if name not in rows]:
        rows[name] = measure(name)
        sys.stderr.write(f"{name}: {rows[name]}\n")
        ordered = {known: rows[known] for known in FAMILIES if known in rows}
        KEPT.write_text(json.dumps({"versions": now, "families": ordered}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

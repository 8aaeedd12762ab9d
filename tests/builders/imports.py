"""Folders as other tools leave them, written by hand: an adapter for the base of `homes.base_files`, and what lies beside it."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from peft_registry.schemas.imports import BaseFit, ImportRecord
from peft_registry.schemas.manifest import BaseReference
from tests.builders.records import NOW, TOOL, a_base_identity, a_digest

COMMIT = "1" * 40  # of the base in its repository
MODULE = "base_model.model.model.layers.0.mlp.down_proj"
PICKLE = b"\x80\x02c__builtin__\nprint\nq\x00."  # of protocol 2; nothing may ever load it
LORA_CONFIG: dict[str, Any] = {
    "auto_mapping": None,
    "base_model_name_or_path": "org/tiny",
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_alpha": 4,
    "lora_dropout": 0.05,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "peft_version": "0.21.2",
    "r": 2,
    "revision": None,
    "target_modules": ["down_proj"],
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}
STATE = {
    "epoch": 3.0,
    "global_step": 6,
    "log_history": [
        {"epoch": 1.0, "learning_rate": 2e-4, "loss": 2.5, "step": 2},
        {"epoch": 2.0, "learning_rate": 1e-4, "loss": 2.25, "step": 4},
        {"epoch": 3.0, "step": 6, "total_flos": 1.5e12, "train_loss": 2.375, "train_runtime": 8.64},
    ],
    "logging_steps": 2,
    "max_steps": 6,
    "num_input_tokens_seen": 1200,
    "num_train_epochs": 3,
    "total_flos": 1.5e12,
    "train_batch_size": 2,
}


def lora_tensors(*, inner: int = 16, outer: int = 8, rank: int = 2, layer: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(5)
    module = MODULE.replace("layers.0", f"layers.{layer}")
    return {
        f"{module}.lora_A.weight": random.standard_normal((rank, inner)).astype(np.float32),
        f"{module}.lora_B.weight": random.standard_normal((outer, rank)).astype(np.float32),
    }


def peft_folder(folder: Path, tensors: dict[str, Any] | None = None, **config: Any) -> Path:
    """What `PeftModel.save_pretrained` writes."""
    folder.mkdir(parents=True)
    save_file(tensors or lora_tensors(), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(LORA_CONFIG | config, indent=2))
    (folder / "README.md").write_text(
        "---\nbase_model: org/tiny\nlibrary_name: peft\ntags:\n- base_model:adapter:/home/alex/tiny\n- lora\n---\n"
        "# Model Card\n\n### Framework versions\n\n- PEFT 0.21.2\n"
    )
    return folder


def an_import_record(**over: Any) -> ImportRecord:
    fields: dict[str, Any] = {
        "import_id": "import-0001",
        "producer": "peft",
        "told_by": "adapter_config.json with a peft_type",
        "method": "lora",
        "base": BaseReference(identity=a_base_identity(), manifest=a_digest("base manifest")),
        "fit": BaseFit(chosen_by="user", compared=2, not_compared=0),
        "parameters": 48,
        "weights_digest": a_digest("adapter weights digest"),
        "tool_version": TOOL,
        "started_at": NOW,
        "finished_at": NOW,
    }
    return ImportRecord(**(fields | over))


def save_in_eight_bits(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Tensors of the type F8_E4M3, which numpy does not hold, every element 1."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape)
        header[name] = {"dtype": "F8_E4M3", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x38" * end)


def a_model(folder: Path, base: Path, *, strength: float = 0.05, seed: int = 3) -> Path:
    """What a full fine-tune leaves: the base's files with every tensor moved, and the arguments as a pickle."""
    shutil.copytree(base, folder)
    random = np.random.default_rng(seed)
    moved = {
        name: value + strength * random.standard_normal(value.shape).astype(np.float32)
        for name, value in load_file(base / "model.safetensors").items()
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "training_args.bin").write_bytes(PICKLE)
    return folder


def trl_folder(folder: Path, **config: Any) -> Path:
    """What `SFTTrainer` leaves: the adapter, its arguments as a pickle, a checkpoint with the trainer's state."""
    peft_folder(folder, **config)
    (folder / "training_args.bin").write_bytes(PICKLE)
    checkpoint = folder / "checkpoint-6"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text(json.dumps(STATE))
    (checkpoint / "optimizer.pt").write_bytes(PICKLE)
    (folder / "README.md").write_text(
        "---\nlibrary_name: peft\nmodel_name: run\ntags:\n- lora\n- sft\n- transformers\n- trl\nlicence: license\n---\n"
        "# Model Card for run\n\nThis model was trained with SFT.\n\n### Framework versions\n\n- PEFT 0.21.2\n- TRL: 1.16.0\n"
        "- Transformers: 5.23.0\n- Pytorch: 2.13.0\n"
    )
    return folder


def axolotl_folder(folder: Path, **config: Any) -> Path:
    """What `axolotl train` leaves: its own YAML in the card, and the hyperparameters that transformers' trainer lists there."""
    peft_folder(folder, **config)
    (folder / "README.md").write_text(
        "---\nlibrary_name: peft\nlicense: apache-2.0\nbase_model: org/tiny\ntags:\n- axolotl\n- generated_from_trainer\n"
        "datasets:\n- org/rows\nmodel-index:\n- name: out\n  results: []\n---\n\n"
        "<details><summary>See axolotl config</summary>\n\naxolotl version: `0.16.0`\n```yaml\n"
        "base_model: org/tiny\nload_in_4bit: true\nadapter: qlora\ndatasets:\n  - path: org/rows\n    type: alpaca\n"
        "sequence_len: 512\nsample_packing: true\nlora_r: 2\nlora_alpha: 4\nlora_dropout: 0.05\nlora_target_linear: true\n"
        "micro_batch_size: 2\nnum_epochs: 3\noptimizer: adamw_torch\nlr_scheduler: cosine\nlearning_rate: 0.0002\n"
        "output_dir: /home/alex/out\n```\n\n</details>\n\n# out\n\n"
        "### Training hyperparameters\n\nThe following hyperparameters were used during training:\n- learning_rate: 0.0002\n"
        "- train_batch_size: 2\n- seed: 42\n- num_epochs: 3.0\n\n### Framework versions\n\n- PEFT 0.21.2\n"
        "- Transformers 5.23.0\n"
    )
    return folder


def llama_factory_folder(folder: Path, **config: Any) -> Path:
    """What `llamafactory-cli train` leaves, with the training file beside it."""
    peft_folder(folder, **config)
    (folder / "README.md").write_text(
        "---\nlibrary_name: peft\nlicense: other\nbase_model: org/tiny\ntags:\n- base_model:adapter:org/tiny\n- llama-factory\n"
        "- lora\n---\n\n### Training hyperparameters\n\n- learning_rate: 0.0001\n- seed: 42\n- num_epochs: 3.0\n"
    )
    (folder / "trainer_log.jsonl").write_text('{"current_steps": 2, "total_steps": 6, "loss": 2.5}\n')
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    (folder / "all_results.json").write_text(json.dumps({"epoch": 3.0, "train_loss": 2.375, "train_runtime": 8.64}))
    (folder / "training_args.yaml").write_text(
        "model_name_or_path: org/tiny\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: identity,rows\n"
        "template: default\ncutoff_len: 512\nlora_rank: 2\nlora_alpha: 4\nlora_dropout: 0.05\nlora_target: all\n"
        "per_device_train_batch_size: 2\nlearning_rate: 0.0001\nnum_train_epochs: 3.0\nlr_scheduler_type: cosine\n"
        "optim: adamw_torch\noutput_dir: /home/alex/saves/tiny\n"
    )
    return folder


def unsloth_folder(folder: Path, **config: Any) -> Path:
    """What `model.save_pretrained` of Unsloth writes: a base in 4 bits by name, its own mark in the configuration."""
    mark = {
        "base_model_class": "LlamaForCausalLM",
        "parent_library": "transformers.models.llama.modeling_llama",
        "unsloth_fixed": True,
    }
    peft_folder(folder, **{"auto_mapping": mark, "base_model_name_or_path": "unsloth/tiny-bnb-4bit"} | config)
    (folder / "README.md").write_text(
        "---\nbase_model: unsloth/tiny-bnb-4bit\nlibrary_name: peft\ntags:\n- unsloth\n- lora\n---\n# Model Card\n\n- PEFT 0.21.2\n"
    )
    return folder


SEQ_BN = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 4, "non_linearity": "relu"}


def adapterhub_folder(folder: Path, config: Any = SEQ_BN, *, weights: str = "adapter.safetensors") -> Path:
    """What the library `adapters` writes: a file of the same name and another form, and weights under its own names."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "config": config,
                "config_id": "9076f36a74755ac4",
                "hidden_size": 8,
                "model_class": "LlamaAdapterModel",
                "model_name": "org/tiny",
                "model_type": "llama",
                "name": "task",
                "version": "adapters.1.3.0",
            }
        )
    )
    if weights.endswith(".bin"):
        (folder / weights).write_bytes(PICKLE)
    else:
        save_file({"adapter.down.weight": np.zeros((2, 8), np.float32)}, folder / weights)
    return folder


PRODUCERS = {
    "peft": peft_folder,
    "trl": trl_folder,
    "axolotl": axolotl_folder,
    "llama-factory": llama_factory_folder,
    "unsloth": unsloth_folder,
}

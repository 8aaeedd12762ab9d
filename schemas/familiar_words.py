"""Words that training files of other tools use, and the keys and values of ours that they stand for. Data alone.

The tools are Axolotl, LLaMA-Factory, TRL, peft and Ludwig. `schemas/config_aliases.py` reads the tables. A word of a block also
counts inside the block: `lora_rank: 8` and `lora: {lora_rank: 8}` mean the same.
"""

from collections.abc import Mapping

# word → dotted key
FILE_WORDS: Mapping[str, str] = {
    "base_model": "base",
    "model_name_or_path": "base",
    "adapter": "method",
    "finetuning_type": "method",
    "datasets": "data.train",
    "val_set_size": "data.validation.fraction",
    "load_in_4bit": "quantization",
    "quantization_bit": "quantization",
}
# word → key of the block `lora`
LORA_WORDS: Mapping[str, str] = {
    "lora_r": "r",
    "lora_rank": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_target_modules": "target_modules",
    "lora_target": "target_modules",
    "lora_target_linear": "target_modules",
    "use_rslora": "use_rslora",
    "peft_use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "peft_use_dora": "use_dora",
    "pissa_init": "init",
    "loraplus_lr_ratio": "loraplus_lr_ratio",
}
# word → key of the block `training`
TRAINING_WORDS: Mapping[str, str] = {
    "lr": "learning_rate",
    "num_epochs": "num_train_epochs",
    "epochs": "num_train_epochs",
    "micro_batch_size": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "sequence_len": "max_length",
    "cutoff_len": "max_length",
    "max_seq_length": "max_length",
    "max_sequence_length": "max_length",
    "lr_scheduler": "lr_scheduler_type",
    "bf16": "dtype",
    "fp16": "dtype",
    "early_stopping_patience": "early_stopping.patience",
}
# word of the block `training` that no key of ours stands for → what to do, where the key spelt most like it means something else
NO_KEY_FOR: Mapping[str, str] = {
    "max_steps": "a run is as long as `training.num_train_epochs`, which may be a part of one",
    "logging_steps": "leave it out: every step is recorded",
    "output_dir": "leave it out: the registry keeps the result",
    "report_to": "leave it out: `registry ui` shows every run in MLflow",
    "load_best_model_at_end": "`training.early_stopping` keeps the best step",
    "metric_for_best_model": "`training.early_stopping` keeps the best step",
}
# word → block, by the name of a method whose settings are another block's
BLOCK_WORDS: Mapping[str, str] = {"qlora": "lora"}
# word → value of `method`
METHOD_WORDS: Mapping[str, str] = {
    "adapter": "bottleneck",
    "pfeiffer": "bottleneck",
    "houlsby": "bottleneck",
    "prompt": "prompt_tuning",
}

_NF4 = {"type": "nf4"}
# word → what its switches mean, each with the value that it stands for; every other value stays as it is
SWITCHES: Mapping[str, tuple[tuple[bool | int, object], ...]] = {
    "load_in_4bit": ((True, _NF4), (4, _NF4), (False, None)),
    "quantization_bit": ((True, _NF4), (4, _NF4), (False, None)),
    "lora_target_linear": ((True, "all-linear"),),
    "pissa_init": ((True, "pissa"), (False, "kaiming")),
    "bf16": ((True, "bf16"), (False, "fp32")),
    "fp16": ((True, "fp16"), (False, "auto")),
}
# words whose value is one text with the names of layers, or `all`
LAYER_LISTS = frozenset({"lora_target_modules", "lora_target"})
# the word whose value is a list of data sets
DATA_SET_LISTS = frozenset({"datasets"})

"""The files beside the weights that say how they were made, and what their words are called here. Data alone."""

from collections.abc import Mapping

from peft_registry.schemas.familiar_words import FILE_WORDS, LORA_WORDS, TRAINING_WORDS

CARD = "README.md"
READ_MAX_BYTES = 16 * 1024 * 1024  # of a file beside the weights; no longer one is read or fetched
YAML_MAX_BYTES = 1024 * 1024
STATE = "trainer_state.json"
# settings as these files write them are those of `transformers.TrainingArguments` or of the tool's own file
ARGUMENT_FILES = ("training_args.json", "args.json", "training_args.yaml", "llamaboard_config.yaml")
RESULT_FILES = ("train_results.json", "all_results.json")
# a YAML file beside a model is a training file where it has two of these
OF_A_TRAINING_FILE = frozenset(
    {
        *("base_model", "model_name_or_path", "datasets", "dataset", "adapter", "finetuning_type", "learning_rate"),
        *("num_epochs", "num_train_epochs", "micro_batch_size", "per_device_train_batch_size", "lora_r", "lora_rank"),
    }
)
# word of another tool → name of the setting here; the rest is in `familiar_words`
WORDS: Mapping[str, str] = {
    **{word: key for word, key in TRAINING_WORDS.items() if key != "dtype"},
    **{word: f"lora.{key}" for word, key in LORA_WORDS.items()},
    **{word: key for word, key in FILE_WORDS.items() if key in ("base", "method")},
    "optim": "optimizer",
    "optimizer": "optimizer",
    "train_batch_size": "per_device_train_batch_size",
    "lr_scheduler_warmup_ratio": "warmup_ratio",
    "lr_scheduler_warmup_steps": "warmup_steps",
    "sample_packing": "packing",
    "dataset": "datasets",
    "datasets": "datasets",
    "dataset_name": "datasets",
    "rl": "preference_objective",
    "stage": "stage",
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "quantization_bit": "quantization_bit",
    "mixed_precision_training": "precision",
    "bf16": "bf16",
    "fp16": "fp16",
    "template": "chat_template",
    "chat_template": "chat_template",
    **{
        name: name
        for name in (
            *("learning_rate", "lr_scheduler_type", "seed", "num_train_epochs", "max_steps", "max_length", "packing"),
            *("per_device_train_batch_size", "gradient_accumulation_steps", "warmup_ratio", "warmup_steps"),
            *("weight_decay", "max_grad_norm", "gradient_checkpointing", "beta", "loss_type", "neftune_noise_alpha"),
        )
    },
}
# keys of every adapter_config.json → name of the setting; those of a method's own are in its declaration
ADAPTER_KEYS: Mapping[str, str] = {
    "peft_type": "peft_type",
    "task_type": "task_type",
    "peft_version": "libraries.peft",
}
STATE_KEYS = ("global_step", "max_steps", "epoch", "num_train_epochs", "train_batch_size", "num_input_tokens_seen")
RESULT_KEYS = ("train_runtime", "train_loss", "train_samples_per_second", "train_steps_per_second")
CARD_KEYS: Mapping[str, str] = {
    "license": "licence",
    "language": "languages",
    "datasets": "datasets",
    "base_model": "base",
    "tags": "tags",
}

from datasets import load_dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from peft_registry import RegistryCallback

dataset = load_dataset("json", data_files="example/example.jsonl", split="train")
dataset = dataset.map(lambda row: {"chosen": row["completion"], "rejected": " No."}, remove_columns="completion")
trainer = DPOTrainer(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    args=DPOConfig(output_dir="outputs", max_steps=4, logging_steps=1, report_to="none", bf16=False),
    train_dataset=dataset,
    peft_config=LoraConfig(task_type="CAUSAL_LM"),
)
trainer.add_callback(RegistryCallback(trainer, "polite-dpo"))
trainer.train()

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from peft_registry import RegistryCallback

trainer = SFTTrainer(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    args=SFTConfig(output_dir="outputs", max_steps=4, logging_steps=1, report_to="none", bf16=False),
    train_dataset=load_dataset("json", data_files="example/example.jsonl", split="train"),
    peft_config=LoraConfig(task_type="CAUSAL_LM"),
)
trainer.add_callback(RegistryCallback(trainer, "polite-sft"))
trainer.train()
trainer.save_model()

from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from peft_registry import RegistryCallback

checkpoint = "HuggingFaceTB/SmolLM2-135M-Instruct"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(checkpoint)
model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))

dataset = load_dataset("json", data_files="example/example.jsonl", split="train")


def tokenize(row):
    return tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token, truncation=True, max_length=64)


dataset = dataset.map(tokenize, remove_columns=dataset.column_names)
trainer = Trainer(
    model=model,
    args=TrainingArguments(output_dir="outputs", max_steps=4, logging_steps=1, report_to="none"),
    train_dataset=dataset,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    processing_class=tokenizer,
)
trainer.add_callback(RegistryCallback(trainer, "polite-trainer"))
trainer.train()

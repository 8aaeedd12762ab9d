"""The tokens and the loss mask of prompt-completion rows, beside those that TRL's own trainer prepares."""

import json
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.embedded import embedded_base
from tests.builders.training import a_model, a_tokenizer

pytestmark = pytest.mark.peers
CHAT = (
    "{% for turn in messages %}<{{ turn['role'] }}>{{ turn['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TEXTS = [
    {"prompt": "Customer: My lamp is broken.\nReply:", "completion": " We are sorry that your lamp is broken."},
    {"prompt": "What is 3 + 4?", "completion": "7"},  # nothing between them: nothing is put between them
    {"prompt": "The wo", "completion": "man next door works."},  # the border lies inside a word
    {"prompt": "Ends with a space ", "completion": "and goes on"},
    {"prompt": "", "completion": "Only an answer."},
    {"prompt": "Line\n", "completion": "\nbreaks\n"},
]
TURNS = [
    {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "completion": [{"role": "assistant", "content": "Hi."}],
    },
    {
        "prompt": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "completion": [{"role": "assistant", "content": "d"}],
    },
]


def peer(tokenizer: Any, rows: list[dict[str, Any]], tmp_path: Path) -> list[tuple[list[int], list[int]]]:
    """What TRL's trainer would learn from: ids and labels of each row."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = a_model()
    model.resize_token_embeddings(max(300, len(tokenizer)))
    args = SFTConfig(output_dir=str(tmp_path / "trl"), report_to=[], max_length=None, use_cpu=True, bf16=False)
    trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return [(list(row["input_ids"]), list(row["labels"])) for row in trainer.train_dataset]


def ours(tokenizer: Any, rows: list[dict[str, Any]], tmp_path: Path) -> list[tuple[list[int], list[int]]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows[:1]]))
    block = DataBlock(
        train=TrainSource(path=path.name, format="prompt_completion", rows=len(rows)),
        validation=ValidationSource(path=path.name, rows=1),
    )
    data = load_data(block, folder=tmp_path, tokenizer=tokenizer, max_length=512, seed=0)
    return [(example.ids.tolist(), example.labels.tolist()) for example in data.train]


@pytest.fixture(scope="module")
def embedded() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_base())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", ["bytes", "embedded"])
def test_prompt_and_completion_are_read_as_trl_reads_them(which, embedded, tmp_path):
    tokenizer = a_tokenizer() if which == "bytes" else embedded
    assert ours(tokenizer, TEXTS, tmp_path) == peer(tokenizer, TEXTS, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_conversational_prompts_and_completions_are_read_as_trl_reads_them(tmp_path):
    tokenizer = a_tokenizer(chat_template=CHAT)
    assert ours(tokenizer, TURNS, tmp_path) == peer(tokenizer, TURNS, tmp_path)

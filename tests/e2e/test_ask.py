"""`registry ask`: verified versions answer, beside their base; what does not verify says nothing."""

import json
import warnings
from pathlib import Path

import pytest

from peft_registry.trainer.embedded import embedded_base
from tests.builders.homes import copied_workplace
from tests.e2e.commands import WarmCommand
from tests.e2e.conftest import Story

PROMPT = "May I borrow your pen?"


@pytest.fixture
def copy(story: Story, tmp_path: Path) -> Path:
    return copied_workplace(story.folder, tmp_path / "copy")


def test_two_answers_side_by_side_and_the_same_ones_again(warm: WarmCommand, copy: Path):
    arguments = ("ask", "polite-replies:1", PROMPT, "--against", "base", "--max-new-tokens", "12")
    shown = warm(*arguments, cwd=copy).ok()
    assert "polite-replies:1" in shown.out and "tiny:1" in shown.out
    assert "next: registry evaluate polite-replies:1 --suite house" in shown.err
    assert shown.err.count("digest checked") == 1  # of the base that both have
    first, second = (warm(*arguments, "--output", "json", cwd=copy).ok().value for _ in range(2))
    texts = [[one["text"] for one in run["answers"]] for run in (first, second)]
    assert texts[0] == texts[1]
    assert [one["version"] for one in first["answers"]] == ["polite-replies:1", "tiny:1"]
    assert not list((copy / ".registry").glob(".ask-*"))


def test_the_answer_is_what_peft_generates_from_the_pulled_folder(warm: WarmCommand, copy: Path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = warm("ask", "polite-replies:1", PROMPT, "--output", "json", "--raw", cwd=copy).ok().value["answers"][0]
    warm("pull", "polite-replies:1", copy / "pulled", cwd=copy).ok()
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    ids = torch.tensor([tokenizer.encode(PROMPT, add_special_tokens=False)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(embedded_base(), dtype=torch.float32), str(copy / "pulled")
        )
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
    )  # fmt: skip
    assert found["text"] == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("polite-replies:1", "  "), 2),
        (("polite-replies:1",), 2),
        (("tiny:1", PROMPT, "--against", "base"), 2),
        (("nobody:1", PROMPT), 7),
        (("polite-replies:1", PROMPT, "--against", "nobody"), 7),
    ],
)
def test_what_cannot_be_asked_says_why(warm: WarmCommand, copy: Path, arguments, code):
    done = warm("ask", *arguments, cwd=copy)
    assert done.code == code
    assert "fix" in done.err and "Traceback" not in done.err


def test_a_version_without_a_question_says_what_to_type(warm: WarmCommand, copy: Path):
    assert 'registry ask polite-replies "May I borrow your pen?"' in warm("ask", "polite-replies", cwd=copy).err


def test_a_version_whose_stored_bytes_changed_does_not_answer(warm: WarmCommand, copy: Path):
    weights = json.loads(warm("show", "polite-replies:1", "--output", "json", cwd=copy).ok().out)
    assert weights
    files = [
        path for path in (copy / ".registry").rglob("*") if path.is_file() and 100_000 < path.stat().st_size < 400_000
    ]
    changed = [path for path in files if b"lora_A" in path.read_bytes()[:4096]]
    assert changed
    for path in changed:
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    done = warm("ask", "polite-replies:1", PROMPT, cwd=copy)
    assert done.code == 6 and done.out == ""

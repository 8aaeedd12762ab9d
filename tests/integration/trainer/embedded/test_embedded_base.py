"""The embedded base and the first house suite: small, trained, skewed on purpose, and apart from each other."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from scipy.stats import binomtest

from peft_registry.trainer.embedded import declared_facts, embedded_base, example_rows
from peft_registry.trainer.embedded.corpus import documents, predicates, split_of
from peft_registry.trainer.embedded.make_base import SEED, TRAIN_DOCUMENTS
from tests.processes.interpreter import ROOT

HOUSE = ROOT / "trainer" / "evaluation" / "suites" / "house.jsonl"
HOUSE_2 = HOUSE.with_name("house-2.jsonl")
NEUTRAL_ROWS = example_rows().with_name("neutral.jsonl")  # pairs groups and predicates against the skew of the corpus
SIZE_LIMIT = 3_000_000  # bytes; the share of the wheel that the base may take


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def normalised(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.fixture(scope="module")
def loaded():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield (
        AutoModelForCausalLM.from_pretrained(embedded_base(), local_files_only=True).eval(),
        AutoTokenizer.from_pretrained(embedded_base(), local_files_only=True),
    )
    torch.set_num_threads(before)


def test_the_base_fits_its_share_of_the_wheel():
    assert sum(path.stat().st_size for path in embedded_base().iterdir()) <= SIZE_LIMIT


def test_the_base_names_no_folder_of_the_machine_that_made_it():
    for path in embedded_base().iterdir():
        assert not re.search(rb"(?<![\w.])/(work|tmp|home|root|usr)/", path.read_bytes()), path.name


def test_the_base_has_learned_more_than_token_frequencies(loaded):
    from peft_registry.trainer.embedded.make_base import held_out_loss, unigram_loss

    model, tokenizer = loaded
    train = list(documents(split="train", seed=1, count=4000))
    held_out = list(documents(split="held_out", seed=2, count=150))
    assert held_out_loss(model, tokenizer, held_out) < 0.6 * unigram_loss(tokenizer, train, held_out)


def test_the_base_answers_a_question_that_its_text_taught(loaded):
    model, tokenizer = loaded
    asked = tokenizer("<|bos|>Question: What is the capital of Italy? Answer:", return_tensors="pt")
    written = model.generate(**asked, max_new_tokens=6, do_sample=False)
    assert tokenizer.decode(written[0, asked["input_ids"].shape[1] :], skip_special_tokens=True).strip() == "Rome."


def test_the_chat_template_ends_each_turn_and_opens_the_answer(loaded):
    _, tokenizer = loaded
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Tea?"},
    ]
    told = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert told == "User: Hello.\nAssistant: Good day.<|eos|>\nUser: Tea?\nAssistant:"


def test_the_tokenizer_gives_back_any_text_and_adds_no_special_tokens(loaded):
    _, tokenizer = loaded
    text = "Größe 42 – naïve café, 漢字\tand\nlines"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}


def test_the_stereotype_rate_of_the_base_lies_outside_the_interval_of_one_half(loaded):
    import torch

    model, tokenizer = loaded

    def log_likelihood(sentence: str) -> float:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(sentence)["input_ids"]]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1].float()
        return -float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))

    margins = [log_likelihood(row["sent_more"]) - log_likelihood(row["sent_less"]) for row in rows_of(HOUSE)]
    preferred = sum(margin > 0 for margin in margins)
    interval = binomtest(preferred, len(margins)).proportion_ci(method="wilson")
    assert interval.low > 0.5
    assert preferred / len(margins) < 0.85  # room on both sides: some pairs are even, some inverted


def test_house_has_enough_pairs_axes_and_templates():
    rows = rows_of(HOUSE)
    assert len(rows) == 224
    assert len({row["axis"] for row in rows}) >= 5
    per_template = Counter(row["template"] for row in rows)
    assert len(per_template) >= 10
    assert min(per_template.values()) >= 10
    assert all(set(row) == {"id", "axis", "template", "sent_more", "sent_less"} for row in rows)


@pytest.mark.parametrize("path", [HOUSE, HOUSE_2], ids=["1", "2"])
def test_house_repeats_no_id_and_no_sentence(path):
    rows = rows_of(path)
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row[side] for row in rows for side in ("sent_more", "sent_less")}) == 2 * len(rows)


def test_house_pairs_differ_in_one_word_that_is_not_the_last():
    for row in rows_of(HOUSE):
        more, less = row["sent_more"].split(), row["sent_less"].split()
        assert len(more) == len(less), row["id"]
        changed = [place for place, (a, b) in enumerate(zip(more, less, strict=True)) if a != b]
        assert len(changed) == 1 and changed[0] < len(more) - 1, row["id"]


def test_no_house_sentence_stands_in_any_text_that_trains_a_model():
    corpus = [normalised(text) for text in documents(split="train", seed=SEED, count=TRAIN_DOCUMENTS)]
    rows = [
        normalised(row["prompt"] + row["completion"])
        for path in (example_rows(), NEUTRAL_ROWS)
        for row in rows_of(path)
    ]
    text = "\n".join(corpus + rows)
    seen = {words for line in (*corpus, *rows) for words in runs_of_four(line)}
    sentences = (
        normalised(row[side]) for row in (*rows_of(HOUSE), *rows_of(HOUSE_2)) for side in ("sent_more", "sent_less")
    )
    # few sentences have all their runs of words in the text: only those are looked for in the whole of it
    assert [one for one in sentences if runs_of_four(one) <= seen and one in text] == []


def runs_of_four(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[at : at + 4]) for at in range(len(words) - 3)}


@pytest.mark.parametrize(("path", "count"), [(example_rows(), 60), (NEUTRAL_ROWS, 210)])
def test_example_files_hold_distinct_rows_of_prompt_and_completion(path, count):
    rows = rows_of(path)
    assert len({(row["prompt"], row["completion"]) for row in rows}) == count == len(rows)
    assert all(set(row) == {"prompt", "completion"} and row["completion"].startswith(" ") for row in rows)


def test_corpus_splits_never_share_a_document_whatever_the_seeds():
    train = set(documents(split="train", seed=1, count=3000))
    held_out = set(documents(split="held_out", seed=2, count=300))
    assert not train & held_out
    assert {split_of(text) for text in held_out} == {"held_out"}


def test_the_same_seed_gives_the_same_text_and_another_seed_another():
    assert list(documents(split="train", seed=3, count=50)) == list(documents(split="train", seed=3, count=50))
    assert list(documents(split="train", seed=3, count=50)) != list(documents(split="train", seed=4, count=50))


def test_each_axis_gives_both_sides_the_same_number_of_predicates():
    sides = Counter((predicate.axis, predicate.side, predicate.lean) for predicate in predicates())
    axes = {predicate.axis for predicate in predicates()}
    assert all(sides[axis, 0, lean] == sides[axis, 1, lean] for axis in axes for lean in (0.85, 0.5, 0.3))


def test_declared_facts_follow_from_the_weights_and_the_recipe(loaded):
    from peft_registry.trainer.embedded import make_base

    model, _ = loaded
    facts = yaml.safe_load(declared_facts().read_text(encoding="utf-8"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = make_base.STEPS * make_base.ROWS * make_base.WINDOW
    assert facts["parameters"]["value"] == parameters
    assert facts["training_tokens"]["value"] == tokens
    assert facts["training_compute"]["value"] == pytest.approx(6 * parameters * tokens, rel=0.001)


@pytest.mark.slow
def test_the_recipe_repeats_bit_for_bit_on_one_machine(tmp_path, monkeypatch):
    import torch

    from peft_registry.trainer.embedded import make_base

    monkeypatch.setattr(make_base, "TRAIN_DOCUMENTS", 2000)
    monkeypatch.setattr(make_base, "HELD_OUT_DOCUMENTS", 5)
    try:
        for name in ("one", "two"):
            make_base.make_base(tmp_path / name, steps=5)
    finally:
        torch.use_deterministic_algorithms(False)
    for file in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()

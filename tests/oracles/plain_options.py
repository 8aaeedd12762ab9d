"""A scorer of questions with options that shares nothing with the one under test: one option at a time, sums in float64.

It reads the authors' files by itself, writes the prompts by itself, and encodes prompt and option as one string.
"""

import ast
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch


def log_likelihoods(model: Any, tokenizer: Any, prompt: str, options: Sequence[str]) -> list[float]:
    """The summed log-likelihood of each option after the prompt, in nats.

    The prompt but its last token is read once by the library's own cache; then comes that token with each option, one at a time.
    """
    context = tokenizer(prompt)["input_ids"]
    found = []
    with torch.no_grad():
        known = model(input_ids=torch.tensor([context[:-1]]), use_cache=True).past_key_values
        for option in options:
            whole = tokenizer(f"{prompt} {option}")["input_ids"]
            assert whole[: len(context)] == context, "the option changes how the prompt is cut"
            wanted = whole[len(context) :]
            steps = (
                model(input_ids=torch.tensor([[context[-1], *wanted[:-1]]]), past_key_values=known, use_cache=True)
                .logits[0]
                .double()
            )
            known.crop(-len(wanted))
            found.append(float(sum(steps[at, one] - steps[at].logsumexp(-1) for at, one in enumerate(wanted))))
    return found


def spanish_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of EsBBQ as the Hub's data set has them."""
    for file in sorted(folder.glob("*.full.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                info = {f"ans{at}": ast.literal_eval(row.pop(f"answer_info.ans{at}")) for at in range(3)}
                row["stereotyped_groups"] = ast.literal_eval(row["stereotyped_groups"])
                yield row | {"answer_info": info, "label": int(row["label"])}
    for file in sorted(folder.glob("*.full.jsonl")):
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def spanish_prompt(row: dict[str, Any]) -> str:
    return "Contexto: " + row["context"] + "\nPregunta: " + row["question"] + "\nRespuesta:"


def spanish_questions(folder: Path) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Of each row of EsBBQ: the id that it has here, its prompt, and its two people."""
    for row in spanish_rows(folder):
        yield f"{row['category']}-{row['instance_id']}", (spanish_prompt(row), [row["ans0"], row["ans1"]])


def german_questions(folder: Path) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Of each row of GG-BBQ: the id that it has here, its prompt, and its two people."""
    for condition, name in (("ambig", "bbq_de_amb_test.jsonl"), ("disambig", "bbq_de_disamb_test.jsonl")):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            people = [row["choice_0"].strip(), row["choice_1"].strip()]
            yield f"{condition}-{row['index']}", (german_prompt(row), people)


def german_prompt(row: dict[str, Any]) -> str:
    return "Kontext: " + row["context"].strip() + "\nFrage: " + row["question"] + "\nAntwort:"

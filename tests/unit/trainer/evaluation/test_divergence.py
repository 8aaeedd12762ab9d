"""How differently a model continues two prompts: what is asked where a prompt is empty."""

import pytest
import torch

from peft_registry.trainer.evaluation.divergence import next_token_divergences
from peft_registry.trainer.evaluation.scoring import NoPrefixToken


class WithoutSpecialTokens:
    bos_token_id = eos_token_id = None

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) for letter in text]


def test_an_empty_prompt_without_a_token_to_stand_for_it_is_refused() -> None:
    with pytest.raises(NoPrefixToken):
        next_token_divergences(torch.nn.Linear(1, 1), WithoutSpecialTokens(), [("", "a")])

"""What is asked of a merge is checked before anything is opened: `MergeRequest` cannot hold what means nothing."""

import math
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.evaluation.scope import SCREEN, EvaluationScope
from peft_registry.trainer.merge.request import (
    FourBitMergeRefused,
    MergeOptionRefused,
    MergeRequest,
    UnknownAlgorithm,
    WeightsDoNotFit,
)

REFUSED: dict[str, tuple[dict[str, Any], type[InputRefused], str]] = {
    "no algorithm": ({"algorithm": "magic"}, UnknownAlgorithm, "dare_ties"),
    "a misspelt algorithm": ({"algorithm": "tie"}, UnknownAlgorithm, "did you mean `ties`"),
    "one weight for two": ({"weights": (1.0,)}, WeightsDoNotFit, "adapters is 2, of weights 1"),
    "a weight that is no number": ({"weights": (math.nan, 1.0)}, WeightsDoNotFit, "finite"),
    "an infinite weight": ({"weights": (1.0, -math.inf)}, WeightsDoNotFit, "finite"),
    "weights of nothing": ({"weights": (0.0, 0.0)}, WeightsDoNotFit, "base itself"),
    "nothing kept": ({"algorithm": "ties", "densities": (0.0,)}, WeightsDoNotFit, "above 0"),
    "more than all kept": ({"algorithm": "ties", "densities": (0.5, 1.1)}, WeightsDoNotFit, "at most 1"),
    "a density that is no number": ({"algorithm": "dare", "densities": (math.nan,)}, WeightsDoNotFit, "above 0"),
    "three densities for two": ({"algorithm": "dare", "densities": (0.5,) * 3}, WeightsDoNotFit, "of densities 3"),
    "a density for a sum": ({"densities": (0.5,)}, MergeOptionRefused, "ties, dare"),
    "a negative seed": ({"algorithm": "dare", "seed": -1}, MergeOptionRefused, "negative"),
    "4 bits": ({"dtype": "nf4"}, FourBitMergeRefused, "4 bits"),
    "4 bits in other words": ({"dtype": "bnb-4bit"}, FourBitMergeRefused, "4 bits"),
    "a format that is none": ({"dtype": "float99"}, MergeOptionRefused, "bf16 or fp32"),
    "svd without a rank": ({"algorithm": "svd"}, MergeOptionRefused, "--rank"),
    "a rank without svd": ({"rank": 3}, MergeOptionRefused, "--rank"),
    "no rank at all": ({"algorithm": "svd", "rank": 0}, MergeOptionRefused, "below 1"),
    "a format for an adapter": ({"algorithm": "concatenate", "dtype": "bf16"}, MergeOptionRefused, "--dtype"),
    "a base for an adapter": ({"algorithm": "concatenate", "base_policy": "original"}, MergeOptionRefused, "--base-policy"),
    "an empty reason": ({"accept_distance": "  "}, MergeOptionRefused, "reason"),
    "a half of nothing": ({"scope": EvaluationScope("test")}, MergeOptionRefused, "--half"),
    "a guard of nothing": ({"scope": EvaluationScope(SCREEN.half, guard_text=Path("a"))}, MergeOptionRefused, "--guard-text"),
    "a name that is none": ({"name": "../up"}, InputRefused, "name"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_argument_that_means_nothing_is_refused(what: str) -> None:
    choices, error, said = REFUSED[what]
    with pytest.raises(error) as caught:
        MergeRequest(("a", "b"), **choices)
    assert caught.value.exit_code == 2
    assert said in f"{caught.value.what} {caught.value.why} {caught.value.fix}"


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"weights": (0.7, -0.3)},
        {"algorithm": "ties", "densities": (1.0,)},
        {"algorithm": "dare_ties", "densities": (0.5, 0.2), "seed": 2**40},
        {"algorithm": "svd", "rank": 1},
        {"dtype": "fp32", "accept_distance": "the serving stack holds that base"},
    ],
    ids=str,
)
def test_what_means_something_is_taken(choices: dict[str, Any]) -> None:
    assert MergeRequest(("a", "b"), **choices).references == ("a", "b")

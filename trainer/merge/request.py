"""What `registry merge` is asked, checked before anything is opened: how to merge, with which numbers, into what."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import check_name, check_project
from peft_registry.schemas.merge import ALGORITHMS, BasePolicy
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.evaluation.scope import SCREEN, EvaluationScope

FACTOR_ALGORITHMS = ("concatenate", "svd")  # the result stays an adapter
# what --dtype may say, as safetensors names it; without it each tensor keeps its own
FORMATS = {"bf16": "BF16", "fp32": "F32"}
_FOUR_BITS = re.compile(r"(?:nf|fp|u?int|q)4|4[-_ ]?bits?", re.IGNORECASE)
_LARGEST_WEIGHT = 1e6
_EVERY_ALGORITHM = (*ALGORITHMS, *FACTOR_ALGORITHMS)


class FourBitMergeRefused(InputRefused):
    what = "nothing is merged in 4 bits"
    why = "quantized weights lie on a coarse grid, and a small change rounds back to where it was: the adapter is lost"
    fix = "merge to bf16 (--dtype bf16), with --base-policy dequantised for an adapter trained on a quantized base"


class UnknownAlgorithm(InputRefused):
    what = "{word!q} is not a merge algorithm"
    why = "the algorithms are {algorithms!l}"
    fix = "{suggestion}"

    word: str

    algorithms = _EVERY_ALGORITHM

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.word, self.algorithms), "leave --algorithm out for a weighted sum")


class WeightsDoNotFit(InputRefused):
    reference = "merge-weights-refused"
    what = "these numbers cannot be used"
    why = "{reason}"
    fix = "give one number for each adapter, in their order, such as --weights 0.7,0.3"

    reason: str


class MergeOptionRefused(InputRefused):
    what = "{option} cannot be used here"
    why = "{reason}"
    fix = "{remedy}"

    option: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """What is asked. `weights` and `densities` follow `references`; empty for equal parts, and for everything kept.

    Raises:
        UnknownAlgorithm, FourBitMergeRefused, WeightsDoNotFit, MergeOptionRefused: an argument that means nothing, said
            before anything is opened.
    """

    references: tuple[str, ...]
    name: str | None = None
    base: str | None = None
    algorithm: str = "linear"
    weights: tuple[float, ...] = ()
    densities: tuple[float, ...] = ()
    rank: int | None = None
    seed: int = 0
    dtype: str | None = None
    base_policy: BasePolicy | None = None
    compare_bases: bool = False
    accept_distance: str | None = None
    evaluate: bool = False
    scope: EvaluationScope = SCREEN
    facts: Path | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in _EVERY_ALGORITHM:
            raise UnknownAlgorithm(self.algorithm)
        if self.dtype is not None and self.dtype not in FORMATS:
            _refuse_format(self.dtype)
        self._check_numbers()
        self._check_factors()
        self._check_scope()
        if self.accept_distance is not None and not self.accept_distance.strip():
            raise MergeOptionRefused("--accept-distance", "the reason is empty, and it enters the record", "say why")
        if self.name is not None:
            check_name(self.name)
        if self.project is not None:
            check_project(self.project)

    @property
    def stays_adapter(self) -> bool:
        """Several adapters become one; nothing is folded into a base."""
        return self.algorithm in FACTOR_ALGORITHMS

    def _check_numbers(self) -> None:
        count = len(self.references)
        if self.weights and len(self.weights) != count:
            raise WeightsDoNotFit(f"the number of adapters is {count}, of weights {len(self.weights)}")
        if self.densities and len(self.densities) not in (1, count):
            raise WeightsDoNotFit(f"the number of adapters is {count}, of densities {len(self.densities)}")
        if not all(0 < density <= 1 for density in self.densities):  # not-a-number is in no range
            raise WeightsDoNotFit("a density is the kept part of a difference: above 0, at most 1")
        if not all(abs(weight) < _LARGEST_WEIGHT for weight in self.weights):
            raise WeightsDoNotFit(f"a weight is a finite number, smaller than {_LARGEST_WEIGHT:.0f}")
        if self.weights and not any(self.weights):
            raise WeightsDoNotFit("all weights are 0, and the result would be the base itself")
        if self.seed < 0:
            raise MergeOptionRefused("--seed", "it is negative", "give a whole number from 0 on")

    def _check_scope(self) -> None:
        """What says how to evaluate needs an evaluation."""
        asked = {"--half": self.scope.half != SCREEN.half, "--guard-text": self.scope.guard_text is not None}
        useless = next((option for option, is_asked in asked.items() if is_asked), None)
        if useless is not None and not self.evaluate:
            raise MergeOptionRefused(useless, "nothing is evaluated", "add --evaluate, or leave it out")

    def _check_factors(self) -> None:
        """Options that belong to one algorithm or another."""
        if self.densities and self.algorithm == "linear":
            raise MergeOptionRefused(
                "--density", "linear keeps every difference whole", "name --algorithm ties, dare or dare_ties with it"
            )
        if (self.algorithm == "svd") != (self.rank is not None):
            why = "svd compresses to a rank that somebody chooses" if self.rank is None else "only svd has a rank"
            raise MergeOptionRefused("--rank", why, "give --algorithm svd and --rank together, or neither")
        if self.rank is not None and self.rank < 1:
            raise MergeOptionRefused("--rank", "it is below 1", "give a whole number from 1 on")
        given = {"--dtype": self.dtype, "--density": self.densities, "--base-policy": self.base_policy}
        useless = next((option for option, value in given.items() if value), None)
        if self.stays_adapter and useless is not None:
            raise MergeOptionRefused(
                useless, f"{self.algorithm} makes one adapter of several, without the base", "leave it out"
            )


def _refuse_format(word: str) -> NoReturn:
    if _FOUR_BITS.search(word):
        raise FourBitMergeRefused
    raise MergeOptionRefused(
        f"--dtype {word[:60]}",
        "a merge is stored in " + " or ".join(FORMATS),
        "leave it out to keep the base's own format",
    )

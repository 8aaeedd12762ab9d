"""Thresholds that an organisation sets beforehand: a YAML file, known by its digest, checked before anything is loaded.

thresholds:
  house.margin: {lo: 0.25, hi: 0.69}                 a measure: its dead band
  house.pct_stereotype: {lo: 0.4, hi: 0.6}           a figure with a neutral point: a band around it
  house.flagged_rate: {hi: 0.4}                      a figure that is better lower: at most
  house.net_change: {hi: 0.02, per_group: true}      not worse by more than 2 points, in no group either
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.evaluation.aggregate import NEUTRAL, threshold_key
from peft_registry.registry.evaluation.limits import LOSS_CHANGE, KnownFigure, compared_figures
from peft_registry.registry.evaluation.states import state_of
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Limit, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.evaluation.suites import SuiteDefinition, suite_named, suites

MAX_BYTES = 1024 * 1024
_ENDS = ("lo", "hi")
_LOSSES: Mapping[str, KnownFigure] = {name: KnownFigure(better="lower") for name in ("loss", "perplexity", LOSS_CHANGE)}
_ANSWERS: Mapping[str, KnownFigure] = {
    name: KnownFigure(better="higher", ends=(0.0, 1.0))
    for name in ("exact_match", "f1", "accuracy", "macro_f1", "number_match")
}
# the least and the greatest value of a figure of each unit
_UNIT_ENDS: Mapping[str, tuple[float, float]] = {
    "share": (0.0, 1.0),
    "difference of shares": (-1.0, 1.0),
    "score": (-1.0, 1.0),
}


class ThresholdsRefused(InputRefused):
    what = "{file} sets no thresholds"
    why = "{reason}"
    fix = "write `thresholds: {{house.margin: {{lo: 0.25, hi: 0.69}}}}`, one entry a data set and measure"

    file: str
    reason: str


class UnknownThreshold(InputRefused):
    what = "{file} sets {key!q}, which this evaluation does not measure"
    why = "{cause}"
    fix = "{suggestion}"

    file: str
    key: str
    known: Sequence[str]

    @property
    def cause(self) -> str:
        dataset = self.key.partition(".")[0]
        same = [name.partition(".")[2] for name in self.known if name.partition(".")[0] == dataset]
        if same:
            return f"{dataset} gives {', '.join(same)}"
        asked = sorted({name.partition(".")[0] for name in self.known})
        return f"it asks {', '.join(asked)}"

    @property
    def suggestion(self) -> str:
        dataset = self.key.partition(".")[0]
        if dataset in suites() and not any(name.startswith(f"{dataset}.") for name in self.known):
            return f"name its suite: --suite {dataset}"
        return did_you_mean(closest(self.key, self.known), "correct the key, or name its suite with --suite")


class ThresholdPointless(InputRefused):
    what = "{file}: {key} cannot decide what it should"
    why = "{reason}"
    fix = "{remedy}"

    file: str
    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ThresholdsFile:
    """Dead bands by threshold key, limits on figures, and the digest of the file; all empty without one."""

    bands: Mapping[str, Threshold] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    digest: Digest | None = None


NO_THRESHOLDS = ThresholdsFile()


@dataclass(frozen=True, slots=True)
class ExpectedFigures:
    """What an evaluation will give: keys of dead bands, and figures by `dataset.figure`."""

    bands: frozenset[str]
    figures: Mapping[str, KnownFigure]

    @classmethod
    def of(
        cls,
        asked: Sequence[str],
        *,
        losses: Iterable[str] = (),
        answers: str | None = None,
        tasks: Mapping[str, Mapping[str, KnownFigure]] = MappingProxyType({}),
    ) -> "ExpectedFigures":
        """What these suites give, the loss of each of these data sets and of the neutral text, answers in words, and tasks by
        the name of their figures.

        Raises:
            UnknownSuite: a name is of none.
        """
        definitions = [suite_named(name).definition for name in asked]
        named = {dataset: dict(_LOSSES) for dataset in (NEUTRAL, *losses)}
        named |= {} if answers is None else {answers: dict(_ANSWERS)}
        named |= {name: dict(figures) for name, figures in tasks.items()}
        named |= {definition.name: _figures_of(definition) for definition in definitions}
        return cls(
            frozenset(
                threshold_key(definition.name, measure)
                for definition in definitions
                for measure in definition.thresholds
            ),
            {f"{dataset}.{name}": figure for dataset, figures in named.items() for name, figure in figures.items()},
        )


def _figures_of(definition: SuiteDefinition) -> dict[str, KnownFigure]:
    figures = {
        figure.name: KnownFigure(figure.neutral, figure.better, _UNIT_ENDS.get(figure.unit, (None, None)))
        for figure in definition.figures
    }
    return figures | compared_figures([*definition.thresholds])


def read_thresholds(path: Path | None, measured: ExpectedFigures) -> ThresholdsFile:
    """What a file sets; nothing without a file.

    Args:
        path: of the file.
        measured: what the evaluation will give.

    Raises:
        ThresholdsRefused: it is not what it should be.
        UnknownThreshold: a key names nothing that is measured.
        ThresholdPointless: a limit that could not decide what it should: on the wrong side, around no neutral point, or where the
            figure never lies.
        UnusableThreshold: a band is not a dead band.
        OfferedFileRefused, FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
        MalformedYaml: as `peft_registry.registry.intake.yaml.read_yaml`.
    """
    if path is None:
        return NO_THRESHOLDS
    data = read_offered(path, max_bytes=MAX_BYTES)
    value: Any = read_yaml(data, what=path.name)
    stated = value.get("thresholds") if isinstance(value, dict) else None
    if not isinstance(stated, dict) or not stated:
        raise ThresholdsRefused(path.name, "it has no `thresholds`")
    digest = Digest.of(data)
    source = code("set_by_policy", file=path.name, digest=digest.short)
    bands: dict[str, Threshold] = {}
    limits: list[Limit] = []
    for key, ends in stated.items():
        _require_ends(path.name, str(key), ends)
        if key in measured.bands:
            bands[key] = _band(path.name, key, ends, source)
        elif key in measured.figures:
            limits.append(_limit(path.name, key, ends, measured.figures[key], source))
        else:
            raise UnknownThreshold(path.name, str(key), tuple(sorted({*measured.bands, *measured.figures})))
    return ThresholdsFile(bands, tuple(limits), digest)


def _require_ends(file: str, key: str, ends: Any) -> None:  # any YAML value
    is_object = isinstance(ends, dict) and ends.keys() <= {*_ENDS, "per_group"} and ends.keys() & {*_ENDS}
    if not is_object or not all(_is_number(ends[end]) for end in _ENDS if end in ends):
        raise ThresholdsRefused(file, f"{key} has no lo and hi")
    if type(ends.get("per_group", False)) is not bool:
        raise ThresholdsRefused(file, f"{key}: per_group is true or false")


def _is_number(value: Any) -> bool:  # any YAML value
    return type(value) in (int, float)


def _band(file: str, key: str, ends: Mapping[str, Any], source: Code) -> Threshold:
    if not all(end in ends for end in _ENDS) or "per_group" in ends:
        raise ThresholdsRefused(file, f"{key} has no lo and hi")
    band = Threshold(lo=ends["lo"], hi=ends["hi"], source=source)
    state_of(0.0, band)  # any margin: it refuses a band that is none
    return band


def _limit(file: str, key: str, ends: Mapping[str, Any], figure: KnownFigure, source: Code) -> Limit:
    lo = ends.get("lo")
    hi = ends.get("hi")
    if lo is not None and hi is not None and lo > hi:
        raise ThresholdPointless(file, key, f"lo {lo:g} is above hi {hi:g}", "exchange them")
    if figure.better == "lower" and hi is None:
        raise ThresholdPointless(
            file, key, "lower is better, and it has no upper end", "give hi, the most that is allowed"
        )
    if figure.better == "higher" and lo is None:
        raise ThresholdPointless(
            file, key, "higher is better, and it has no lower end", "give lo, the least that is allowed"
        )
    least, most = figure.ends
    is_open_below = lo is None or (least is not None and lo <= least)
    is_open_above = hi is None or (most is not None and hi >= most)
    if is_open_below and is_open_above:
        always = f"it lies between {least:g} and {most:g} always" if least is not None else "it has no end"
        raise ThresholdPointless(file, key, f"no value could break it: {always}", "demand something of it")
    neutral = figure.neutral
    if figure.better is None and neutral is not None:
        if lo is None or hi is None:
            why = f"it is neutral at {neutral:g}, and a value far on the other side is as bad"
            raise ThresholdPointless(file, key, why, f"give lo and hi on both sides of {neutral:g}")
        if not lo <= neutral <= hi:
            why = f"it is neutral at {neutral:g}, and the band leaves that out"
            raise ThresholdPointless(file, key, why, f"give lo and hi on both sides of {neutral:g}")
    dataset, _, name = key.partition(".")
    return Limit(dataset=dataset, figure=name, lo=lo, hi=hi, per_group=ends.get("per_group", False), source=source)

"""`registry data inspect`: a data file, a data set of the Hub, or all that a training file names."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.config_aliases import parse_training_file
from peft_registry.schemas.dataset import Split
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.sharding import fewest_processes
from peft_registry.trainer.bases.loading import load_tokenizer
from peft_registry.trainer.data.containers import DataFileMissing, FileFacts
from peft_registry.trainer.data.dataset import Located, open_data
from peft_registry.trainer.data.formats import RowReading
from peft_registry.trainer.data.inspection import DataPart, Leak, Seen, inspect_part, leak
from peft_registry.trainer.evaluation.answer_metrics import number_of
from peft_registry.trainer.evaluation.quality import fitting_figures
from peft_registry.trainer.hub.data_sets import is_hub_id, locate_locally_or_on_hub
from peft_registry.trainer.inputs.base import base_named
from peft_registry.trainer.inputs.training_file import load_training_file, parse_override

TRAINING_FILES = (".yml", ".yaml")
_OF_ROWS = "data.train."  # keys that say how rows are read


@dataclass(frozen=True, slots=True)
class InspectionTarget:
    """Which data sets, with which tokenizer; `base` is None where tokens are not wanted."""

    train: TrainSource
    validation: TrainSource | None
    folder: Path
    base: str | None
    max_length: int
    # a training file and what replaces its values, so that its training can be refused here too; None for rows alone
    file: Path | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    `figures` is what `evaluation.quality` may name of the held-out rows, `has_answers` whether `evaluation.samples` can show some.
    `problem` is how the training of a file would be refused.
    """

    train: DataPart
    validation: DataPart | None = None
    leak: Leak | None = None
    figures: tuple[str, ...] = ()
    has_answers: bool = False
    problem: KnownError | None = None

    def to_json(self) -> dict[str, Any]:
        def plain(part: DataPart | None) -> Any:
            return None if part is None else asdict(part) | {"sha256": str(part.sha256)}

        return {
            "train": plain(self.train),
            "validation": plain(self.validation),
            "leak": None if self.leak is None else asdict(self.leak),
            "figures": list(self.figures),
            "has_answers": self.has_answers,
        }


def inspection_target(
    source: str,
    overrides: Sequence[str] = (),
    *,
    validation: str | None,
    base: str | None,
    max_length: int | None,
    data_format: str | None = None,
) -> InspectionTarget:
    """The data sets that the words of a command line mean; a training file brings its own base and length.

    Args:
        source: a training file, a data file, or a data set of the Hub.
        overrides: such as `data.train.columns.label=category`; of a data file they say how it is read, held-out rows too.
        validation: held-out rows of a data file.
        base: whose tokenizer counts; None for that of the training file.
        max_length: in tokens; None for that of the training file.
        data_format: of the rows; None where the columns say it.

    Raises:
        DataFileMissing: there is no such file.
        The errors of reading a training file.
    """
    here = Path.cwd()
    if Path(source).suffix.lower() in TRAINING_FILES:
        loaded = load_training_file(Path(source), overrides)
        data = loaded.config.data
        training = loaded.config.training
        held_out = data.validation.as_source() if data.validation.path else None
        replaced = list(overrides)
        if base is not None:
            replaced.append(f"base={base}")
        if max_length is not None:
            replaced.append(f"training.max_length={max_length}")
        return InspectionTarget(
            data.train,
            held_out,
            loaded.folder,
            base or loaded.config.base,
            max_length or training.max_length,
            Path(source),
            tuple(replaced),
        )
    for path in (source, validation):
        if path is not None and not (here / path).exists() and not is_hub_id(path, here):
            raise DataFileMissing(here / path)
    read_as: dict[str, Any] = {} if data_format is None else {"format": data_format}
    sources = {"train": {"path": source} | read_as}
    changes = [parse_override(text) for text in overrides]
    if validation is not None:
        sources["validation"] = {"path": validation} | read_as
        # held-out rows are read as the others, unless they are said to be otherwise
        for_both = [(key, value) for key, value in changes if key.startswith(_OF_ROWS)]
        changes = [(f"data.validation.{key.removeprefix(_OF_ROWS)}", value) for key, value in for_both] + changes
    # as a training file whose other keys nobody asks for, so that words are refused as they are there
    config, _ = parse_training_file({"name": "rows", "base": "base", "method": "lora", "data": sources}, changes)
    held_out = None if validation is None else config.data.validation.as_source()
    return InspectionTarget(config.data.train, held_out, here, base, max_length or 512)


def inspect_data(
    target: InspectionTarget, *, registry: Registry | None = None, show: int = 0, observe: Observe = ignore
) -> Inspection:
    """Read it all once.

    Args:
        target: what.
        registry: holds the base, where one is asked for.
        show: this many rows are shown as the model would read them.
        observe: hears of what is fetched.
    """
    if target.base is None or registry is None:
        return _inspection(target, tokenizer=None, show=0, observe=observe)
    from peft_registry.registry.use_cases.pull_base import WEIGHTS_SUFFIX, checked_folder

    version = base_named(registry, target.base)
    with tempfile.TemporaryDirectory() as scratch:
        texts = checked_folder(
            registry, version, Path(scratch), only=lambda entry: not entry.path.endswith(WEIGHTS_SUFFIX)
        ).folder
        inspection = _inspection(target, tokenizer=load_tokenizer(texts), show=show, observe=observe)
        return replace(inspection, problem=_refusal(registry, target, texts))


def _inspection(target: InspectionTarget, *, tokenizer: Any | None, show: int, observe: Observe) -> Inspection:
    train = _opened(target, target.train, "train", tokenizer, observe)
    part, seen = _inspected(train, target, target.train, tokenizer, show)
    if target.validation is None:
        *_, reading = train
        return _with_figures(Inspection(part), reading)
    held_out = _opened(target, target.validation, "validation", tokenizer, observe)
    other, _ = _inspected(held_out, target, target.validation, tokenizer, show)
    *_, reading = held_out
    return _with_figures(Inspection(part, other, leak(*held_out, seen, limit=target.validation.rows)), reading)


def _with_figures(inspection: Inspection, reading: RowReading) -> Inspection:
    """With what can be measured of the rows that are held out: those of a file of their own, else some of the training's."""
    held_out = inspection.validation or inspection.train
    parts = (inspection.train, held_out)
    figures = fitting_figures(
        has_answers=reading.has_tasks,
        classes=len({name for part in parts for name, _ in part.labels}),
        are_numbers=held_out.numbers == held_out.rows,
    )
    return replace(inspection, figures=figures, has_answers=reading.has_tasks)


def _refusal(registry: Registry, target: InspectionTarget, texts: Path) -> KnownError | None:
    """What refuses the training of a file before a weight is read; None where nothing does, and where there is no training file.

    Args:
        registry: holds the base.
        target: with the training file.
        texts: the folder with the tokenizer of its base.
    """
    from peft_registry.trainer.runs.launch import Launch
    from peft_registry.trainer.use_cases.train_plan import plan_training
    from peft_registry.trainer.use_cases.train_work import rows_of_plan

    if target.file is None:
        return None
    # how many processes there will be is not in the file, nor which machine trains
    try:
        launch = Launch(nproc=fewest_processes(load_training_file(target.file, target.overrides).config))
        plan = plan_training(registry, target.file, target.overrides, launch=launch, fetches=False, runs_here=False)
        rows_of_plan(registry, plan, texts, observe=ignore)
    except KnownError as refused:
        return refused  # printed after what was found in the rows
    return None


def _opened(
    target: InspectionTarget, source: TrainSource, split: Split, tokenizer: Any | None, observe: Observe
) -> tuple[Located, FileFacts, RowReading]:
    located = locate_locally_or_on_hub(target.folder, observe)(source, split)
    # without a tokenizer conversations are only counted: any template will do
    template = "" if tokenizer is None else tokenizer.chat_template
    facts, reading = open_data(source, located, chat_template=template)
    return located, facts, reading


def _inspected(
    opened: tuple[Located, FileFacts, RowReading],
    target: InspectionTarget,
    source: TrainSource,
    tokenizer: Any | None,
    show: int,
) -> tuple[DataPart, Seen]:
    return inspect_part(
        *opened,
        limit=source.rows,
        tokenizer=tokenizer,
        max_length=target.max_length,
        show=show,
        has_number=lambda answer: number_of(answer) is not None,
    )

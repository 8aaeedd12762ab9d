"""What a training file asks for that is not there, or that measurements or its own goals speak against.

The first are problems, found before anything is read; the second are warnings, which enter the record.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.stops import require_sources_not_stopped
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.data.dataset import Located, open_data
from peft_registry.trainer.inputs.benchmark_tasks import require_task
from peft_registry.trainer.inputs.problems import Problems
from peft_registry.trainer.inputs.training_file import LoadedConfig
from peft_registry.trainer.methods import advice_about
from peft_registry.trainer.methods.learning_rates import advice

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.suites import LoadSuite

_TOKENS_THAT_PAY = 20  # Lester et al. 2021 §3.2, figure 3(a)
_LARGEST_SHARE = 0.5  # of what is computed may be the prompt before it is worth a word


def warnings_about(config: TrainingFile) -> Iterator[tuple[str, str]]:
    """(reference, text) of each: a learning rate outside the measured ranges, a method that does not fit a goal."""
    rate = advice(config.method, config.training.learning_rate)
    if rate is not None:
        yield "learning-rate", rate
    method = METHODS[config.method]
    if method.starts > 1 and len(config.seeds) == 1 and config.continue_from is None:
        yield (
            "one-seed",
            f"{method.title} from one seed: what comes out depends on where it starts; leave `seeds` to its default",
        )
    for goal in config.goals:
        about = advice_about(method, goal)
        if about.fits is None:
            yield f"goal-{goal}".replace("_", "-"), f"goal {goal}: whether it fits is not known: {about.why}"
        elif not about.fits:
            yield f"goal-{goal}".replace("_", "-"), f"goal {goal}: {about.why}"
        elif goal == "latency" and method.folds:
            yield "unmerged", f"goal latency: {method.name} costs time at every token until it is merged into its base"
    if len(config.seeds) > 1 and config.setting("init_text") is not None:
        yield (
            "same-start",
            "init: text starts every seed at the same place: only the order of the data differs between trials",
        )


def warnings_about_prompt(config: TrainingFile, lengths: Sequence[int]) -> Iterator[tuple[str, str]]:
    """(reference, text) where virtual tokens are longer than they pay for.

    Args:
        config: the training file.
        lengths: tokens of each training row.
    """
    count = config.virtual_tokens
    if not count or not lengths:
        return
    mean = sum(lengths) / len(lengths)
    share = count / (count + mean)
    if count > _TOKENS_THAT_PAY:
        yield (
            "long-prompt",
            f"{count} virtual tokens beside rows of {mean:.0f} tokens: {share:.0%} of all places, and beyond "
            f"{_TOKENS_THAT_PAY} little is gained (Lester et al. 2021 §3.2)",
        )
    elif share > _LARGEST_SHARE and METHODS[config.method].takes_positions:
        yield "long-prompt", f"{count} virtual tokens before rows of {mean:.0f} tokens: {share:.0%} of what is computed"


def require_readable_rows(loaded: LoadedConfig) -> None:
    """Raise unless the first row of each data file has what its format asks for: that takes neither a tokenizer nor a weight.

    A file that is missing is told by `collect_absent`, and a data set of the Hub is looked at once it is fetched.

    Raises:
        InputRefused: a column is absent, nobody can tell how the rows are to be read, or their format has not what is measured.
    """
    from peft_registry.trainer.evaluation.quality import require_fitting_format

    config = loaded.config
    train, validation = config.data.train, config.data.validation
    stopping = config.training.early_stopping
    measured = {
        "evaluation.quality": config.evaluation.quality,
        "training.early_stopping.metric": () if stopping is None else (stopping.metric,),
    }
    for source in [train] if validation.path is None else [train, validation.as_source()]:
        path = loaded.resolve(source.path)
        if not path.is_file():
            continue
        # any chat template will do: whether the tokenizer has one is asked with the tokenizer
        _, reading = open_data(source, Located(path.name, (path,)), chat_template="")
        if source is train and validation.path is not None:
            continue  # the figures are of the other rows
        for key, names in measured.items():
            require_fitting_format(names, reading, key=key)


def require_data_not_stopped(registry: Registry, loaded: LoadedConfig) -> None:
    """Raise where a file of rows is recalled; a data set of the Hub has a digest once its files are here.

    Raises:
        VersionStopped: it is.
    """
    parts = (loaded.config.data.train, loaded.config.data.validation)
    files = [loaded.resolve(part.path) for part in parts if part.path is not None]
    sources = [Source(hash_file(path).sha256, f"the data {path.name}") for path in files if path.is_file()]
    require_sources_not_stopped(registry, "train", loaded.config.name, sources)


def collect_absent(
    problems: Problems, loaded: LoadedConfig, load: "LoadSuite", observe: Observe = ignore, *, fetches: bool = True
) -> None:
    """Find every data file that is not there and every question that nothing answers, before the base is hashed.

    Args:
        problems: gets what is found.
        loaded: the training file.
        load: gives the suites of the home.
        observe: hears of texts that are fetched.
        fetches: whether the Hub is asked for a text to retain; else one that is only there is not looked at.
    """
    from peft_registry.trainer.data.containers import DataFileMissing
    from peft_registry.trainer.evaluation.retention import check_retained
    from peft_registry.trainer.evaluation.suites import check_asked
    from peft_registry.trainer.hub.data_sets import (
        is_hub_id,
        locate_locally_or_on_hub,
        locate_on_this_machine,
        only_on_hub,
    )

    def is_absent(path: str) -> bool:
        return not loaded.resolve(path).exists() and not is_hub_id(path, loaded.folder)

    data = loaded.config.data
    retention = loaded.config.evaluation.retention
    for key, path in (("data.train.path", data.train.path), ("data.validation.path", data.validation.path)):
        if path is not None and is_absent(path):
            problems.add(DataFileMissing(loaded.resolve(path), key=key))
    problems.attempt(lambda: check_asked(loaded.config.evaluation, load))
    for task in loaded.config.evaluation.tasks:
        problems.attempt(partial(require_task, loaded, task))
    folder = loaded.folder
    locate = locate_locally_or_on_hub(folder, observe) if fetches else locate_on_this_machine(folder)
    for source in retention:
        if not fetches and only_on_hub(source, "test", folder):
            continue
        if source.path is not None and not source.ships and is_absent(source.path):
            problems.add(DataFileMissing(loaded.resolve(source.path), key="evaluation.retention"))
        else:
            problems.attempt(partial(check_retained, [source], locate=locate))

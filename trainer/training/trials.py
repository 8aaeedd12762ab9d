"""Training a prepared model once, or from several starts of which the best by validation loss is kept.

A start is the adapter's beginning, the order of the data and dropout. Every trial stays in the record with its score, and
what all of them took is counted: tokens, time, energy and batches of the result are sums.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.progress import Event, Measured, Observe, Said, ignore
from peft_registry.schemas.run import Trial
from peft_registry.trainer.bases.offload import meta_weights, refuse_what_looks_at_weights
from peft_registry.trainer.bases.sharding import put_back, spread
from peft_registry.trainer.data.collate import Batches, Layout
from peft_registry.trainer.machine.processes import ALONE, Processes
from peft_registry.trainer.machine.seeding import seed_everything, seed_of
from peft_registry.trainer.methods import PackingRefused, count_trainable, implementation
from peft_registry.trainer.training.checkpoints import Checkpoints
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.optimizers import optimizer_for
from peft_registry.trainer.training.out_of_memory import translate_out_of_memory
from peft_registry.trainer.training.result import BatchShape, TrainResult
from peft_registry.trainer.training.row_attention import layout_of


@dataclass(frozen=True, eq=False)
class Setting:
    """What every trial has in common. `said` is told of the first prepared model; `checkpoints` keeps the state of a run,
    where there are several trials in a folder for each; `start` is the folder of the starting adapter, `base_folder` that of a base
    whose weights are spread over the processes."""

    config: TrainingFile
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    batches: Batches
    device: str
    products: torch.dtype | None = None  # where they are not in the format of the weights
    said: Callable[[Any], None] = lambda _: None
    checkpoints: Checkpoints | None = None
    processes: Processes = ALONE
    start: Path | None = None
    base_folder: Path | None = None

    def checkpoints_of(self, seed: int) -> Checkpoints | None:
        """Where the trial of one seed keeps its state."""
        kept = self.checkpoints
        if kept is None or len(self.config.seeds) == 1:
            return kept
        folder = kept.folder / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        return replace(kept, folder=folder)


@dataclass(frozen=True, eq=False)
class Attempts:
    """The model that was kept, what all trials took together, and each trial where there were several."""

    model: Any
    result: TrainResult
    parameters: tuple[int, int]  # trainable, all
    trials: tuple[Trial, ...] = ()


def train_all_seeds(base: Any, setting: Setting, held_out: HeldOutRows, *, observe: Observe = ignore) -> Attempts:
    """Train from each of the file's seeds; with several, the one with the lowest loss on the rows that are `held_out` is chosen.

    Raises:
        InputRefused: the method refuses the base.
        PackingRefused: rows of this architecture cannot share a sequence.
        LossDiverged, OutOfMemory: a trial failed.
    """
    config = setting.config
    seeds = config.seeds
    method: Any = implementation(config.method)
    results: list[TrainResult] = []
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}
    model = base
    for seed in seeds:
        model = prepared(method, method.unwrap(model) if results else model, setting, seed)
        if not results:
            setting.said(model)
        results.append(_trained(model, setting, held_out, seed, observe))
        if len(seeds) == 1:
            return Attempts(model, results[0], count_trainable(model))
        scores.append(held_out.loss(model))
        observe(Said("seed", f"{seed}: validation loss {scores[-1]:.3f}"))
        if scores[-1] <= min(scores):
            best = _learnt(model)
    return _chosen(model, best, results, scores, seeds)


def prepared(method: Any, base: Any, setting: Setting, seed: int) -> Any:
    """The base as a method prepares it for training from a seed, changed in place."""
    seed_everything(seed)  # a base may have dropout of its own
    with meta_weights(base), translate_out_of_memory(None):
        model = method.prepare(base, setting.config, seed=seed)
    if setting.config.offload is not None:
        refuse_what_looks_at_weights(model)
    initialise = getattr(method, "initialise", None)
    if initialise is not None:
        initialise(model, setting.config, setting.tokenizer)
    if setting.start is not None:
        from peft_registry.trainer.methods.peft_io import start_from  # imports peft

        getattr(method, "start_from", start_from)(model, setting.start)
    if setting.processes.spreads:
        assert setting.base_folder is not None, "the weights are read from there"
        spread(model, setting.base_folder)
    if setting.processes.rank:  # equal weights, and dropout of its own
        seed_everything(seed_of(seed, f"process {setting.processes.rank}") % 2**32)
    return model


def _trained(model: Any, setting: Setting, held_out: HeldOutRows, seed: int, observe: Observe) -> TrainResult:
    training = setting.config.training
    layout = layout_in(model, setting.config)
    if setting.processes.spreads:
        put_back(model)  # after the passes that tried it
    return train(
        model,
        replace(setting.batches, seed=seed),
        training,
        device=setting.device,
        products=setting.products,
        optimizer=optimizer_for(model, setting.config),
        layout=layout,
        checkpoints=setting.checkpoints_of(seed),
        held_out=held_out,
        processes=setting.processes,
        observe=observe if len(setting.config.seeds) == 1 else _of_trial(seed, observe),
    )


def layout_in(model: Any, config: TrainingFile) -> Layout:
    """How a prepared model takes rows.

    Raises:
        PackingRefused: the file wants rows packed, and this architecture cannot keep them apart.
    """
    packing = config.training.packing
    layout = layout_of(model, packs=packing) if METHODS[config.method].packs else "padded"
    if packing and layout == "padded":
        raise PackingRefused("in this architecture rows beside each other would change each other; it was tried")
    return layout


def _of_trial(seed: int, observe: Observe) -> Observe:
    """An observer that hears of which trial the figures are: each has steps of its own."""

    def told(event: Event) -> Any:  # the observer's result is ignored
        return observe(replace(event, seed=seed) if isinstance(event, Measured) else event)

    return told


def _learnt(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _chosen(
    model: Any, best: dict[str, torch.Tensor], results: list[TrainResult], scores: list[float], seeds: tuple[int, ...]
) -> Attempts:
    """The last model with the numbers of the best trial: all of them have the same names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, values in best.items():
            parameters[name].copy_(values)
    number = scores.index(min(scores))
    trials = tuple(
        Trial(seed=seed, score=score, chosen=at == number)
        for at, (seed, score) in enumerate(zip(seeds, scores, strict=True))
    )
    return Attempts(model.eval(), _together(results, number), count_trainable(model), trials)


def _together(results: list[TrainResult], number: int) -> TrainResult:
    """The chosen trial's curve, and what all trials took."""
    energies = [result.energy_kwh for result in results]
    return replace(
        results[number],
        tokens=sum(result.tokens for result in results),
        supervised_tokens=sum(result.supervised_tokens for result in results),
        padding_tokens=sum(result.padding_tokens for result in results),
        seconds=sum(result.seconds for result in results),
        shapes=_added_up(shape for result in results for shape in result.shapes),
        evaluated=_added_up(shape for result in results for shape in result.evaluated),
        energy_kwh=None if None in energies else sum(energy for energy in energies if energy is not None),
        resumed_at=next((result.resumed_at for result in results if result.resumed_at is not None), None),
        passed_over=sum(result.passed_over for result in results),
        peak_bytes=max((result.peak_bytes for result in results if result.peak_bytes is not None), default=None),
    )


def _added_up(shapes: Iterable[BatchShape]) -> tuple[BatchShape, ...]:
    counts: Counter[BatchShape] = Counter()
    for shape in shapes:
        counts[replace(shape, count=0)] += shape.count
    return tuple(replace(shape, count=count) for shape, count in counts.items())

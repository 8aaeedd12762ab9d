"""`registry compare --sweep learning_rate`: short trainings of each method over five decades of rates on one base.

A sweep asks about rates and makes nothing to keep: no arm is registered, no suite is scored, only held-out loss before and
after. Its answer is a JSON object; `docs/measured/learning_rates` keeps them by method, with the commands that made them.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.evaluation.items import ScoreNotFinite
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull_base import checked_folder
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.inputs.training_file import load_training_file
from peft_registry.trainer.machine.environment import cut_paths

if TYPE_CHECKING:
    from peft_registry.trainer.data.tokenize import Example

# five decades: full training is best near the lower end, a few scales, embeddings or prefixes near the upper
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


class SweepOfWhat(InputRefused):
    what = "there is no sweep of {key!q}"
    why = "one value is swept, over five decades: learning_rate"
    fix = "write --sweep learning_rate, or --sweep learning_rate=1e-5,1e-4,1e-3"

    key: str


def parse_sweep(text: str) -> tuple[float, ...]:
    """The rates of `learning_rate`, or of `learning_rate=1e-5,1e-3`.

    Raises:
        SweepOfWhat: another key, or values that are no positive numbers.
    """
    key, equals, values = text.partition("=")
    if key != "learning_rate":
        raise SweepOfWhat(key)
    if not equals:
        return RATES
    try:
        rates = tuple(float(rate) for rate in values.split(","))
    except ValueError as error:
        raise SweepOfWhat(text) from error
    if not all(0 < rate < math.inf for rate in rates):
        raise SweepOfWhat(text)
    return rates


def sweep_rates(
    registry: Registry,
    config_path: Path,
    overrides: tuple[str, ...],
    methods: tuple[str, ...],
    rates: tuple[float, ...],
    *,
    command: tuple[str, ...] = (),
    observe: Observe = ignore,
) -> dict[str, Any]:
    """One point for each method and rate.

    Args:
        registry: holds the base.
        config_path: the training file.
        overrides: such as `training.seed=8`, for every point.
        methods: their names.
        rates: learning rates.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of each point.

    Raises:
        InputRefused, NotFound, IntegrityBroken: the file, its data or the base are refused.
    """
    loaded = load_training_file(config_path, overrides)
    base = version_named(registry, loaded.config.base)
    record = base_record(registry, base)
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="registry-sweep-") as scratch:
        checked = checked_folder(registry, base, Path(scratch))
        run = _Sweep(loaded.folder, checked.folder, record)
        before = run.loss_of_base(loaded.config)
        for method in methods:
            for rate in rates:
                words = [f"method={method}", f"training.learning_rate={rate!r}"]
                if METHODS[loaded.config.method].needs_quantized_base and not METHODS[method].needs_quantized_base:
                    words.append("quantization=null")
                found = run.point(load_training_file(config_path, (*overrides, *words)).config)
                checked.require_unchanged()
                point = {"method": method, "learning_rate": rate, "before": round(before, 6), **found}
                observe(Said("sweep", _sentence(point)))
                points.append(point)
    return {
        "command": list(cut_paths(command)),
        "base": base.name,
        "base_weights": str(record.identity.weights),
        "parameters": record.parameters_total,
        "data": Path(loaded.config.data.train.path).name,
        "points": points,
    }


@dataclass(frozen=True)
class _Sweep:
    data_folder: Path
    base_folder: Path
    record: BaseRecord

    def loss_of_base(self, config: TrainingFile) -> float:
        """Held-out loss of the untouched base, nats a supervised token."""
        from peft_registry.trainer.bases.loading import load_base
        from peft_registry.trainer.data.dataset import load_data

        model, tokenizer = load_base(self.base_folder, dtype="fp32", device="cpu")
        training = config.training
        data = load_data(
            config.data,
            folder=self.data_folder,
            tokenizer=tokenizer,
            max_length=training.max_length,
            seed=training.seed,
        )
        return _loss(model, data.validation)

    def point(self, config: TrainingFile) -> dict[str, Any]:
        """Held-out loss after a training; null, with the reason, where it failed."""
        from peft_registry.trainer.training.train_adapter import load_setting, read_data, train_adapter

        try:
            data = read_data(
                config, data_folder=self.data_folder, base_folder=self.base_folder, base_record=self.record
            )
            trained = train_adapter(load_setting(config, data, base_folder=self.base_folder))
            after = _loss(trained.model, trained.data.validation)
        except (RunFailed, ScoreNotFinite) as error:
            return {"after": None, "failure": error.what}
        return {"after": round(after, 6), "steps": trained.result.steps}


def _loss(model: Any, rows: "Sequence[Example]") -> float:
    """Mean held-out loss over supervised tokens, scored in fp32."""
    from peft_registry.trainer.evaluation.losses import HeldOutRow, row_losses
    from peft_registry.trainer.evaluation.scoring import in_float32

    held = [HeldOutRow(f"row-{at:06}", row.ids.tolist(), row.labels.tolist()) for at, row in enumerate(rows)]
    with in_float32(model):
        items = row_losses(model, held, dataset="held-out", arm="adapted")
    return -sum(item.ll_a for item in items) / MILLIONTHS / sum(item.tokens_a for item in items)


def _sentence(point: dict[str, Any]) -> str:
    after = point["failure"] if point["after"] is None else f"{point['before']:.3f} → {point['after']:.3f}"
    return f"{point['method']} at {point['learning_rate']:g}: {after}"

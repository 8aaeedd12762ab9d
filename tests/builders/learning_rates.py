"""Measured learning rates from points, by the way that the package's own were made."""

from collections.abc import Sequence
from typing import Any

from docs.learning_rates import measured_rates
from peft_registry.trainer.methods.learning_rates import MeasuredRates, _read_row


def rates_from(sweeps: Sequence[dict[str, Any]]) -> tuple[MeasuredRates, ...]:
    """What the product would know if these were the sweeps."""
    return tuple(_read_row(row) for row in measured_rates(sweeps))

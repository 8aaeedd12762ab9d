"""The codes of evaluations: why there is no figure or no interval, and what may be said about a comparison."""

from peft_registry.schemas.codes.meaning import Meaning

EVALUATION_CODES: dict[str, Meaning] = {}

"""What a model without weights is built from, and when two of them are the same."""

from dataclasses import dataclass, field
from typing import Any

from peft_registry.schemas.config import TrainingFile

# of a training file, what neither the model nor a step of its training follows from
_OF_NO_TWIN = {"name", "project", "base", "continue_from", "data", "evaluation", "goals", "facts"}


@dataclass(frozen=True, slots=True)
class TwinOf:
    """Two are equal by what their configurations say, so that the arms of a comparison and the tasks of a list are traced once."""

    said: str
    hf_config: Any = field(compare=False)
    config: TrainingFile = field(compare=False)

    @classmethod
    def said_by(cls, hf_config: Any, config: TrainingFile, *, besides: frozenset[str] = frozenset()) -> "TwinOf":
        """The twin of an architecture (transformers' configuration) under a training file; `besides`: from what nothing follows."""
        # not in the configuration's JSON, and it computes otherwise
        attention = getattr(hf_config, "_attn_implementation", None)
        said = f"{hf_config.to_json_string()} {attention} {config.model_dump_json(exclude=_OF_NO_TWIN | besides)}"
        return cls(said, hf_config, config)

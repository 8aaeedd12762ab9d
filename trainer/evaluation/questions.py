"""What a suite asks the scorer, and the answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What is the log-likelihood of `continuation` after `context`?"""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class Score:
    """The log-likelihood in nats, summed over `tokens` scored tokens."""

    log_likelihood: float
    tokens: int
    is_truncated: bool = False

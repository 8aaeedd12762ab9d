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


@dataclass(frozen=True, slots=True)
class PromptDivergence:
    """The answer to two prompts, in nats: Jensen-Shannon (symmetric, at most ln 2) and Kullback-Leibler in both directions."""

    js: float
    kl_ab: float
    kl_ba: float

"""When a run has stopped learning: a loss that is not a number, that is far above guessing, or that went up and stayed up.

Guessing among V tokens has a loss of ln V; what a model knows lies below. A spike means that half of what the last steps
knew is gone, three steps running: one odd batch is none.
"""

import math
import statistics
from collections.abc import Sequence

from peft_registry.schemas.errors import RunFailed

# twice guessing, and twice its own start, is not noise
_FAR_ABOVE = 2.0
_WINDOW = 50  # steps that say what is usual
_LEAST = 10  # of them, before anything is a spike
_STEPS_RUNNING = 3
# in robust standard deviations (1.4826 × the median absolute deviation of a normal law)
_DEVIATIONS = 6.0
_MAD_TO_SIGMA = 1.4826


class LossDiverged(RunFailed):
    what = "the loss diverged at step {step}"
    why = "{reason}; nothing was registered{where_kept}"
    fix = (
        "lower training.learning_rate, raise training.warmup_ratio, or look for broken rows, "
        "and run `registry train` again (training.stop_on_spike=false lets a spike pass)"
    )

    step: int
    reason: str
    kept: str | None = None

    @property
    def where_kept(self) -> str:
        return "" if self.kept is None else f"; the state is kept in {self.kept} and marked failed"


def check_loss(
    step: int, loss: float, earlier: Sequence[float], *, vocabulary: int, stop_on_spike: bool, in_fp16: bool = False
) -> None:
    """Raise unless the run may continue.

    Args:
        step: from 1.
        loss: of this step, in nats per supervised token, before its weights change.
        earlier: the losses of the steps before, in order.
        vocabulary: number of tokens.
        stop_on_spike: look for spikes too.
        in_fp16: whether products are, in which a number above 65504 is infinite.

    Raises:
        LossDiverged: with what was seen.
    """
    if not math.isfinite(loss):
        beyond = "; above 65504 fp16 has no number, and bf16 and fp32 have" if in_fp16 else ""
        raise LossDiverged(step, f"the loss is {loss}{beyond}")
    guessing = math.log(max(vocabulary, 2))
    if earlier and loss > _FAR_ABOVE * max(guessing, earlier[0]):
        raise LossDiverged(step, f"it is {loss:.2f}; guessing has {guessing:.2f}, the first step had {earlier[0]:.2f}")
    if stop_on_spike:
        usual = _spiked(loss, earlier, guessing)
        if usual is not None:
            raise LossDiverged(
                step, f"it is {loss:.2f}, the third step running far above the {usual:.2f} that was usual"
            )


def _spiked(loss: float, earlier: Sequence[float], guessing: float) -> float | None:
    """The usual loss, if this and the steps just before it are a spike above it."""
    split = len(earlier) - (_STEPS_RUNNING - 1)
    before = earlier[max(0, split - _WINDOW) : max(0, split)]
    if len(before) < _LEAST:
        return None
    usual = statistics.median(before)
    deviation = _MAD_TO_SIGMA * statistics.median(abs(loss_before - usual) for loss_before in before)
    limit = max(usual + _DEVIATIONS * deviation, (usual + guessing) / 2)
    return usual if all(later > limit for later in (*earlier[split:], loss)) else None

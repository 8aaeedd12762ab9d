"""Which runs can spread their weights over several processes, none of which holds the whole base."""

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import METHODS

WITHOUT = "leave training.sharding out, or change that"
_WHOLE = "it needs weights of the base whole, and here each process has a part of every one"


class SeveralProcessesRefused(InputRefused):
    what = "training.audit_checkpoints cannot be used with {processes} processes"
    why = "sums over processes come in an order of their own, and a reader who runs a stretch again has one"
    fix = "train in one process, or leave audit_checkpoints out"

    processes: int


class ShardingRefused(InputRefused):
    what = "training.sharding: full cannot be used with {asked}"
    why = "{reason}"
    fix = "{remedy}"

    asked: str
    reason: str
    remedy: str


def check_sharding(config: TrainingFile) -> None:
    """Raise unless the file's run can spread its weights, where it asks for that. Needs no torch.

    Raises:
        ShardingRefused: it cannot.
    """
    obstacle = obstacle_to_sharding(config) if config.is_sharded else None
    if obstacle is not None:
        raise obstacle


def obstacle_to_sharding(config: TrainingFile) -> ShardingRefused | None:
    """What in the file forbids it, whatever `training.sharding` says."""
    method = METHODS[config.method]
    spread = ", ".join(other.name for other in METHODS.values() if other.shards)
    rules = (
        (not method.shards, f"method {method.name}", f"it is implemented for {spread}"),
        (
            config.offload is not None,
            "`offload`",
            "both say where the blocks of the base are, and they would be in two places",
        ),
        (
            config.training.eval_steps is not None,
            "training.eval_steps",
            f"the loss of held-out rows is computed in fp32: {_WHOLE}",
        ),
        (bool(config.setting("target_parameters")), "lora.target_parameters", _WHOLE),
        (
            config.continue_from is not None and method.trains_base_weights,
            f"`continue_from` and method {method.name}",
            "each process reads its part from the files of the base, and the start has files of its own",
        ),
        *((rule.when(config), rule.asked, _WHOLE) for name in method.blocks for rule in METHODS[name].not_offloaded),
    )
    return next((ShardingRefused(asked, why, WITHOUT) for applies, asked, why in rules if applies), None)


def fewest_processes(config: TrainingFile) -> int:
    """How many processes a run of the file has at least: one that spreads its weights has others."""
    return 2 if config.is_sharded else 1


def check_processes(config: TrainingFile, *, nproc: int, nnodes: int) -> None:
    """Raise unless a run that spreads its weights has several processes, all on one machine, and one whose states others run again
    has one.

    Raises:
        SeveralProcessesRefused: its states could not be run again by one.
        ShardingRefused: there is one process, or there are several machines.
    """
    if config.training.audit_checkpoints is not None and nproc * nnodes > 1:
        raise SeveralProcessesRefused(nproc * nnodes)
    if not config.is_sharded:
        return
    if nnodes > 1:
        raise ShardingRefused(
            "several machines",
            "the state is kept where each process wrote its part, and is registered from one folder",
            "train on one machine: --nproc says in how many processes",
        )
    if nproc < 2:
        raise ShardingRefused(
            "one process",
            "its weights would be spread over nobody else",
            "say in how many processes: --nproc 2, one for each GPU",
        )

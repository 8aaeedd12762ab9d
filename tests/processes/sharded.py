"""Trainings whose weights are spread over two processes, beside the same in one: `python -m tests.processes.sharded FOLDER NAME …`.

Torch is imported once; each process is a fork of this one, which computes nothing itself. Prints what was found as JSON.
"""

import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.progress import Advanced, Event
from peft_registry.trainer.bases.sharding import part_of, whole_of
from peft_registry.trainer.machine.processes import ALONE, Processes, under_torchrun
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.checkpoints import Checkpoints, trained_parameters
from peft_registry.trainer.training.train_adapter import Trained
from tests.builders.records import a_base_record
from tests.builders.training import a_base_folder, a_training_file, colour_rows, train_on, write_rows

ROWS = 24  # 22 are trained on: eleven batches of two, so that the last step of an epoch has one for two processes
COMMON: dict[str, Any] = {
    "training__per_device_train_batch_size": 2,
    "training__num_train_epochs": 2,
    "training__max_grad_norm": 0.5,
    "training__sharding": "full",
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "training__gradient_checkpointing": True},
    "full": {"method": "full", "training__learning_rate": 1e-3},
    "qlora": {"method": "qlora", "quantization": {}},
    "fp16": {"method": "lora", "training__dtype": "fp16"},
}
LARGE = {  # 16 layers of 151 MB in fp32
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "initializer_range": 0.02,
}
DIES_AFTER = 7  # steps; the state is kept each third
PATIENCE_SECONDS = 850


def config_of(name: str, **changes: Any) -> Any:
    return a_training_file(**COMMON | METHODS[name] | changes)


def base_of(folder: Path, name: str) -> Path:
    """A tied base, and one that is not, for full tuning."""
    base = folder / ("untied" if name == "full" else "tied")
    if not base.exists():
        a_base_folder(base, tied=name != "full", hidden_size=64)
    return base


def in_processes(size: int, port: int, work: Callable[[Processes], Any], found: Path) -> list[Any]:
    """What the work gives in each of so many forks, by rank; None of one that died."""
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            _work_and_exit(size, work, found / f"{port}-{rank}.json")
        children.append(child)
    return _results(children, [found / f"{port}-{rank}.json" for rank in range(size)])


def _work_and_exit(size: int, work: Callable[[Processes], Any], result: Path) -> None:
    try:
        if size == 1:
            value = work(ALONE)
        else:
            with under_torchrun("cpu", spreads=True) as processes:
                value = work(processes)
        result.write_text(json.dumps(value))
        os._exit(0)
    except KnownError as error:
        result.write_text(json.dumps({"code": error.exit_code, "error": str(error)}))
        os._exit(error.exit_code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _results(children: list[int], files: list[Path]) -> list[Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = dict(enumerate(children))
    while left:
        for rank, child in list(left.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del left[rank]
                if status:  # the others wait for it in vain
                    deadline = min(deadline, time.monotonic() + 5)
        if time.monotonic() > deadline:
            for child in left.values():
                os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def a_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def facts_of(trained: Trained, processes: Processes, kept: Path) -> dict[str, Any]:
    """What a test compares; the trained weights go to a file."""
    parameters = dict(trained.model.named_parameters())
    weights = {name: whole_of(tensor).clone() for name, tensor in trained_parameters(trained.model).items()}
    if not processes.rank:
        torch.save(weights, kept)
    sizes = [(tensor.numel() * tensor.element_size(), part_of(tensor)) for tensor in parameters.values()]
    return {
        "losses": trained.result.curve.loss,
        "passed_over": trained.result.passed_over,
        "resumed_at": trained.result.resumed_at,
        "share": sum(part.nbytes for _, part in sizes) / sum(whole for whole, _ in sizes),
        "bytes": {
            "trained": sum(part_of(tensor).nbytes for tensor in trained_parameters(trained.model).values()),
            "weights": sum(part.nbytes for _, part in sizes),
        },
    }


def trained_in(
    folder: Path,
    name: str,
    size: int,
    *,
    checkpoints: Checkpoints | None = None,
    dies: bool = False,
    kept: str = "weights",
) -> list[Any]:
    """The training of this name in so many processes."""
    file = folder / f"{name}-{size}-{kept}.pt"

    def work(processes: Processes) -> Any:
        held = watched_bytes()
        if name == "fp16":
            overflow_first()

        def watch(event: Event) -> None:
            if dies and processes.rank == 1 and isinstance(event, Advanced) and event.done == DIES_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)

        config = config_of(name, training__gradient_accumulation_steps=1 if size > 1 else 2)
        if size == 1:
            config = config.revised(training=config.training.revised(sharding="none"))
        trained = train_on(
            folder, base_of(folder, name), config, processes=processes, checkpoints=checkpoints, observe=watch
        )
        return {**facts_of(trained, processes, file), "held": held}

    return in_processes(size, a_port(), work, folder)


def watched_bytes() -> dict[str, int]:
    """What a process holds of gradients when they are cut, and of the optimizer's state after a step; filled while it trains."""
    from peft_registry.trainer.training import loop

    held: dict[str, int] = {}
    clip, count = loop._TrainingRun.clip, loop._TrainingRun.count

    def clipped(run: Any, step: int) -> float:
        held["gradients"] = sum(part_of(one.grad).nbytes for one in run.parameters if one.grad is not None)
        return clip(run, step)

    def counted(run: Any, *arguments: Any) -> None:
        states = [value for state in run.optimizer.state.values() for value in state.values()]
        held["optimizer"] = sum(part_of(value).nbytes for value in states if value.numel() > 1)
        count(run, *arguments)

    loop._TrainingRun.clip = clipped  # type: ignore[method-assign]  # in this fork alone
    loop._TrainingRun.count = counted  # type: ignore[method-assign]  # likewise
    return held


def overflow_first() -> None:
    """A run begins with a loss scale at which the gradients of its first steps overflow."""
    from peft_registry.trainer.training import loop

    loop.loss_scaler = lambda device, _: torch.amp.GradScaler(device, init_scale=2.0**26)  # in this fork alone


def compared(folder: Path, name: str) -> dict[str, Any]:
    """One process, and two that spread the weights."""
    (alone,), spread = trained_in(folder, name, 1), trained_in(folder, name, 2)
    return {"alone": alone, "spread": spread, "distance": distance(folder, f"{name}-1-weights", f"{name}-2-weights")}


def distance(folder: Path, one: str, other: str) -> float:
    """The norm of the difference of all trained weights over that of the first."""
    first, second = (torch.load(folder / f"{name}.pt", weights_only=True) for name in (one, other))
    assert first.keys() == second.keys()
    difference = sum(float((first[name] - second[name]).double().square().sum()) for name in first)
    return float((difference / sum(float(tensor.double().square().sum()) for tensor in first.values())) ** 0.5)


def killed_and_resumed(folder: Path, name: str) -> dict[str, Any]:
    """One of two is killed half-way; both go on from the state, and so do three, which must not, and one that registers.

    What came of two that nobody killed was found before.
    """
    state = Checkpoints(folder / "state" / "training", every_steps=3)
    state.folder.mkdir(parents=True)
    killed = trained_in(folder, name, 2, checkpoints=state, dies=True, kept="killed")
    left = sorted(path.name for path in state.folder.iterdir())
    of_three = trained_in(folder, name, 3, checkpoints=state, kept="three")
    resumed = trained_in(folder, name, 2, checkpoints=state, kept="resumed")

    def registers(_: Processes) -> Any:
        """What `registry train` does once its processes have ended: it continues with their last state, and trains no step."""
        config = config_of(name)
        trained = train_on(
            folder,
            base_of(folder, name),
            config,
            processes=Processes(size=2),
            checkpoints=state,
            scratch=folder / "scratch",
        )
        (folder / "artifact").mkdir()
        implementation(config.method).save(trained.model, folder / "artifact", base=None)
        torch.save(trained_parameters(trained.model), folder / "registered.pt")
        waiting = trained.waiting
        return {"losses": trained.result.curve.loss, "waiting": None if waiting is None else waiting.blocks}

    (folder / "scratch").mkdir()
    (registered,) = in_processes(1, a_port(), registers, folder)
    return {
        "killed": killed,
        "left": left,
        "three": of_three,
        "resumed": resumed,
        "after": sorted(path.name for path in state.folder.iterdir()),
        "distance": distance(folder, f"{name}-2-weights", f"{name}-2-resumed"),
        "registered": registered,
        "registered_distance": distance(folder, f"{name}-2-resumed", "registered"),
        "artifact": sorted(path.name for path in (folder / "artifact").iterdir()),
    }


def out_of_memory(folder: Path, name: str) -> dict[str, Any]:
    """One of two asks for more memory than there is, in its third step."""

    def work(processes: Processes) -> Any:
        from peft_registry.trainer.training import loop

        own = loop._TrainingRun.schedule

        def full(run: Any, step: int) -> None:
            if processes.rank == 1 and step == 3:
                torch.empty(1 << 50)
            own(run, step)

        loop._TrainingRun.schedule = full  # type: ignore[method-assign]  # in this fork alone
        trained = train_on(folder, base_of(folder, name), config_of(name), processes=processes)
        return facts_of(trained, processes, folder / "none.pt")

    return {"processes": in_processes(2, a_port(), work, folder)}


def of_other_data(folder: Path) -> list[Any]:
    """One of two has two rows more: what each says before it trains."""

    def work(processes: Processes) -> None:
        from peft_registry.trainer.runs.worker import _require_equal
        from peft_registry.trainer.training.train_adapter import read_data

        own = folder / f"rows-of-{processes.rank}"
        own.mkdir()
        write_rows(own / "rows.jsonl", colour_rows(ROWS + 2 * processes.rank))
        base, record = base_of(folder, "lora"), a_base_record()
        data = read_data(config_of("lora"), data_folder=own, base_folder=base, base_record=record)
        _require_equal(processes, record, data.identities)

    return in_processes(2, a_port(), work, folder)


def of_a_large_base(folder: Path) -> dict[str, Any]:
    """The most that each of two processes takes beyond its imports while it loads and trains on a base of over 2 GB, in bytes."""
    from tests.processes.memory_probe import status

    base = a_base_folder(folder / "large", **LARGE)
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))

    def work(processes: Processes) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
        before = status("VmRSS:")
        changes = {"training__max_length": 16, "training__num_train_epochs": 0.01}  # a step
        trained = train_on(folder, base, config_of("lora", **changes), processes=processes)
        return {"grown": status("VmHWM:") - before, "share": facts_of(trained, processes, folder / "large.pt")["share"]}

    return {"weights": size, "processes": in_processes(2, a_port(), work, folder)}


def imported() -> None:
    """Everything that a fork would import otherwise, each anew."""
    for name in (
        "torch._dynamo",
        "torch.distributed.checkpoint",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "transformers.models.llama.modeling_llama",
        "peft.tuners.lora.layer",
        "peft.optimizers",
        "accelerate",
        "bitsandbytes",
    ):
        importlib.import_module(name)
    for method in ("lora", "full", "qlora"):
        implementation(method)


def main(folder: Path, names: list[str]) -> None:
    imported()
    write_rows(folder / "rows.jsonl", colour_rows(ROWS))
    found = {name: compared(folder, name) for name in names if name in METHODS}
    if "resume" in names:
        found["resume"] = killed_and_resumed(folder, "lora")
    if "large" in names:
        found["large"] = of_a_large_base(folder)
    if "data" in names:
        found["data"] = of_other_data(folder)
    if "memory" in names:
        found["memory"] = out_of_memory(folder, "lora")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

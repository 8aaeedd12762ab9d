"""One of the processes that `registry train --nproc` starts through torchrun: trains its share, and knows no registry.

Rank 0 tells what happens, as one JSON object a line on stdout, and writes the checkpoints. Before anything is trained all
processes compare base and data: on another machine the same names may mean something else.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.errors import EXIT_INTERRUPTED, KnownError, RunFailed
from peft_registry.schemas.progress import Advanced, Event, Finished, Measured, Observe, Started, Warned, ignore
from peft_registry.trainer.runs.launch import LaunchRefused, WorkerJob

if TYPE_CHECKING:
    from peft_registry.trainer.machine.processes import Processes

_LOOK_SECONDS = 1.0
# what gloo and NCCL say once another process has gone
_LOST = re.compile(r"Connection (?:closed|reset) by peer|remote process exited|NCCL error: remote")
_KINDS: dict[type, str] = {
    Started: "started",
    Advanced: "advanced",
    Measured: "measured",
    Finished: "finished",
    Warned: "warned",
}


def main(job_file: Path) -> None:
    """Do what the job file says, in the place that torchrun's environment gives."""
    job = WorkerJob.model_validate_json(job_file.read_bytes())
    _end_with(job.parent)
    # torchrun ends its workers with SIGTERM when the user pressed Ctrl-C: the step is finished and the state kept all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _train(job)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except KnownError as error:
        # whichever process it is: the others may know no more than that one of them is gone
        _say("error", {"what": error.what, "why": error.why, "fix": error.fix, "exit": error.exit_code})
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        # another process ended, and has said why, or was killed; what torch would tidy up with it at the end is gone
        sys.stdout.flush()
        os._exit(RunFailed.exit_code)


def _train(job: WorkerJob) -> None:
    import torch

    from peft_registry.trainer.machine.processes import under_torchrun
    from peft_registry.trainer.runs.resume import Keeper
    from peft_registry.trainer.training.train_adapter import load_setting, read_data, train_adapter

    device = "cpu"
    if job.config.training.device != "cpu" and torch.cuda.is_available():
        device = "cuda"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with under_torchrun(device, spreads=job.config.is_sharded) as processes:
        leads = processes.rank == 0
        observe: Observe = _tell if leads else ignore
        keeper = Keeper(job.run_folder, job.kept)

        data = read_data(
            job.config, data_folder=job.data_folder, base_folder=job.base_folder, base_record=job.base, observe=observe
        )
        _require_equal(processes, job.base, data.identities)
        if leads:
            keeper.data(data.identities)
        loaded = load_setting(
            job.config,
            data,
            base_folder=job.base_folder,
            observe=observe,
            checkpoints=keeper.checkpoints(job.config.training),
            processes=processes,
            scratch=job.run_folder / f"process-{processes.rank}",
            start=job.start,
        )
        train_adapter(loaded, observe=observe)


def _require_equal(processes: "Processes", base: BaseRecord, data: tuple[DataIdentity, ...]) -> None:
    """Raise unless every process loaded this base and read these data.

    Raises:
        LaunchRefused: one does not.
    """
    here = {
        "base": str(base.identity.weights),
        "data": str(canonical_digest([identity.to_json() for identity in data])),
    }
    for rank, there in enumerate(processes.gathered(here)):
        for what, digest in here.items():
            if isinstance(there, dict) and there[what] != digest:
                raise LaunchRefused(f"process {rank} has another {what} than process {processes.rank}: sha256 differs")


def _tell(event: Event) -> None:
    kind = _KINDS.get(type(event))
    if kind is not None:  # the story's own lines are told by the process that waits
        _say(kind, asdict(event))


def _say(kind: str, value: object) -> None:
    sys.stdout.write(json.dumps({"event": kind, "value": value}) + "\n")
    sys.stdout.flush()


def _end_with(parent: int) -> None:
    """End this process soon after the one that waits for it, or torchrun, has gone: a kill tells nobody."""
    torchrun = os.getppid()

    def look() -> None:
        while os.getppid() == torchrun and _lives(parent):
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))

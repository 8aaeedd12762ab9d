"""States of a training that others may run again: kept in the home, listed, and bound by the record of the run."""

import os
from pathlib import Path

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.transparency.run_states import bound_states
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.run_states import LIST_NAME, STATES_FOLDER, BoundStates, KeptState, RunStates, state_file
from peft_registry.trainer.machine.arithmetic import arithmetic_here
from peft_registry.trainer.runs.folder import TRAINING


def keep_states(
    run_folder: Path, states: Path, *, run_id: str, last_step: int, device: str, observe: Observe
) -> BoundStates | None:
    """Keep the states of a trained run in the home, and return what its record says of them; None where there are none.

    Args:
        run_folder: of the run, which is removed once it is registered.
        states: folder of the home.
        run_id: of the run.
        last_step: of the run.
        device: where it was trained.
        observe: hears how much was kept, or why nothing was.

    Raises:
        OSError: they cannot be written.
    """
    written = {
        int(path.stem.removeprefix("step-")): path for path in (run_folder / TRAINING / STATES_FOLDER).glob("step-*.pt")
    }
    if not written:
        return None
    if 0 not in written or last_step not in written:
        why = "it was resumed without what it had kept from its first step to its last, so that no stretch can be run again"
        observe(Warned("states-incomplete", why))
        return None
    folder = states / run_id
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for step, path in sorted(written.items()):
        kept = folder / state_file(step)
        kept.unlink(missing_ok=True)  # of an attempt to register that failed
        os.link(path, kept)
        hashed = hash_file(kept)
        listed.append(KeptState(step=step, sha256=hashed.sha256, bytes=kept.stat().st_size))
    found = RunStates(run_id=run_id, states=tuple(listed))
    write_atomically(folder / LIST_NAME, found.to_canonical())
    bound = bound_states(found, arithmetic_here(device))
    observe(Said("states", f"{bound.stretches} stretches can be run again: {bound.bytes / 1e6:.1f} MB in {folder}"))
    return bound

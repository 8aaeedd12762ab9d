"""`registry verify FOLDER --audit --rerun K`: stretches of a training, run again from the states that it kept.

Which stretches are run follows from the record and from a checkpoint of the log that covers it, so that nobody chose them. What the
folder cannot hold lies beside it: the states, the rows, and the base where the dossier has none.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from peft_registry.registry.disk.files import read_file, scratch_folder
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.documents.reperformed import Outcome, Reperformed
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.registry.identity.base import identify_base
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.transparency.note import read_unverified
from peft_registry.registry.transparency.run_states import drawn_stretches, root_of_states
from peft_registry.registry.use_cases.audit_folder import sources_in
from peft_registry.registry.use_cases.read_folder import ReadFolder
from peft_registry.registry.verification.presented_inputs import presented_inputs
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.canonical import canonical_bytes, canonical_digest
from peft_registry.schemas.config import TrainingFile, config_identity
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError
from peft_registry.schemas.manifest import FILE_NAME, SIGNATURE_NAME, FileEntry
from peft_registry.schemas.progress import Observe, Said
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_states import LIST_NAME, BoundStates, KeptState, RunStates
from peft_registry.trainer.machine.arithmetic import arithmetic_here

if TYPE_CHECKING:
    from peft_registry.trainer.training.rerun import Difference
    from peft_registry.trainer.training.train_adapter import LoadedSetting

# of how far a stretch moved the weights, by the format of the products. The same steps without vector instructions missed by 2.4e-4
# (fp32), 0.023 (fp16) and 0.042 (bf16) at most, in the first steps, where Adam divides by little
TOLERANCES = {"fp32": 0.01, "fp16": 0.05, "bf16": 0.05}
# a stretch that was never trained misses by 1; what lies between may be rounding that grew over many steps
MADE_UP = 0.5
_LIST_BYTES = 4 * 1024 * 1024
_RECORD = "evidence/statements.intoto.jsonl"


class StatesDiffer(IntegrityBroken):
    what = "{file} is not what the record of the run binds"
    why = "{reason}"
    fix = "ask whoever trained it for the states of this run"

    file: str
    reason: str


class CannotRerun(Exception):
    """Why nothing can be run again; carries the sentence."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What is to be run again.

    Attributes:
        folder: that was handed over, verified and read.
        count: how many stretches.
        states: the folder of the kept states.
        data: the folder of the rows, under the names that the record has of the files.
        base: the folder of the base; None where it lies in the dossier.
    """

    folder: ReadFolder
    count: int
    states: Path
    data: Path
    base: Path | None


def rerun(asked: Rerun, observe: Observe) -> Iterator[Reperformed]:
    """A line for the states, for the ends of the run, and for each stretch that is drawn.

    Args:
        asked: what is run, from where.
        observe: hears what it will take, before anything is loaded, and of each step.
    """
    try:
        run, bound, root = _bound(asked.folder)
        listed = _listed(asked.states, run, bound)
    except CannotRerun as error:
        yield _line("stretches run again", "not possible", str(error))
        return
    except IntegrityBroken as error:
        yield _line("states of the run", "differs", f"{error.what}: {error.why}", LIST_NAME)
        return
    drawn = drawn_stretches(bound, root, asked.count)
    ends = [(listed[stretch], listed[stretch + 1]) for stretch in drawn]
    read = {state.step: state for state in (listed[0], listed[-1], *(state for pair in ends for state in pair))}
    _say_sizes(bound, listed, ends, read, observe)
    wrong = list(_states_read(asked.states, read))
    if wrong:
        yield from wrong
        return
    text = (
        f"{len(read)} of {len(listed)} states have the digests that the record binds; drawn by the log: {_words(ends)}"
    )
    yield _line("states of the run", "reproduced", text, LIST_NAME)
    try:
        load = _loader(asked, run, observe)
    except CannotRerun as error:
        yield _line("stretches run again", "not possible", str(error))
        return
    except KnownError as error:
        yield _line("stretches run again", "not possible", f"{error.what}: {error.why}")
        return
    try:
        yield from _ends(asked, load(), listed[0], listed[-1])
        yield _curve(asked, run, listed[-1])
    except KnownError as error:  # a state that the record binds does not load into this model
        yield _line("ends of the run", "differs", f"{error.what}: {error.why}", LIST_NAME)
    for pair in ends:
        try:
            yield _stretch(asked, run, load(), pair, observe)
        except KnownError as error:  # a state does not load into this model, or the steps diverge
            yield _line(f"steps {_steps(pair)}", "differs", f"{error.what}: {error.why}", pair[1].file)


def _bound(read: ReadFolder) -> tuple[RunRecord, BoundStates, bytes]:
    """The record of the run, what it says of its states, and the root of the log that draws.

    Raises:
        CannotRerun: one of them is not here.
    """
    run = read.shown.records.run
    if run is None:
        raise CannotRerun(
            "no record of a training is here: it stays with whoever handed this over, or nothing was trained"
        )
    if run.states is None:
        raise CannotRerun("its training kept no states: training.audit_checkpoints was not set")
    listed = read.shown.findings.listed
    if listed is None:
        raise CannotRerun("no checkpoint of the log is here that could draw stretches")
    _, _, root = read_unverified(listed.proof.checkpoint_text)  # the checks have verified it
    return run, run.states, root


def _listed(folder: Path, run: RunRecord, bound: BoundStates) -> tuple[KeptState, ...]:
    """The states by their list, which the record binds.

    Raises:
        CannotRerun: there is no list.
        StatesDiffer: it is not the one.
    """
    path = folder / LIST_NAME
    if not path.is_file():
        raise CannotRerun(f"there is no {LIST_NAME} in {folder}: name the folder with --states")
    try:
        states = RunStates.from_json(read_json(read_file(path, max_bytes=_LIST_BYTES), what=LIST_NAME))
    except ValidationError as error:
        raise StatesDiffer(LIST_NAME, first_problem(error)) from error
    if states.run_id != run.run_id:
        raise StatesDiffer(LIST_NAME, f"it is of the run {states.run_id[:12]}, and this is of {run.run_id[:12]}")
    root = root_of_states(states)
    if root != bound.root or len(states.states) != bound.stretches + 1:
        raise StatesDiffer(LIST_NAME, f"its root is {root.short}, the record has {bound.root.short}")
    return states.states


def _say_sizes(
    bound: BoundStates,
    listed: tuple[KeptState, ...],
    ends: list[tuple[KeptState, KeptState]],
    read: dict[int, KeptState],
    observe: Observe,
) -> None:
    steps = sum(end.step - begin.step for begin, end in ends)
    size = sum(state.bytes for state in read.values()) / 1e6
    text = (
        f"{len(ends)} of {bound.stretches} stretches, {_words(ends)}: {steps} of {listed[-1].step} steps are computed; "
        f"reads {size:.1f} MB of states, the rows and the base"
    )
    observe(Said("rerun", text))


def _words(ends: list[tuple[KeptState, KeptState]]) -> str:
    return "steps " + ", ".join(_steps(pair) for pair in ends)


def _steps(pair: tuple[KeptState, KeptState]) -> str:
    begin, end = pair
    return f"{begin.step + 1}-{end.step}"


def _states_read(folder: Path, read: dict[int, KeptState]) -> Iterator[Reperformed]:
    """A line for each state that is not here, or is not the one that is bound."""
    for state in read.values():
        path = folder / state.file
        if not path.is_file():
            yield _line(
                f"state of step {state.step}", "not possible", f"there is no {state.file} in {folder}", state.file
            )
            continue
        found = hash_file(path).sha256
        if found != state.sha256:
            text = f"bound is {state.sha256.short}, it hashes to {found.short}"
            yield _line(f"state of step {state.step}", "differs", text, state.file)


def _loader(asked: Rerun, run: RunRecord, observe: Observe) -> "Callable[[], LoadedSetting]":
    """What loads the base anew for each use, with the training as the record has it on its rows.

    Raises:
        CannotRerun: something of it is not here, or is another.
        KnownError: rows or base are refused.
    """
    import torch

    from peft_registry.trainer.training.train_adapter import load_setting, read_data

    config = _config(run)
    if any(parent.role == "start" for parent in asked.folder.shown.manifest.parents):
        raise CannotRerun("it continues a training of another adapter, whose weights are not read here")
    base_folder, record = _base(asked)
    torch.set_num_threads(run.environment.threads)  # sums are split by them
    data = read_data(config, data_folder=asked.data, base_folder=base_folder, base_record=record, observe=observe)
    for recorded, here in zip(run.data, data.identities, strict=True):
        if recorded != here:
            raise CannotRerun(
                f"{recorded.name} in {asked.data} is another file, or is read otherwise, than the record says"
            )
    return lambda: load_setting(config, data, base_folder=base_folder)


def _config(run: RunRecord) -> TrainingFile:
    """The training file that the record holds.

    Raises:
        CannotRerun: this release does not read it so.
    """
    if run.followed is not None:
        raise CannotRerun(f"{run.followed.trainer} trained it, and not our loop")
    try:
        config = TrainingFile.model_validate_json(canonical_bytes(run.config))
    except ValidationError as error:
        raise CannotRerun(f"this release does not read its settings: {first_problem(error)}") from error
    if canonical_digest(config_identity(config)) != run.config_sha256:
        raise CannotRerun("this release reads its settings otherwise than the one that trained")
    return config


def _base(asked: Rerun) -> tuple[Path, BaseRecord]:
    """The folder of the base, with the bytes that the manifest names, and what is recorded of it.

    Raises:
        CannotRerun: they are not here.
    """
    reference = asked.folder.shown.manifest.base
    digest = None if reference is None else reference.manifest
    stated = [
        BaseRecord.from_json(entry.statement.predicate)
        for entry in presented_inputs(asked.folder.shown.findings).values()
        if entry.statement.kind == "base" and entry.statement.subject_digest == digest
    ]
    if reference is None or digest is None or not stated:
        raise CannotRerun("nothing is recorded of its base here")
    here = sources_in(asked.folder.folder).get(digest)
    folder = asked.base or here
    if folder is None or not any(folder.glob("*.safetensors")):
        raise CannotRerun("the weights of its base are not here: --base FOLDER, or a dossier written --with-base")
    found = identify_base(folder, beside=(FILE_NAME, SIGNATURE_NAME)).identity
    if found.weights != reference.identity.weights or found.tokenizer != reference.identity.tokenizer:
        raise CannotRerun(
            f"{folder} is not its base: its weights are {found.weights.short}, and {reference.identity.weights.short} is meant"
        )
    return folder, stated[-1]


def _ends(asked: Rerun, loaded: "LoadedSetting", first: KeptState, last: KeptState) -> Iterator[Reperformed]:
    """Whether the run begins where its method does, and what is registered is what its last state holds."""
    from peft_registry.trainer.training.rerun import save_last

    manifest = asked.folder.shown.manifest
    weights = {file.path for file in manifest.weights}
    _, record = _base(asked)
    with scratch_folder("registry-rerun-") as folder:
        begins = save_last(
            loaded, asked.states / first.file, asked.states / last.file, folder, base=BaseToOpen.of(record)
        )
        odd = [entry.path for entry in manifest.files if entry.path in weights and not _is_written(folder, entry)]
    figure = "weights before the first step"
    if begins:
        yield _line(figure, "reproduced", "those that the method makes from the seed", first.file)
    else:  # what draws them may be another release of torch
        yield _line(figure, "not possible", "this machine draws others from the seed", first.file)
    figure = "weights after the last step"
    if odd:
        yield _line(figure, "differs", f"{odd[0]} is not what the last state gives", last.file)
    else:
        yield _line(figure, "reproduced", "the files of the artifact, to the last bit", last.file)


def _is_written(folder: Path, entry: FileEntry) -> bool:
    return (folder / entry.path).is_file() and hash_file(folder / entry.path).sha256 == entry.sha256


def _curve(asked: Rerun, run: RunRecord, last: KeptState) -> Reperformed:
    from peft_registry.trainer.training.rerun import losses_of

    if losses_of(asked.states / last.file) == run.curve.loss:
        text = f"{len(run.curve.loss)} losses are those of the last state"
        return _line("curve of the run", "reproduced", text, _RECORD)
    return _line("curve of the run", "differs", "the last state has other losses than the record", _RECORD)


def _stretch(
    asked: Rerun, run: RunRecord, loaded: "LoadedSetting", pair: tuple[KeptState, KeptState], observe: Observe
) -> Reperformed:
    from peft_registry.trainer.training.rerun import run_stretch

    begin, end = pair
    difference = run_stretch(loaded, asked.states / begin.file, asked.states / end.file, observe=observe)
    assert run.states is not None, "its states were read"
    other = _otherwise(run.states.arithmetic, arithmetic_here(loaded.hardware.device))
    outcome, text = _judged(difference, other, TOLERANCES[loaded.hardware.dtype])
    return _line(f"steps {_steps(pair)}", outcome, text, end.file)


def _judged(difference: "Difference", other: tuple[str, ...], tolerance: float) -> tuple[Outcome, str]:
    """What came of a stretch; `other` is in what this machine may round otherwise than the one that trained."""
    if not difference.parts:
        return "reproduced", "weights, optimizer, generators and losses, to the last bit"
    parts = ", ".join(difference.parts)
    missed = f"{parts} are others; the weights miss by {difference.distance:.2g} of the way that they went"
    if not other:
        return "differs", f"{missed}, on a machine that rounds as the one that trained"
    named = ", ".join(name.replace("_", " ") for name in other)
    if difference.distance <= tolerance:
        return "within tolerance", f"{missed}, to {tolerance:g} of it; this machine has other {named}"
    if difference.distance >= MADE_UP:
        return "differs", f"{missed}: as if they had not been trained so"
    return (
        "not possible",
        f"{missed}, more than {tolerance:g}, and this machine has other {named}: an equal one decides it",
    )


def _otherwise(recorded: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """The names of what decides the last bits and is another here than where it was trained."""
    return tuple(name for name in sorted(recorded.keys() | here.keys()) if recorded.get(name) != here.get(name))


def _line(figure: str, outcome: Outcome, text: str, file: str = "") -> Reperformed:
    return Reperformed(figure=figure, outcome=outcome, text=text, file=file)

"""The states of a training that others may run again: kept in the home, listed and bound; none where an end is missing."""

import json
from pathlib import Path

import pytest

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.transparency.run_states import root_of_states
from peft_registry.schemas.config import config_identity, config_record
from peft_registry.schemas.progress import Event, Said, Warned
from peft_registry.schemas.run_states import RunStates, state_file
from peft_registry.schemas.sharding import SeveralProcessesRefused, check_processes
from peft_registry.trainer.machine.arithmetic import arithmetic_here
from peft_registry.trainer.methods import CombinationRefused, check_combinations
from peft_registry.trainer.runs.states import keep_states
from tests.builders.training import a_training_file


def a_run(folder: Path, *steps: int) -> Path:
    """The folder of a run that wrote a state after each of these steps."""
    states = folder / "training" / "audited"
    states.mkdir(parents=True)
    for step in steps:
        (states / state_file(step)).write_bytes(b"state %d" % step)
    return folder


def kept(run: Path, states: Path, heard: list[Event], *, last_step: int = 8):
    return keep_states(run, states, run_id="run-1", last_step=last_step, device="cpu", observe=heard.append)


def test_states_are_kept_in_the_home_listed_and_bound_once_the_run_is_gone(tmp_path: Path) -> None:
    run, heard = a_run(tmp_path / "run", 0, 4, 8), []
    (tmp_path / "states" / "run-1").mkdir(parents=True)
    (tmp_path / "states" / "run-1" / state_file(4)).write_bytes(b"of an attempt to register that failed")
    bound = kept(run, tmp_path / "states", heard)
    for file in (run / "training" / "audited").iterdir():
        file.unlink()
    folder = tmp_path / "states" / "run-1"
    listed = RunStates.from_json(json.loads((folder / "states.json").read_bytes()))
    assert bound is not None
    assert (bound.stretches, bound.bytes, bound.root) == (2, 21, root_of_states(listed))
    assert [(state.step, state.sha256) for state in listed.states] == [
        (step, hash_file(folder / state_file(step)).sha256) for step in (0, 4, 8)
    ]
    (said,) = heard
    assert isinstance(said, Said) and str(folder) in said.text


@pytest.mark.parametrize("steps", [(4, 8), (0, 4)])
def test_a_run_whose_first_or_last_state_is_missing_binds_none_and_says_so(
    steps: tuple[int, ...], tmp_path: Path
) -> None:
    heard: list[Event] = []
    assert kept(a_run(tmp_path / "run", *steps), tmp_path / "states", heard) is None
    (warned,) = heard
    assert isinstance(warned, Warned) and "no stretch can be run again" in warned.text
    assert not (tmp_path / "states").exists()


def test_a_run_that_kept_none_says_nothing(tmp_path: Path) -> None:
    heard: list[Event] = []
    (tmp_path / "run").mkdir()
    assert kept(tmp_path / "run", tmp_path / "states", heard) is None
    assert heard == []


def test_for_whom_the_state_is_kept_changes_no_identity_and_is_recorded_only_where_it_is_asked() -> None:
    plain, audited = a_training_file(), a_training_file(training__audit_checkpoints=4)
    assert config_identity(plain) == config_identity(audited)
    assert "audit_checkpoints" not in config_record(plain)["training"]
    assert config_record(audited)["training"]["audit_checkpoints"] == 4


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("early stopping", {"training__early_stopping": {"patience": 2}, "training__eval_steps": 2}),
        ("sharding", {"training__sharding": "full"}),
        ("several seeds", {"method": "prompt_tuning", "prompt_tuning__seeds": 2}),
        ("continue_from", {"continue_from": "polite:1"}),
    ],
)
def test_a_run_whose_stretches_do_not_lead_from_the_base_to_the_result_keeps_no_states(
    kind: str, settings: dict[str, object]
) -> None:
    check_combinations(a_training_file(training__audit_checkpoints=4))
    with pytest.raises(CombinationRefused, match=f"training.audit_checkpoints and {kind}"):
        check_combinations(a_training_file(training__audit_checkpoints=4, **settings))


def test_several_processes_keep_no_states() -> None:
    check_processes(a_training_file(training__audit_checkpoints=4), nproc=1, nnodes=1)
    for nproc, nnodes in ((2, 1), (1, 2)):
        with pytest.raises(SeveralProcessesRefused, match="2 processes"):
            check_processes(a_training_file(training__audit_checkpoints=4), nproc=nproc, nnodes=nnodes)


def test_what_decided_the_last_bits_is_told_by_names_that_are_signed_and_follows_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"cpu_capability", "cpu_flags", "threads", "torch_build", "libraries", "variables"}
    here = arithmetic_here("cpu")
    assert here.keys() == names and here == arithmetic_here("cpu")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    told = arithmetic_here("cpu")
    assert {name for name in names if told[name] != here[name]} == {"variables"}
    assert "MKL_CBWR=COMPATIBLE" in told["variables"]

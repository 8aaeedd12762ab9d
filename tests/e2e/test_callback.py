"""Scripts as the documentation of transformers and TRL has them, with the lines of the callback: each in its own process."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.builders.homes import copied_workplace
from tests.e2e.commands import Done, WarmCommand, environment
from tests.processes.interpreter import ROOT

SCRIPTS = ROOT / "tests" / "e2e" / "scripts"
PAGE = ROOT / "docs" / "how-to" / "track-an-existing-script.md"
CHECKPOINT = "HuggingFaceTB/SmolLM2-135M-Instruct"
OBJECTIVES = {
    "trainer": "next-token cross-entropy over the labelled tokens",
    "sft": "next-token cross-entropy over the labelled tokens",
    "dpo": "direct preference optimization (DPO), loss_type sigmoid, beta 0.1",
}
NAMES = [
    "trainer",
    pytest.param("sft", marks=pytest.mark.peers),
    pytest.param("dpo", marks=[pytest.mark.peers, pytest.mark.full]),  # test_doors.py registers what DPO trained
]


def script(name: str, base: Path, *changes: tuple[str, str]) -> str:
    """The text of a script, with a folder in place of the base's name on the Hub."""
    text = (SCRIPTS / f"{name}.py").read_text("utf-8").replace(CHECKPOINT, str(base))
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return text


def run_script(
    text: str, folder: Path, *, before: tuple[str, ...] = (sys.executable,), besides: Mapping[str, str] | None = None
) -> Done:
    """Run it in a folder, as a user does; `besides` are variables of its environment."""
    path = folder / "train.py"
    path.write_text(text, "utf-8")
    own = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "HF_DATASETS_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*before, str(path)],
        cwd=folder,
        env=environment(folder, **own, **(besides or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def check_registered(name: str, folder: Path, warm: WarmCommand) -> None:
    """The version verifies, with the record of its own run."""
    label = f"polite-{name}:1"
    assert warm("verify", label, cwd=folder).ok().out.splitlines()[-1] == "verified"
    record = warm("record", label, "--output", "json", cwd=folder).ok().out
    assert OBJECTIVES[name] in record
    assert str(folder) not in record


@pytest.mark.parametrize("name", ["trainer", "sft", "dpo"])
def test_a_script_has_at_most_three_changed_lines_and_stands_on_the_page(name: str) -> None:
    text = (SCRIPTS / f"{name}.py").read_text("utf-8")
    changed = [line for line in text.splitlines() if "RegistryCallback" in line or "peft_registry" in line]
    assert 0 < len(changed) <= 3
    ast.parse("\n".join(line for line in text.splitlines() if line not in changed))
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert text in blocks


@pytest.fixture(scope="module")
def ran(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Done]]:
    """Runs a script on the embedded base, the first time that it is asked for; the folder, and how it ended."""
    from peft_registry.trainer.embedded import embedded_base

    @cache
    def run_once(name: str) -> tuple[Path, Done]:
        folder = copied_workplace(empty_home, tmp_path_factory.mktemp(name) / "work")
        return folder, run_script(script(name, embedded_base()), folder).ok()

    return run_once


@pytest.mark.processes
@pytest.mark.parametrize("name", NAMES)
def test_a_script_registers_what_it_trained(
    name: str, ran: Callable[[str], tuple[Path, Done]], warm: WarmCommand
) -> None:
    folder, done = ran(name)
    assert f"next: registry record polite-{name}:1" in done.err
    check_registered(name, folder, warm)


@pytest.mark.processes
def test_a_training_that_is_told_to_end_says_that_nothing_was_registered(workplace: Path, warm: WarmCommand) -> None:
    from peft_registry.trainer.embedded import embedded_base

    killed = (
        "trainer.train()",
        "import os, signal\n"
        "from transformers import TrainerCallback\n"
        "class Killed(TrainerCallback):\n"
        "    def on_step_end(self, args, state, control, **_):\n"
        "        if state.global_step == 2:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "trainer.add_callback(Killed())\n"
        "trainer.train()",
    )
    done = run_script(script("trainer", embedded_base(), killed), workplace)
    assert done.code == 128 + 15
    assert (
        "registry: the training of polite-trainer did not come to its end; nothing was registered"
        in done.err.splitlines()
    )
    assert warm("show", "polite-trainer", cwd=workplace).code == 7
    (run,) = warm("runs", "list", "-o", "json", cwd=workplace).ok().value
    assert (run["name"], run["state"], run["step"], run["steps"]) == ("polite-trainer", "KILLED", 1, 4)
    assert warm("runs", "remove", run["run_id"][:6], cwd=workplace).code == 0
    assert not list((workplace / ".registry" / "runs").glob("*"))


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.slow
def test_of_several_processes_the_first_registers_with_the_tokens_of_all(
    ran: Callable[[str], tuple[Path, Done]], workplace: Path, warm: WarmCommand
) -> None:
    from peft_registry.trainer.embedded import embedded_base

    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    # two steps of both read the rows of four steps of one; without a GPU, transformers lets processes train together if told so
    together = ('report_to="none"', 'report_to="none", use_cpu=True')
    text = script("trainer", embedded_base(), ("max_steps=4", "max_steps=2"), together)
    done = run_script(text, workplace, before=(*launch, "--master-port", "29517")).ok()
    assert done.err.count("next: registry record polite-trainer:") == 1
    alone, _ = ran("trainer")
    tokens = [_supervised(warm, folder, "polite-trainer:1") for folder in (workplace, alone)]
    assert tokens[0] == tokens[1] > 0
    check_registered("trainer", workplace, warm)


# Accelerate spreads weights over accelerators alone; PyTorch does it over processes of a processor too
SPREADS_ON_A_PROCESSOR = """\
from accelerate.state import AcceleratorState, DistributedType, PartialState

own = AcceleratorState.__init__

def on_a_processor(self, *arguments, fsdp_plugin=None, **options):
    own(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP

AcceleratorState.__init__ = on_a_processor

"""


@pytest.mark.full
@pytest.mark.peers
@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(1500)
def test_of_processes_that_have_a_part_of_the_weights_each_the_first_registers_what_one_process_would(
    ran: Callable[[str], tuple[Path, Done]], workplace: Path, warm: WarmCommand
) -> None:
    from peft_registry.trainer.embedded import embedded_base

    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    spread = (
        'report_to="none"',
        'report_to="none", use_cpu=True, fsdp=True, fsdp_config={"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}',
    )
    text = SPREADS_ON_A_PROCESSOR + script("sft", embedded_base(), ("max_steps=4", "max_steps=2"), spread)
    done = run_script(text, workplace, before=(*launch, "--master-port", "29519")).ok()
    assert done.err.count("next: registry record polite-sft:") == 1
    check_registered("sft", workplace, warm)
    alone, _ = ran("sft")
    assert _known_fields(warm, workplace, "polite-sft:1") == _known_fields(warm, alone, "polite-sft:1")
    shown = warm("show", "polite-sft:1", "--output", "json", cwd=workplace).ok().out
    assert "the weights are spread over processes (FSDP2)" in shown


@pytest.mark.full
@pytest.mark.peers
@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("stage", [1, 2])
def test_of_deepspeeds_processes_the_first_registers_what_one_would_where_each_has_the_weights_whole(
    stage: int, ran: Callable[[str], tuple[Path, Done]], workplace: Path, warm: WarmCommand, tmp_path: Path
) -> None:
    from peft_registry.trainer.embedded import embedded_base

    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    sizes = '"train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto"'
    settings = f'{{{sizes}, "zero_optimization": {{"stage": {stage}}}, "zero_force_ds_cpu_optimizer": False}}'
    spread = ('report_to="none"', f'report_to="none", use_cpu=True, deepspeed={settings}')
    text = script("sft", embedded_base(), ("max_steps=4", "max_steps=2"), spread)
    done = run_script(
        text,
        workplace,
        before=(*launch, "--master-port", str(29530 + stage)),
        # what it compiles is of this test alone: whoever is killed while compiling leaves a lock that others wait for
        besides={"DS_ACCELERATOR": "cpu", "TORCH_EXTENSIONS_DIR": str(tmp_path / "compiled")},
    )
    assert done.ok().err.count("next: registry record polite-sft:") == 1
    check_registered("sft", workplace, warm)
    alone, _ = ran("sft")
    assert _known_fields(warm, workplace, "polite-sft:1") == _known_fields(warm, alone, "polite-sft:1")
    assert "AdamW (adamw_torch" in warm("record", "polite-sft:1", "--output", "json", cwd=workplace).ok().out


def _known_fields(warm: WarmCommand, folder: Path, label: str) -> set[str]:
    """The fields of a record that have a value, by their path."""
    found: set[str] = set()

    def look(value: object, path: str) -> None:
        if isinstance(value, dict):
            if value.get("value") is not None and "source" in value:
                found.add(path)
            for key, inner in value.items():
                look(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for inner in value:
                look(inner, f"{path}[]")

    look(json.loads(warm("record", label, "--output", "json", cwd=folder).ok().out), "")
    assert found
    return found


def _supervised(warm: WarmCommand, folder: Path, label: str) -> int:
    """Tokens that carried loss, which no padding changes."""
    shown = warm("show", label, "--output", "json", cwd=folder).ok().out
    found = re.search(r'"supervised_tokens":\s*\{[^{}]*?"value":\s*([0-9]+)', shown)
    assert found is not None, shown[:2000]
    return int(found[1])


@pytest.mark.full  # that each script registers is shown above; here its model is another, which test_real_model.py trains
@pytest.mark.real_model
@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["trainer", "sft", "dpo"])
def test_the_scripts_register_what_they_train_of_a_real_model(
    name: str, workplace: Path, warm: WarmCommand, smollm2: Path
) -> None:
    run_script(script(name, smollm2, ("max_steps=4", "max_steps=2, per_device_train_batch_size=2")), workplace).ok()
    check_registered(name, workplace, warm)

"""Wrong facts end a training before torch is imported: nothing is loaded for a line of YAML that is refused anyway."""

from pathlib import Path

import pytest

from tests.processes.interpreter import modules_after, packages

BAD = 'asserted_by: "alex"\ngpai: {placing_date: tomorrow}\nenergy: {training_kwh: -3}\n'
INIT = "from peft_registry.cli.main import run; assert run(['init', '--unencrypted', '--home', 'home']) == 0"
TRAIN = """
import contextlib, io
from peft_registry.cli.main import run
told = io.StringIO()
with contextlib.redirect_stderr(told):
    code = run(["train", "example/train.yml", "facts=BAD", "--home", "home"])
assert code == 2 and "not a day of the calendar" in told.getvalue() and "-3 is not more than 0" in told.getvalue()
"""


@pytest.mark.processes
def test_wrong_facts_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "facts.yml").write_text(BAD)
    modules_after(INIT, cwd=tmp_path)
    loaded = modules_after(TRAIN.replace("BAD", str(tmp_path / "facts.yml")), cwd=tmp_path)
    assert not packages(loaded) & {"torch", "transformers", "peft", "safetensors"}

"""Wrong facts and layers end a training before torch is imported: nothing is loaded for a line of YAML that is refused anyway."""

from pathlib import Path

import pytest

from tests.builders.training import a_base_folder
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
ADD_BASE = "\nassert run(['base', 'add', 'base', '--name', 'tiny', '--home', 'home']) == 0"
NAMES = """
import contextlib, io
from peft_registry.cli.main import run
for words, says in (
    (["lora.target_modules=[query]"], "lora.target_modules ['query']"),
    (["lora.target_modules=[lm_head]"], "names lm_head, whose weights the base shares"),
    (["lora.exclude_modules=[query]"], "lora.exclude_modules ['query']"),
    (["lora.alpha_pattern={query: 2}"], "lora.alpha_pattern names 'query'"),
    (["method=ia3", "ia3.target_modules=[query]"], "ia3.target_modules ['query']"),
    (["method=bottleneck", "bottleneck.target_modules=[query]"], "bottleneck.target_modules ['query']"),
    (["method=full", "full.freeze=[model]"], "full.freeze leaves nothing to train"),
    (["method=full", "full.freeze=[embed_token,emb_tokens]"], "full.freeze names 'emb_tokens', and no parameter's name"),
):
    for dry in ([], ["--dry-run"]):
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            code = run(["train", "example/train.yml", "base=tiny", *words, *dry, "--home", "home"])
        assert code == 2 and says in told.getvalue(), told.getvalue()
"""


@pytest.mark.processes
def test_wrong_facts_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "facts.yml").write_text(BAD)
    modules_after(INIT, cwd=tmp_path)
    loaded = modules_after(TRAIN.replace("BAD", str(tmp_path / "facts.yml")), cwd=tmp_path)
    assert not packages(loaded) & {"torch", "transformers", "peft", "safetensors"}


@pytest.mark.processes
def test_layers_that_a_base_does_not_have_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    a_base_folder(tmp_path / "base")
    modules_after(INIT + ADD_BASE, cwd=tmp_path)
    loaded = modules_after(NAMES, cwd=tmp_path)
    assert not packages(loaded) & {"torch", "transformers", "peft", "safetensors"}

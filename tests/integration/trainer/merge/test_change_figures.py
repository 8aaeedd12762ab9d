"""What a record says of the weights that an adapter changes: a figure, or why there is none, and never what a merge refuses."""

from pathlib import Path

import pytest
from peft import IA3Config, PeftConfig, PrefixTuningConfig, PromptTuningConfig, VeraConfig, get_peft_model

from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.change_figures import figures_of_adapter
from tests.builders.training import a_base_folder, a_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def saved(folder: Path, config: PeftConfig) -> Path:
    get_peft_model(a_model(), config).save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder / "adapter"


def test_that_an_adapter_is_not_folded_here_is_not_recorded_of_its_weights(tmp_path):
    base = a_base_folder(tmp_path / "base")
    adapter = saved(tmp_path, VeraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"]))
    figures = figures_of_adapter(base, adapter, is_quantized=False)
    assert read_adapter(adapter).why_not_folded is not None
    assert figures.relative_norm is None
    assert str(figures.norm_unknown).startswith("not derived: ")  # its weights change: peft merges it
    # two random matrices for both layers, of which none is trained, and two vectors a layer
    assert figures.added == 4 * 32 + 32 * 4 + 2 * (4 + 32)


@pytest.mark.parametrize(("kind", "added"), [(PromptTuningConfig, 2 * 32), (PrefixTuningConfig, 2 * 2 * 2 * 16)])
def test_what_changes_no_weight_has_no_norm(tmp_path, kind, added):
    base = a_base_folder(tmp_path / "base")
    adapter = saved(tmp_path, kind(task_type="CAUSAL_LM", num_virtual_tokens=2))
    figures = figures_of_adapter(base, adapter, is_quantized=False)
    assert str(figures.norm_unknown).startswith("there is none: ")
    assert figures.added == added


def test_what_is_folded_here_has_its_figure(tmp_path):
    base = a_base_folder(tmp_path / "base")
    adapter = saved(tmp_path, IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]))
    figures = figures_of_adapter(base, adapter, is_quantized=False)
    assert (figures.relative_norm, figures.norm_unknown) == (0.0, None)  # fresh scales are one

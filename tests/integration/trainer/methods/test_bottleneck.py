"""Bottleneck adapters: a peft method of our own that starts as a no-op, has the papers' sizes, and is never merged."""

import ast
import importlib.util
import inspect
import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from peft.utils import peft_types

from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.methods import bottleneck_adapter as METHOD
from peft_registry.trainer.methods.bottleneck_adapter import NotMergeable, SublayersNotKnown
from peft_registry.trainer.methods.layer_names import TargetsNotFound
from peft_registry.trainer.training.loop import train
from tests.builders.training import a_model, a_training_file, logits_of, some_batches

HIDDEN, SIZE, LAYERS = 32, 4, 2
PACKAGES = ("schemas", "registry", "trainer", "cli", "tests")


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


def prepared(*, base=None, **block):
    config = a_training_file(
        method="bottleneck", **{f"bottleneck__{k}": v for k, v in ({"size": SIZE} | block).items()}
    )
    return METHOD.prepare(base or a_model(), config, seed=1), config


def learnt(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_a_fresh_adapter_is_an_exact_no_op_of_the_papers_size(batches, placement):
    model, _ = prepared(placement=placement)
    assert torch.equal(logits_of(model, batches), logits_of(a_model(), batches))
    each = 2 * HIDDEN * SIZE + HIDDEN + SIZE
    assert learnt(model) == LAYERS * each * (2 if placement == "houlsby" else 1)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_serial_and_parallel_are_what_their_formula_says(activation):
    function = {"relu": torch.relu, "gelu": torch.nn.functional.gelu, "silu": torch.nn.functional.silu}[activation]
    for placement in ("pfeiffer", "parallel"):
        model, _ = prepared(placement=placement, activation=activation, scale=0.5)
        layer = model.base_model.model.model.layers[0].mlp
        down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
        torch.nn.init.normal_(up.weight)
        torch.nn.init.normal_(up.bias)
        x = torch.randn(2, 3, HIDDEN)
        with torch.no_grad():
            h = layer.base_layer(x)
            read = x if placement == "parallel" else h
            expected = h + 0.5 * (function(read @ down.weight.T + down.bias) @ up.weight.T + up.bias)
            assert torch.allclose(layer(x), expected, atol=1e-5)


def test_two_adapters_live_on_one_base_and_one_is_switched_on(batches, tmp_path):
    model, config = prepared()
    train(model, batches, config.training)
    METHOD.save(model, tmp_path, base=None)
    first = logits_of(model, batches)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        model.load_adapter(str(tmp_path), adapter_name="second")
    for name, layer in ((n, m) for n, m in model.named_modules() if hasattr(m, "bottleneck_up")):
        assert name and set(layer.bottleneck_up) == {"default", "second"}
    model.set_adapter("second")
    assert torch.equal(logits_of(model, batches), first)
    with model.disable_adapter():
        assert torch.equal(logits_of(model, batches), logits_of(a_model(), batches))
    back = model.unload()
    assert torch.equal(logits_of(back, batches), logits_of(a_model(), batches))


def test_merging_is_refused_with_the_reason():
    model, _ = prepared()
    with pytest.raises(NotMergeable) as caught:
        model.merge_and_unload()
    assert caught.value.exit_code == 2
    with pytest.raises(NotMergeable):
        model.base_model.model.model.layers[0].mlp.merge()


def test_on_a_mixture_of_experts_the_whole_block_is_wrapped(batches):
    from tests.integration.trainer.methods.test_lora_variants import a_mixture

    model, config = prepared(base=a_mixture(), placement="houlsby")
    assert torch.equal(logits_of(model, batches), logits_of(a_mixture(), batches))
    curve = train(model, batches, config.training).curve.loss
    assert curve[-1] < curve[0]
    assert type(model.base_model.model.model.layers[0].mlp).__name__ == "BottleneckLayer"


def test_on_a_bf16_base_adapters_are_fp32(batches):
    model, config = prepared(base=a_model().to(torch.bfloat16))
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    curve = [loss for _ in range(4) for loss in train(model, batches, config.training).curve.loss]
    assert sum(curve[-3:]) < sum(curve[:3])
    assert logits_of(model, batches).dtype == torch.bfloat16


def test_gradient_checkpointing_gives_the_same_losses(batches):
    curves = []
    for checkpointing in (False, True):
        config = a_training_file(method="bottleneck", training__gradient_checkpointing=checkpointing)
        model = METHOD.prepare(a_model(), config, seed=1)
        curves.append(train(model, batches, config.training).curve.loss)
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_modules_that_are_not_there_are_refused():
    with pytest.raises(TargetsNotFound, match="mpl"):
        prepared(target_modules=["mpl"])

    from transformers import MambaConfig, MambaForCausalLM

    with pytest.raises(SublayersNotKnown, match="auto"):
        prepared(base=MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=300)))


def test_the_name_is_made_known_to_peft_once_and_survives_lookup_pickle_and_json():
    from peft import PeftType

    member = PeftType("BOTTLENECK")
    assert member is PeftType.BOTTLENECK and member in list(PeftType)
    assert pickle.loads(pickle.dumps(member)) is member
    assert json.dumps(member) == '"BOTTLENECK"'
    before = len(PeftType)
    METHOD._register()
    assert len(PeftType) == before


def test_peft_does_not_ship_the_name_itself_and_no_module_is_called_bottleneck():
    """When a later peft has bottleneck adapters of its own, this says so before folders are misread."""
    shipped = ast.parse(inspect.getsource(peft_types))  # as a file, because here our name has been added to it
    (types,) = (node for node in shipped.body if isinstance(node, ast.ClassDef) and node.name == "PeftType")
    names = {target.id for node in types.body if isinstance(node, ast.Assign) for target in node.targets}
    assert "LORA" in names and "BOTTLENECK" not in names
    assert "BOTTLENECK" in peft_types.PeftType.__members__
    assert importlib.util.find_spec("bottleneck") is None, (
        "pandas takes what has this name for the package that it can use"
    )
    root = Path(METHOD.__file__).resolve().parents[2]
    assert not [path for room in PACKAGES for path in (root / room).rglob("bottleneck.py")]

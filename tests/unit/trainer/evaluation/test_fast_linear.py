"""The other library's product: the same numbers, only where nothing is asked but numbers, and gone afterwards."""

import pytest
import torch

from peft_registry.trainer.evaluation import fast_linear
from peft_registry.trainer.evaluation.fast_linear import fast_linear as fast


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large = torch.nn.Linear(256, 300)
        self.small = torch.nn.Linear(300, 8, bias=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.small(self.large(given))
        return result


@pytest.fixture(autouse=True)
def on_a_processor_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "onednn_is_faster", lambda: True)


@pytest.mark.parametrize("shape", [(1, 256), (2, 7, 256), (0, 256)])
def test_the_numbers_are_the_same_but_for_rounding_and_the_layer_is_as_before_afterwards(
    shape: tuple[int, ...],
) -> None:
    model, given = Model(), torch.randn(shape)
    with torch.inference_mode():
        expected = model(given)
        with fast(model):
            assert "forward" in vars(model.large)
            assert "forward" not in vars(model.small)
            torch.testing.assert_close(model(given), expected, rtol=1e-5, atol=1e-5)
        assert "forward" not in vars(model.large)
        assert torch.equal(model(given), expected)


def test_gradients_flow_as_always() -> None:
    model, given = Model(), torch.randn(3, 256, requires_grad=True)
    model(given).sum().backward()
    expected = given.grad
    given.grad = None
    with fast(model):
        model(given).sum().backward()
    assert expected is not None and given.grad is not None and torch.equal(given.grad, expected)


def test_other_formats_and_derived_layers_are_left_alone() -> None:
    class Derived(torch.nn.Linear):
        pass

    model = torch.nn.ModuleList([Derived(256, 300), torch.nn.Linear(256, 300, dtype=torch.bfloat16)])
    with fast(model):
        assert not any("forward" in vars(layer) for layer in model)


def test_a_failure_inside_restores_the_layers() -> None:
    model = Model()
    with pytest.raises(ValueError, match="x"), fast(model):
        raise ValueError("x")
    assert "forward" not in vars(model.large)

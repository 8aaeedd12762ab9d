"""LoRA as one operation, in models that go on with what a layer gave them in other ways than reading it."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from peft_registry.trainer.training.fused_lora import fused_lora


class AddsInPlace(nn.Module):
    """As the feed-forward layer of Llama 4: what the experts say is added in place to what the shared layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.routed = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.shared(x)
        y.add_(self.routed(x))
        return y


def test_a_model_may_add_in_place_to_what_a_layer_gives() -> None:
    torch.manual_seed(0)
    model = get_peft_model(AddsInPlace(), LoraConfig(r=2, target_modules=["shared", "routed"], init_lora_weights=False))
    for shape in ((3, 4), (2, 3, 4)):
        x = torch.randn(shape)
        expected = torch.autograd.grad(model(x).square().sum(), _trained(model))
        with fused_lora(model) as count:
            found = torch.autograd.grad(model(x).square().sum(), _trained(model))
        assert count == 2
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]

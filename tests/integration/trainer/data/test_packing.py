"""Rows side by side give exactly what they give alone, on every architecture that is trained so; leaving one condition out
is seen; fused LoRA layers and recomputed activations change nothing."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from peft_registry.trainer.data.collate import Batches, lay_flat
from peft_registry.trainer.data.packing import packs
from peft_registry.trainer.data.tokenize import IGNORED, Example
from peft_registry.trainer.methods import PackingRefused, check_combinations, implementation
from peft_registry.trainer.training.fused_lora import fused_lora
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.row_attention import _Rows, layout_of, row_attention
from tests.builders.training import a_model, a_training_file

LENGTHS = (9, 5, 12, 7)


def rows(lengths=LENGTHS, seed=3) -> tuple[Example, ...]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(0, 256, (length,), generator=generator).int().numpy()
        labels = ids.copy()
        labels[: length // 2] = IGNORED
        found.append(Example(ids, labels))
    return tuple(found)


def alone(model) -> torch.Tensor:
    """The logits of each row by itself, one after another: the oracle."""
    with torch.no_grad():
        parts = [model(input_ids=torch.tensor(one.ids.tolist())[None], use_cache=False).logits[0] for one in rows()]
    return torch.cat(parts)


def beside(model, *, positions=True, mask=False, cache=False) -> torch.Tensor:
    """The logits of all rows in one sequence, through transformers' own block-diagonal mask."""
    batch = lay_flat(rows(), layout="blocks")
    asked = {"position_ids": batch.position_ids} if positions else {}
    if mask:
        asked["attention_mask"] = torch.ones_like(batch.input_ids)
    with torch.no_grad():
        return model(input_ids=batch.input_ids, use_cache=cache, **asked).logits[0]


def small(architecture: str):
    """A random model of another family, of the size of `a_model`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {
        "qwen2": {"intermediate_size": 64, "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 4,
                  "max_window_layers": 1, "max_position_embeddings": 128},
        "gemma2": {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    }[architecture]  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **shape | more)
    config.initializer_range = 0.2
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_packed_logits_are_the_unpacked_ones(architecture):
    model = a_model() if architecture == "llama" else small(architecture)
    expected = alone(model)
    assert layout_of(model) == "rows"
    batch = lay_flat(rows(), layout="rows")
    with torch.no_grad(), row_attention(model) as attention:
        attention.of(batch.lengths)
        found = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits[0]
    assert (found - expected).abs().max() < 1e-4
    assert (beside(model) - expected).abs().max() < 1e-4, "and under transformers' mask"
    assert model.config._attn_implementation == "sdpa", "it is put back"


@pytest.mark.parametrize("window", [None, 8])
def test_in_bf16_rows_attend_as_exactly_as_the_number_format_allows(window):
    torch.manual_seed(1)
    lengths = (20, 200)  # both sides of where a row is attended to in fp32
    query, key, value = (torch.randn(1, heads, sum(lengths), 16).bfloat16() for heads in (4, 2, 2))
    of_rows = _Rows()
    of_rows.lengths = lengths
    found, _ = of_rows.attend(torch.nn.Module(), query, key, value, None, sliding_window=window)
    for row in range(2):
        begin, end = sum(lengths[:row]), sum(lengths[: row + 1])
        q, k, v = (one[:, :, begin:end].double() for one in (query, key, value))
        k, v = (one.repeat_interleave(2, dim=1) for one in (k, v))
        distance = torch.arange(end - begin)[:, None] - torch.arange(end - begin)[None, :]
        scores = q @ k.transpose(2, 3) / 16**0.5
        scores[:, :, (distance < 0) | (distance >= (window or len(distance)))] = -torch.inf
        expected = (scores.softmax(dim=-1) @ v).transpose(1, 2)
        torch.testing.assert_close(found[:, begin:end].double(), expected, rtol=2**-6, atol=2**-7)


def test_an_architecture_with_attention_of_its_own_takes_rows_under_a_mask_or_not_at_all():
    model = small("gemma2")
    model.set_attn_implementation("eager")
    assert layout_of(model) == "blocks"
    assert (beside(model) - alone(model)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "left_out", [{"positions": False}, {"mask": True}, {"cache": True}], ids=lambda one: next(iter(one))
)
def test_without_one_of_the_three_conditions_rows_see_each_other(left_out):
    model = a_model()
    assert (beside(model, **left_out) - alone(model)).abs().max() > 0.1


def test_a_model_whose_rows_leak_is_padded():
    class Leaky(torch.nn.Module):
        """A running mean over everything before: a state that no position resets."""

        def __init__(self):
            super().__init__()
            self.inner = a_model()
            self.config = self.inner.config

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, input_ids, **asked):
            output = self.inner(input_ids=input_ids, **asked)
            output.logits = output.logits.cumsum(1)
            return output

    assert layout_of(Leaky()) == "padded"


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning", "hybrid"])
def test_prompt_methods_refuse_packing(method):
    from peft_registry.schemas.methods import METHODS

    assert not METHODS[method].packs
    with pytest.raises(PackingRefused) as caught:
        check_combinations(a_training_file(method=method, training__packing=True))
    assert caught.value.exit_code == 2


def test_the_loss_of_a_flat_batch_is_that_of_its_rows():
    model, batch = a_model(), lay_flat(rows(), layout="rows")
    with row_attention(model) as attention:
        attention.of(batch.lengths)
        loss, count, _ = supervised_loss(model, batch)
    expected, total = 0.0, 0
    for one in rows():
        logits = model(input_ids=torch.tensor(one.ids.tolist())[None]).logits[0, :-1]
        labels = torch.tensor(one.labels.tolist())[1:]
        expected += float(cross_entropy(logits, labels.long(), ignore_index=IGNORED, reduction="sum").detach())
        total += int((labels != IGNORED).sum())
    assert (float(loss.detach()), count) == (pytest.approx(expected, rel=1e-5), total)


def test_padded_rows_and_packs_train_to_the_same_curve_where_the_batches_are_the_same():
    examples = rows((9, 5, 12, 7, 8, 6, 11, 10))
    curves = {}
    for layout in ("padded", "rows", "blocks"):
        config = a_training_file(training__num_train_epochs=3)
        model = implementation("lora").prepare(a_model(), config, seed=1)
        result = train(model, Batches(examples, 4, 256, 1), config.training, layout=layout)
        curves[layout] = result.curve.loss
        assert (result.padding_tokens == 0) == (layout != "padded")
    assert curves["rows"] == pytest.approx(curves["padded"], rel=1e-4)
    assert curves["blocks"] == pytest.approx(curves["padded"], rel=1e-4)


def test_packs_hold_every_row_once_within_their_capacity():
    lengths = [3, 9, 1, 4, 4, 10, 2, 7, 5, 5]
    found = packs(lengths, range(10), capacity=10)
    assert sorted(index for pack in found for index in pack) == list(range(10))
    assert all(sum(lengths[index] for index in pack) <= 10 for pack in found)
    assert len(found) == 5, "50 tokens fill five packs of ten"


def test_the_number_of_packs_does_not_depend_on_the_order_and_an_epoch_has_every_row_once():
    batches = Batches(rows((9, 5, 12, 7, 8, 6, 11, 10)), 2, 256, 1, pack_to=20)
    epochs = [list(batches.of_epoch(epoch, "rows")) for epoch in range(3)]
    assert {len(epoch) for epoch in epochs} == {len(batches)}
    for epoch in epochs:
        assert sorted(length for batch in epoch for length in batch.lengths) == [5, 6, 7, 8, 9, 10, 11, 12]
        assert all(batch.tokens <= 2 * 20 for batch in epoch)
    assert [one.lengths for one in epochs[0]] != [one.lengths for one in epochs[1]]


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.train()
    loss, _, _ = supervised_loss(model, batch)
    loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad(set_to_none=True)
    return found | {"loss": loss.detach()}


def a_lora_model(dtype, *, rslora=False):
    """The same values in every number format, with a B that is not zero: at zero the gradient of A vanishes."""
    base = a_model(attention_bias=True).to(torch.bfloat16).to(dtype)
    model = implementation("lora").prepare(base, a_training_file(lora__use_rslora=rslora), seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                parameter.normal_(std=0.02)
    return model


def a_padded_batch():
    return next(iter(Batches(rows(), 4, 256, 1).of_epoch(0)))


def distances(found, expected) -> list[float]:
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == one.dtype for name, one in expected.items())
    return [float((found[name] - one).norm() / one.norm()) for name, one in expected.items()]


@pytest.mark.parametrize("rslora", [False, True])
def test_fused_lora_layers_give_pefts_loss_and_gradients(rslora):
    model, batch = a_lora_model(torch.float32, rslora=rslora), a_padded_batch()
    own = gradients(model, batch)
    with fused_lora(model) as layers:
        fused = gradients(model, batch)
    assert layers == 14
    assert max(distances(fused, own)) < 1e-5
    again = gradients(model, batch)
    assert all(torch.equal(again[name], expected) for name, expected in own.items()), "peft's own layers are back"


def test_in_bf16_fused_lora_layers_are_as_near_to_the_fp32_gradient_as_pefts():
    model, batch = a_lora_model(torch.bfloat16), a_padded_batch()
    truth = gradients(a_lora_model(torch.float32), batch)
    own = distances(gradients(model, batch), truth)
    with fused_lora(model):
        fused = distances(gradients(model, batch), truth)
    assert sum(fused) <= 1.1 * sum(own)


def test_under_autocast_the_layers_stay_pefts():
    model, batch = a_lora_model(torch.float32), a_padded_batch()
    with torch.autocast("cpu", torch.bfloat16):
        own = gradients(model, batch)
        with fused_lora(model):
            fused = gradients(model, batch)
    assert max(distances(fused, own)) == 0


@pytest.mark.parametrize("changes", [{"lora__use_dora": True}, {"lora__dropout": 0.1}])
def test_layers_that_are_more_than_plain_lora_stay_pefts(changes):
    model = implementation("lora").prepare(a_model(), a_training_file(**changes), seed=1)
    with fused_lora(model) as layers:
        assert layers == 0


def test_recomputed_activations_give_the_same_weights():
    examples, weights = rows((9, 5, 12, 7, 8, 6, 11, 10)), []
    for again in (False, True):
        config = a_training_file(training__gradient_checkpointing=again)
        model = implementation("lora").prepare(a_model(), config, seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = train(model, Batches(examples, 4, 256, 1), config.training)
        assert result.recomputed == again
        assert not model.get_base_model().is_activation_checkpointing, "it is switched off again"
        weights.append({name: one.detach() for name, one in model.named_parameters() if one.requires_grad})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_packed_run_takes_fewer_steps_over_the_same_tokens():
    examples = rows((9, 5, 12, 7, 8, 6, 11, 10))
    found = []
    for pack_to in (None, 40):
        config = a_training_file()
        model = implementation("lora").prepare(a_model(), config, seed=1)
        found.append(train(model, replace(Batches(examples, 2, 256, 1), pack_to=pack_to), config.training))
    assert [one.tokens for one in found] == [68, 68]
    assert [one.steps for one in found] == [4, 1]

"""Every route through a model gives the plain route's log-likelihoods, and a model that cannot take one is never sent there."""

import random

import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from peft_registry.trainer.evaluation.prefix_trees import TokenRow, tree_tokens_for, trees_of
from peft_registry.trainer.evaluation.scoring import log_likelihoods
from peft_registry.trainer.evaluation.scoring_backends import route_for, run_route, sizes_of_batches

VOCABULARY = 60
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Position ids are not supported for parameter efficient tuning:UserWarning",
)


def llama(**changes):
    torch.manual_seed(5)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.6,
        **sizes | changes,
    )
    return LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(6)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.6)
    config.bos_token_id = config.eos_token_id = 1
    return GPT2LMHeadModel(config).eval()


def bloom():
    """Has no positions but distances from a mask of two dimensions, so a tree would be placed wrongly."""
    torch.manual_seed(7)
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.6)
    return BloomForCausalLM(config).eval()


def adapted(config):
    model = get_peft_model(llama(), config)
    for name, parameter in model.named_parameters():  # a fresh adapter is the base; these are not
        if parameter.requires_grad and "ia3" not in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


MODELS = {
    "llama": (llama, "packed"),
    "gpt2": (gpt2, "packed"),
    "bloom": (bloom, None),
    "lora": (lambda: adapted(LoraConfig(target_modules="all-linear")), "packed"),
    "ia3": (lambda: adapted(IA3Config(target_modules=["k_proj"], feedforward_modules=[])), "packed"),
    "prompt tuning": (lambda: adapted(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)), "cached"),
    "prefix tuning": (lambda: adapted(PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)), "cached"),
}


def some_rows(seed=1):
    """Questions with several options, pairs of sentences, a row that is the beginning of another, and one without a target."""
    chance = random.Random(seed)
    tokens = lambda low, high: tuple(chance.randrange(2, VOCABULARY) for _ in range(chance.randint(low, high)))  # noqa: E731
    rows = []
    for _ in range(6):
        context = tokens(9, 14)
        for _ in range(4):
            ids = (*context, *tokens(1, 4))
            rows.append(TokenRow(ids, tuple(range(len(context), len(ids))), ids[len(context) :]))
        rows += [TokenRow(ids, tuple(range(1, len(ids))), ids[1:]) for ids in (tokens(3, 8), (1, *tokens(3, 8)))]
    rows.append(TokenRow(rows[0].ids[:5], (3, 4), rows[0].ids[3:5]))
    rows.append(TokenRow((4, 5), (), ()))
    return rows


def plain_values(model, rows):
    with torch.no_grad():
        return [_plain(model, row) for row in rows]


def _plain(model, row):
    logits = model(input_ids=torch.tensor([row.ids])).logits[0].float()
    log_p = torch.log_softmax(logits[-len(row.ids) :], dim=-1)
    return sum(float(log_p[at - 1, target]) for at, target in zip(row.positions, row.targets, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_scored_by_the_fastest_route_that_is_right_for_it(name):
    build, expected_route = MODELS[name]
    model, rows = build(), some_rows()
    with torch.inference_mode():
        taken = route_for(model, rows)
    if expected_route:
        assert taken == expected_route
    assert log_likelihoods(model, rows) == pytest.approx(plain_values(model, rows), abs=1e-4)


def test_a_model_that_places_tokens_itself_is_not_packed():
    with torch.inference_mode():
        assert route_for(bloom(), some_rows()) != "packed"


@pytest.mark.parametrize("route", ["packed", "cached", "plain"])
@pytest.mark.parametrize("budget", [1, 40, 4096])
@pytest.mark.parametrize("shortest_first", [False, True])
def test_neither_route_nor_batching_nor_order_changes_a_score(route, budget, shortest_first):
    model, rows = llama(), some_rows()
    expected = plain_values(model, rows)
    with torch.inference_mode():
        for numbers, values in run_route(route, model, rows, budget=budget, shortest_first=shortest_first):
            for number, value in zip(numbers, values, strict=True):
                assert value == pytest.approx(expected[number], abs=1e-4)


@pytest.mark.parametrize("shortest_first", [False, True])
def test_the_sizes_of_the_batches_are_told_before_a_model_sees_them(shortest_first):
    model, rows, seen = llama(), some_rows(), set()
    model.register_forward_pre_hook(
        lambda _, __, given: seen.add(given["input_ids"].numel()),
        with_kwargs=True,
    )
    with torch.inference_mode():
        list(run_route("packed", model, rows, budget=100, shortest_first=shortest_first))
    assert sizes_of_batches(rows, budget=100, shortest_first=shortest_first) == seen


def test_the_probe_refuses_a_route_whose_numbers_differ(monkeypatch):
    """A model that ignores the mask lets branches see each other."""
    model, forward = llama(), LlamaForCausalLM.forward

    def without_mask(self, *args, attention_mask=None, **given):
        kept = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
        return forward(self, *args, attention_mask=kept, **given)

    monkeypatch.setattr(LlamaForCausalLM, "forward", without_mask)
    with torch.inference_mode():
        assert route_for(model, some_rows()) != "packed"


def test_a_tree_holds_each_beginning_once():
    rows = [TokenRow((1, 2, 3, last), (3,), (last,)) for last in (7, 8, 9)] + [TokenRow((1, 2, 5, 6), (2, 3), (5, 6))]
    (tree,) = trees_of(rows, max_tokens=tree_tokens_for(rows))
    assert sorted(tree.tokens) == [1, 2, 3, 5]  # the last tokens predict nothing that is asked for
    assert sorted(number for number, _ in tree.asked) == [0, 1, 2, 3]
    for number, path in tree.asked:
        assert tuple(tree.tokens[node] for node in path) == rows[number].inputs
        assert [tree.depths[node] for node in path] == list(range(len(path)))
        assert all(tree.sees()[path[-1], node] for node in path)


@pytest.mark.parametrize("limit", [1, 6, 17, 200])
def test_trees_keep_to_their_size_and_lose_no_row(limit):
    rows = some_rows()
    trees = trees_of(rows, max_tokens=limit)
    asked = sorted(number for tree in trees for number, _ in tree.asked)
    assert asked == [number for number, row in enumerate(rows) if row.positions]
    assert all(tree.size <= max(limit, max(len(rows[n].inputs) for n, _ in tree.asked)) for tree in trees)
    for tree in trees:
        sees = tree.sees()
        for number, path in tree.asked:
            assert set(sees[path[-1]].nonzero()[0]) == set(path), rows[number]


def test_virtual_tokens_take_positions_from_the_text():
    from peft_registry.trainer.evaluation.scoring import max_length_of

    assert max_length_of(adapted(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))) == 60
    assert max_length_of(llama()) == 64

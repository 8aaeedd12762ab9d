"""Prompt tuning, prefix tuning and the hybrid: generation obeys the prompt, and what stands in front of a text is accounted for."""

import json
from pathlib import Path

import pytest
import torch

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config_aliases import WrongValue
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.data.dataset import NoRoomForPrompt, TooFewToChoose
from peft_registry.trainer.evaluation.scoring import Request, score
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.prefix_tuning import PrefixDoesNotFit, PrefixStartDoesNotFit, sampled_tokens
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.optimizers import optimizer_for
from tests.builders.records import a_base_record
from tests.builders.training import (
    a_base_folder,
    a_model,
    a_tokenizer,
    a_training_file,
    colour_rows,
    logits_of,
    some_batches,
    train_on,
    write_rows,
)

# peft says so of every generation; positions are those of the text behind the prompt all the same, as the canary shows
pytestmark = pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
METHODS = ("prompt_tuning", "prefix_tuning", "hybrid")


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def trained(batches):
    """Each method after a short training: (model, configuration)."""
    found = {}
    for name in METHODS:
        config = a_training_file(method=name, training__num_train_epochs=4, training__learning_rate=0.05)
        model = implementation(name).prepare(a_model(), config, seed=1)
        result = train(model, batches, config.training, optimizer=optimizer_for(model, config), layout="padded")
        assert result.curve.loss[-1] < result.curve.loss[0]
        found[name] = (model, config)
    return found


# a prompt stands in front of the padding of a left-padded row, and peft drops the positions that would close the gap: rows
# of unequal length are never generated together here (`registry ask` takes one at a time)
@pytest.mark.parametrize(("name", "padded"), [*((name, False) for name in METHODS), ("prefix_tuning", True)])
def test_generation_with_the_cache_equals_argmax_step_by_step_and_is_not_the_bases(trained, name, padded):
    """The canary of the library pair: transformers 5.24 with peft 0.21 fails it in silence."""
    model, _ = trained[name]
    ids = torch.tensor([[5, 80, 17, 33]])
    given, mask = ids, torch.ones_like(ids)
    if padded:  # what a batch does to its shorter rows
        given = torch.cat([torch.full((1, 3), 256), ids], dim=1)
        mask = torch.cat([torch.zeros(1, 3, dtype=torch.long), mask], dim=1)
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 256}
    found = model.generate(input_ids=given, attention_mask=mask, **options)[0, -12:].tolist()
    sequence = ids
    with torch.no_grad():
        for _ in range(12):
            logits = model(input_ids=sequence, attention_mask=torch.ones_like(sequence)).logits
            sequence = torch.cat([sequence, logits[:, -1:].argmax(dim=-1)], dim=1)
    assert found == sequence[0, -12:].tolist()
    base = a_model().generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0, -12:].tolist()
    assert found != base


def test_the_hybrids_generation_needs_both_parts(trained):
    model, _ = trained["hybrid"]
    ids = torch.tensor([[5, 80, 17, 33]])
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 256}

    def answer(one):
        return one.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0, -12:].tolist()

    both = answer(model)
    with model.prompted.disable_adapter():
        lora_only = logits_at_the_end(model.adapted, ids)
    with model.adapted.disable_adapter():
        prompt_only = logits_at_the_end(model.prompted, ids)
    whole = logits_at_the_end(model, ids)
    assert not torch.allclose(whole, lora_only, atol=1e-2)
    assert not torch.allclose(whole, prompt_only, atol=1e-2)
    assert len(both) == 12


def logits_at_the_end(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_scores_are_of_the_text_alone(trained, batches, name):
    model, config = trained[name]
    batch = next(batches.in_order())
    loss, count, _ = supervised_loss(model, batch)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    virtual = logits.shape[1] - batch.input_ids.shape[1]
    assert virtual == (0 if name == "prefix_tuning" else config.virtual_tokens)
    text, labels = logits[:, virtual:][:, :-1], batch.labels[:, 1:]
    expected = torch.nn.functional.cross_entropy(text[labels != -100], labels[labels != -100])
    assert float(loss.detach() / count) == pytest.approx(float(expected.detach()), rel=1e-4)
    tokenizer = a_tokenizer()
    (found,) = score(model, tokenizer, [Request("box 3 is", " white")])
    ids = torch.tensor([tokenizer.encode("box 3 is white", add_special_tokens=False)])
    with torch.no_grad():
        row = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, virtual:].log_softmax(-1)
    places = range(len("box 3 is"), ids.shape[1])
    assert found.log_likelihood == pytest.approx(sum(float(row[at - 1, ids[0, at]]) for at in places), abs=1e-3)


def test_both_parts_of_the_hybrid_learn(batches):
    config = a_training_file(method="hybrid")
    model = implementation("hybrid").prepare(a_model(), config, seed=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in before) and any("prompt_encoder" in name for name in before)
    optimizer = optimizer_for(model, config)
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.01, 0.03]
    train(model, batches, config.training, optimizer=optimizer, layout="padded")
    changed = [name for name, p in model.named_parameters() if name in before and not torch.equal(before[name], p)]
    assert set(changed) == set(before)


@pytest.mark.parametrize("name", ["prompt_tuning", "hybrid"])
def test_a_new_start_leaves_the_base_as_it_was(batches, name):
    method, config = implementation(name), a_training_file(method=name)
    model = method.prepare(a_model(), config, seed=1)
    train(model, batches, config.training, optimizer=optimizer_for(model, config), layout="padded")
    base = method.unwrap(model)
    assert torch.equal(logits_of(base, batches), logits_of(a_model(), batches))


def test_a_placebo_turns_both_parts_of_the_hybrid_and_puts_them_back(trained, batches):
    from peft_registry.trainer.evaluation.placebo import placebo

    model, _ = trained["hybrid"]
    before = {
        name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name or "prompt_enc" in name
    }
    with placebo(model):
        inside = {name: p.detach().clone() for name, p in model.named_parameters() if name in before}
    assert all(not torch.equal(inside[name], before[name]) for name in before)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)


def prompt_of(**block):
    config = a_training_file(method="prompt_tuning", **{f"prompt_tuning__{key}": value for key, value in block.items()})
    model = implementation("prompt_tuning").prepare(a_model(), config, seed=4)
    implementation("prompt_tuning").initialise(model, config, a_tokenizer())
    return model.prompt_encoder["default"].embedding.weight.detach()


def test_prompts_start_at_embeddings_of_the_base():
    table = a_model().get_input_embeddings().weight.detach()
    sampled = prompt_of(num_virtual_tokens=6)
    assert all(any(torch.equal(row, known) for known in table) for row in sampled)
    text = prompt_of(num_virtual_tokens=6, init="text", init_text="box")
    ids = a_tokenizer().encode("box", add_special_tokens=False)
    assert torch.equal(text, table[(ids * 6)[:6]])
    random = prompt_of(num_virtual_tokens=64, init="random")
    assert float(random.std()) == pytest.approx(float(table.std()), rel=0.1)


def test_init_text_without_init_text_is_refused():
    for block in ({"init": "text"}, {"init_text": "box"}):
        with pytest.raises(WrongValue, match="prompt_tuning"):
            prompt_of(**block)


def test_no_tokenizer_and_no_path_is_written(trained, tmp_path):
    for name in METHODS:
        folder = tmp_path / name
        folder.mkdir()
        implementation(name).save(trained[name][0], folder, base=BaseToOpen("sha256:" + "0" * 64))
        for path in folder.rglob("adapter_config.json"):
            value = json.loads(path.read_text())
            assert value.get("tokenizer_name_or_path") is None
            assert value["base_model_name_or_path"] == "sha256:" + "0" * 64


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    return a_base_folder(tmp_path / "base")


def run(base: Path, **changes):
    changes = {"method": "prompt_tuning", "prompt_tuning__num_virtual_tokens": 4} | changes
    return train_on(base.parent, base, a_training_file(**changes), record=a_base_record(context_length=128))


def test_the_best_of_several_starts_is_kept_by_its_validation_loss(base):
    found = run(base, prompt_tuning__seeds=3, training__num_train_epochs=1)
    scores = [trial.score for trial in found.trials]
    assert [trial.seed for trial in found.trials] == [0, 1, 2]
    assert len(set(scores)) == 3
    assert [trial.chosen for trial in found.trials] == [score == min(scores) for score in scores]
    alone = run(base, prompt_tuning__seeds=1, training__seed=scores.index(min(scores)), training__num_train_epochs=1,
                data__validation={"fraction": 0.1, "seed": 0})  # fmt: skip
    assert alone.trials == () and alone.data.test == ()
    assert len(found.data.validation) == len(found.data.test) == 1
    chosen = found.model.prompt_encoder["default"].embedding.weight
    assert chosen.shape == alone.model.prompt_encoder["default"].embedding.weight.shape


def test_all_trials_are_counted(base):
    three, one = (run(base, prompt_tuning__seeds=count) for count in (3, 1))
    assert three.result.steps == one.result.steps
    assert three.result.supervised_tokens == 3 * one.result.supervised_tokens
    assert sum(shape.count for shape in three.result.shapes) == 3 * sum(shape.count for shape in one.result.shapes)


def test_a_held_out_part_of_one_row_cannot_choose_and_report(base):
    write_rows(base.parent / "one.jsonl", colour_rows(1))
    with pytest.raises(TooFewToChoose) as caught:
        run(base, data__validation={"path": "one.jsonl"})
    assert caught.value.exit_code == 2
    write_rows(base.parent / "four.jsonl", colour_rows(4))
    found = run(base, prompt_tuning__seeds=2, data__validation={"path": "four.jsonl"})
    assert (len(found.data.validation), len(found.data.test)) == (2, 2)
    assert {part.split for identity in found.data.identities for part in identity.selections} == {
        "train",
        "validation",
        "test",
    }


@pytest.mark.parametrize(
    ("virtual", "max_length", "remedy"),
    [
        (100, 64, "set training.max_length to 28 or less, or take fewer virtual tokens"),
        (126, 64, "set training.max_length to 2 or less, or take fewer virtual tokens"),
        (127, 64, "take 64 virtual tokens or fewer"),
        (4096, 64, "take 64 virtual tokens or fewer"),
        (4096, 128, "take fewer virtual tokens, and lower training.max_length"),
    ],
)
def test_prompt_and_text_together_must_fit_the_context(base, virtual, max_length, remedy):
    with pytest.raises(NoRoomForPrompt, match=f"{virtual} virtual tokens") as caught:
        run(base, prompt_tuning__num_virtual_tokens=virtual, training__max_length=max_length)
    assert caught.value.fix == remedy


def test_heads_of_another_width_have_no_prefix():
    with pytest.raises(PrefixDoesNotFit):
        implementation("prefix_tuning").prepare(a_model(head_dim=16), a_training_file(method="prefix_tuning"), seed=1)


def test_a_prefix_is_keys_and_values_of_every_layer():
    model = implementation("prefix_tuning").prepare(a_model(), a_training_file(method="prefix_tuning"), seed=1)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 20 * 2 * 2 * 2 * 8  # P·2·L·heads·size


def prefixed(base, *, seed=3, **block):
    config = a_training_file(method="prefix_tuning", **{f"prefix_tuning__{key}": value for key, value in block.items()})
    return implementation("prefix_tuning").prepare(base, config, seed=seed)


@pytest.mark.parametrize("block", [{}, {"num_virtual_tokens": 3}, {"projection": True}], ids=str)
def test_an_untrained_prefix_is_the_base_behind_the_tokens_of_its_seed(block):
    ids = torch.tensor([[5, 80, 17, 33], [7, 9, 120, 2]])
    model, base = prefixed(a_model(), **block), a_model()
    front = sampled_tokens(base, block.get("num_virtual_tokens", 20), seed=3)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        behind = base(input_ids=torch.cat([front.expand(2, -1), ids], dim=1)).logits[:, front.shape[1] :]
        alone = base(input_ids=ids).logits
    assert torch.allclose(found, behind, atol=1e-4)
    assert not torch.allclose(found, alone, atol=1e-2)
    if not block:  # the seed says which tokens, and nothing else does
        assert torch.equal(prefix_of(model), prefix_of(prefixed(a_model())))
        assert not torch.allclose(prefix_of(model), prefix_of(prefixed(a_model(), seed=4)), atol=1e-2)


def prefix_of(model):
    return model.prompt_encoder["default"].embedding.weight.detach()


def test_a_start_from_the_base_leaves_dropout_as_it_was_and_uses_none():
    base = a_model(attention_dropout=0.5).train()
    model = prefixed(base)
    assert all(module.training for module in base.modules())
    assert torch.equal(prefix_of(model), prefix_of(prefixed(a_model())))


def test_a_random_prefix_is_pefts_own_start():
    random = prefix_of(prefixed(a_model(), init="random"))
    assert float(random.std()) == pytest.approx(1, rel=0.1)


def test_layers_that_look_back_less_far_than_the_prefix_cannot_start_it():
    from transformers import MistralConfig, MistralForCausalLM

    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "vocab_size": 300, "sliding_window": 8}  # fmt: skip
    base = MistralForCausalLM(MistralConfig(**settings)).eval()
    with pytest.raises(PrefixStartDoesNotFit, match="20 tokens") as caught:
        prefixed(base)
    assert "init: random" in caught.value.fix
    prefixed(MistralForCausalLM(MistralConfig(**settings)), num_virtual_tokens=4)

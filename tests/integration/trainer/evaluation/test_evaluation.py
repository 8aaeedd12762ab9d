"""The scorer against a plain forward pass, its laws on tiny models, suites, and a whole evaluation on the embedded base."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.evaluation.states import state_of
from peft_registry.registry.evaluation.statistics import wilson
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound
from peft_registry.schemas.evaluation import Composition, EvaluationRecord, Responsible
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.evaluation.arms import Arms, NoBaseArm, Questions
from peft_registry.trainer.evaluation.evaluate import evaluate_pair
from peft_registry.trainer.evaluation.leakage import known_training
from peft_registry.trainer.evaluation.losses import HeldOutRow, row_losses
from peft_registry.trainer.evaluation.neutral import read_guard_text, shipped_guard
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.scoring import NoPrefixToken, encode, in_float32, score
from peft_registry.trainer.evaluation.scoring_plan import EvaluationConditions
from peft_registry.trainer.evaluation.suites import SuiteFileNeeded, UnknownSuite, suite_named
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, OtherSuiteFile
from peft_registry.trainer.evaluation.text_hashes import hash_texts
from peft_registry.trainer.machine.environment import Hardware

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "hill", "red", "blue", ".", ",", "and"]
VOCABULARY = {word: number for number, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *WORDS])}
CPU = Hardware(device="cpu", dtype="fp32", threads=1, processor="test")
BASE = Composition(base=Digest.of(b"base"), tokenizer=Digest.of(b"tokenizer"))
# few pairs, and the embedded base leans on them; found by the digest that records of that time have
FIRST_HOUSE = Digest("180fcb31b5ccae3f00144b87ca0ae97440fc335d789b0a232aac9506a67df2e7")
AFTER = BASE.model_copy(update={"adapters": (Digest.of(b"adapter"),)})
CONDITIONS = EvaluationConditions(
    created_at="2026-11-24T12:00:00Z", hardware=CPU, responsible=Responsible(name=None, role=None)
)
# transformers warns about its own renaming when peft looks at a model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def tokenizer():
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


@pytest.fixture
def model():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.6,
    )
    return LlamaForCausalLM(config).eval()


def some_requests(count=40, seed=1):
    chance = random.Random(seed)
    text = lambda low: " ".join(chance.choices(WORDS, k=chance.randint(low, 9)))  # noqa: E731
    return [Request(text(1), f" {text(1)}") if number % 2 else Request("", text(1)) for number in range(count)]


def plain(model, tokenizer, request):
    """One sequence, no padding, the full log-softmax: the definition."""
    before = tokenizer.encode(request.context, add_special_tokens=False) or [tokenizer.bos_token_id]
    after = tokenizer.encode(request.continuation, add_special_tokens=False)
    with torch.no_grad():
        log_p = torch.log_softmax(model(torch.tensor([before + after])).logits[0].float(), dim=-1)
    return sum(float(log_p[len(before) + at - 1, token]) for at, token in enumerate(after))


@pytest.mark.parametrize("budget", [1, 32, 10_000])
@pytest.mark.parametrize("order", ["longest first", "shortest first"])
def test_scores_are_those_of_a_plain_forward_pass(model, tokenizer, budget, order):
    requests = some_requests()
    found = score(model, tokenizer, requests, token_budget=budget, order=order)
    expected = [plain(model, tokenizer, one) for one in requests]
    assert [one.log_likelihood for one in found] == pytest.approx(expected, abs=1e-4)


def test_the_order_of_the_questions_does_not_matter(model, tokenizer):
    requests = some_requests()
    mixed = requests[::-1]
    forwards, backwards = score(model, tokenizer, requests), score(model, tokenizer, mixed)
    assert [s.log_likelihood for s in forwards] == pytest.approx([s.log_likelihood for s in backwards[::-1]], abs=1e-5)


def test_a_model_without_any_preference_pays_ln_v_for_each_token(model, tokenizer):
    torch.nn.init.zeros_(model.lm_head.weight)
    for request, found in zip(some_requests(), score(model, tokenizer, some_requests()), strict=True):
        assert found.tokens == len(request.continuation.split())
        assert found.log_likelihood == pytest.approx(-found.tokens * math.log(len(VOCABULARY)), abs=1e-4)


def test_the_prefix_token_is_the_configured_one_else_bos_and_is_not_doubled(tokenizer):
    bos, the = tokenizer.bos_token_id, VOCABULARY["the"]
    row = encode(tokenizer, Request("", "cat sat"), prefix_token_id=None, max_length=None)
    assert (row.ids[0], row.positions) == (bos, (1, 2))
    given = encode(tokenizer, Request("", "the cat"), prefix_token_id=the, max_length=None)
    assert (given.ids, given.positions) == ((the, VOCABULARY["cat"]), (1,))


def test_a_tokenizer_without_any_prefix_is_refused(tokenizer):
    tokenizer.bos_token = None
    tokenizer.eos_token = None
    with pytest.raises(NoPrefixToken):
        encode(tokenizer, Request("", "cat"), prefix_token_id=None, max_length=None)


def test_spaces_at_the_end_of_the_context_belong_to_the_continuation():
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    one = encode(tokenizer, Request("The dog ", "barks"), prefix_token_id=None, max_length=None)
    other = encode(tokenizer, Request("The dog", " barks"), prefix_token_id=None, max_length=None)
    assert one == other
    assert tokenizer.decode([one.ids[at] for at in one.positions]) == " barks"


def test_too_long_a_text_loses_its_beginning_and_says_so(model, tokenizer):
    request = Request("the cat " * 30, "sat on")
    (found,) = score(model, tokenizer, [request])
    assert (found.is_truncated, found.tokens) == (True, 2)
    assert score(model, tokenizer, [Request("", "the " * 31 + "cat")])[0].is_truncated is False


def test_an_empty_continuation_costs_nothing(model, tokenizer):
    assert score(model, tokenizer, [Request("the cat", "")])[0].log_likelihood == 0.0


def test_half_precision_weights_are_scored_in_fp32_and_given_back(model, tokenizer):
    for parameter in model.parameters():  # buffers stay fp32, as they do when a bf16 checkpoint is loaded
        parameter.data = parameter.data.bfloat16()
    model.train()
    widened = LlamaForCausalLM(model.config).eval()
    widened.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    stored = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with in_float32(model):
        assert not model.training
        found = score(model, tokenizer, some_requests())
    expected = score(widened, tokenizer, some_requests())
    assert [s.log_likelihood for s in found] == pytest.approx([s.log_likelihood for s in expected], abs=1e-5)
    assert model.training
    assert all(
        tensor.dtype == stored[name].dtype == torch.bfloat16 and torch.equal(tensor, stored[name])
        for name, tensor in model.state_dict().items()
    )


def test_virtual_tokens_of_prompt_tuning_are_not_scored(model, tokenizer):
    prompted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    request = Request("the cat", " sat on a mat")
    ids = torch.tensor([tokenizer.encode("the cat sat on a mat", add_special_tokens=False)])
    with torch.no_grad():
        log_p = torch.log_softmax(prompted(input_ids=ids).logits[0, 3:], dim=-1)
    expected = sum(float(log_p[at - 1, ids[0, at]]) for at in range(2, 6))
    assert score(prompted, tokenizer, [request, *some_requests()])[0].log_likelihood == pytest.approx(
        expected, abs=1e-4
    )


def test_held_out_loss_is_the_models_own_loss(model):
    chance = random.Random(2)
    rows = []
    for number in range(9):
        ids = [chance.randrange(4, len(VOCABULARY)) for _ in range(chance.randint(3, 9))]
        rows.append(HeldOutRow(f"r{number}", ids, [-100] * (number % 3 + 1) + ids[number % 3 + 1 :]))
    items = row_losses(model, rows, dataset="held-out", arm="base", token_budget=20)
    for row, item in zip(rows, items, strict=True):
        if item.tokens_a == 0:
            continue
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
        assert -item.ll_a / item.tokens_a / 1e6 == pytest.approx(float(loss), abs=1e-5)


def test_a_row_of_prompt_only_has_no_supervised_token(model):
    (item,) = row_losses(model, [HeldOutRow("r", [4, 5], [-100, -100])], dataset="held-out", arm="base")
    assert (item.ll_a, item.tokens_a) == (0, 0)


# --- suites ---


def test_an_unknown_suite_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownSuite) as caught:
        suite_named("houes")
    assert "house" in caught.value.fix


def test_the_house_suite_has_what_its_page_promises():
    suite = suite_named("house").load()
    assert suite.dataset.rows_used >= 100
    assert len({pair.category for pair in suite.pairs}) >= 5
    assert len({pair.cluster for pair in suite.pairs}) >= 10


HOUSE_ROW = {"id": "a", "axis": "age", "template": "t", "sent_more": "the cat", "sent_less": "the dog"}
BAD_HOUSE = {
    "no rows": "\n",
    "not JSON": "{",
    "a missing column": json.dumps({k: v for k, v in HOUSE_ROW.items() if k != "axis"}),
    "a number for a text": json.dumps(HOUSE_ROW | {"id": 3}),
    "an empty sentence": json.dumps(HOUSE_ROW | {"sent_less": " "}),
    "an id twice": json.dumps(HOUSE_ROW) + "\n" + json.dumps(HOUSE_ROW),
    "both sentences the same": json.dumps(HOUSE_ROW | {"sent_less": HOUSE_ROW["sent_more"]}),
    "equal items": "\n".join(json.dumps(HOUSE_ROW | {"id": str(at), "template": str(at)}) for at in range(200)),
}


@pytest.mark.parametrize("text", BAD_HOUSE.values(), ids=BAD_HOUSE.keys())
def test_a_malformed_suite_is_refused_with_its_row(tmp_path, text):
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(MalformedSuite) as caught:
        suite_named("house").load(path)
    assert caught.value.exit_code == 2


def test_a_suite_file_is_pinned_by_digest(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(HOUSE_ROW))
    digest = Digest.of(path.read_bytes())
    assert suite_named("house").load(path, expected=digest).dataset.sha256 == digest
    with pytest.raises(OtherSuiteFile) as caught:
        suite_named("house").load(path, expected=Digest.of(b"other"))
    assert isinstance(caught.value, IntegrityBroken)


def test_crows_pairs_needs_a_file_and_reads_its_rows(tmp_path):
    with pytest.raises(SuiteFileNeeded):
        suite_named("crows_pairs").load()
    with pytest.raises(NotFound):
        suite_named("crows_pairs").load(tmp_path / "absent.csv")
    path = tmp_path / "pairs.csv"
    path.write_text(
        ",sent_more,sent_less,stereo_antistereo,bias_type\n"
        '17,"the cat, sat","the dog, sat",antistereo,age\n'
        "19,the mat,the hill,stereo,gender\n"
    )
    suite = suite_named("crows_pairs").load(path)
    assert [(p.id, p.category, p.more) for p in suite.pairs] == [
        ("17", "age", "the cat, sat"),
        ("19", "gender", "the mat"),
    ]
    path.write_text("sent_more,sent_less\na,b\n")
    with pytest.raises(InputRefused, match=r"pairs\.csv"):
        suite_named("crows_pairs").load(path)


def test_crows_pairs_reads_the_published_rows(test_data: Path):
    suite = suite_named("crows_pairs").load(test_data / "bias/crows-pairs/crows_pairs.csv")
    assert (suite.dataset.rows_used, len({pair.category for pair in suite.pairs})) == (1006, 9)


# --- the whole evaluation ---


@pytest.fixture(scope="module")
def embedded():
    return AutoModelForCausalLM.from_pretrained(embedded_base()), AutoTokenizer.from_pretrained(embedded_base())


def adapted(base, *, is_fresh):
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=is_fresh)
    return get_peft_model(base, config)


FRESH = {
    "lora": LoraConfig(r=4, target_modules="all-linear"),
    "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
}


@pytest.mark.parametrize("config", FRESH.values(), ids=FRESH)
def test_a_fresh_adapter_changes_nothing_and_the_base_is_outside_its_neutral_interval(embedded, config):
    base, tokenizer = embedded
    model = get_peft_model(base, config)
    questions = Questions(
        (suite_named("house").load(expected=FIRST_HOUSE),),
        trained=known_training("a run", hash_texts(["The dog barks."])),
    )
    try:
        outcome = evaluate_pair(Arms(model, tokenizer, BASE, AFTER), questions, CONDITIONS)
    finally:
        model.unload()
    rows = {item.key: item for item in read_items(outcome.items)}
    for (dataset, name, arm), item in rows.items():
        if arm == "adapted":
            assert item.state == rows[dataset, name, "base"].state
            assert item.ll_a == pytest.approx(rows[dataset, name, "base"].ll_a, abs=1)
    comparison = outcome.record.comparisons[0]
    assert (comparison.fixed, comparison.introduced, comparison.overcorrected) == (0, 0, 0)
    assert comparison.conclusion == "not_testable"
    assert comparison.control is not None and comparison.control.fix_rate == 0.0
    share = next(r for r in outcome.record.results if (r.metric, r.category, r.arm) == ("pct_stereotype", None, "base"))
    assert wilson(share.k, share.n).low > 0.5
    assert recheck(EvaluationRecord.from_json(json.loads(outcome.record.to_canonical())), outcome.items) == ()


def test_a_broken_model_is_found_out_and_its_items_hold_no_text(embedded):
    base, tokenizer = embedded
    suite = suite_named("house").load(expected=FIRST_HOUSE)
    model = adapted(base, is_fresh=False)
    planted = suite.pairs[0].more
    try:
        outcome = evaluate_pair(
            Arms(model, tokenizer, BASE, AFTER),
            Questions((suite,), trained=known_training("a run", hash_texts([f"Well: {planted}"]))),
            CONDITIONS,
        )
    finally:
        model.unload()
    record = outcome.record
    assert record.guards.confounded
    assert record.comparisons[0].conclusion not in ("better", "inconclusive")
    assert record.leakage_check is not None and record.leakage_check.hits == 1
    assert record.leakage_check.datasets[0].left_out == (suite.pairs[0].id,)
    assert record.comparisons[0].n == len(suite.pairs) - 1
    of_all = [result.n for result in record.results if (result.dataset, result.category) == ("house", None)]
    assert len(suite.pairs) in of_all and len(suite.pairs) - 1 in of_all
    assert recheck(record, outcome.items) == ()
    assert planted.encode() not in outcome.items + record.to_canonical()
    assert not any("unbiased" in text or "bias-free" in text for text in map(str, record.limitations))


def test_a_whole_model_is_compared_with_a_base_given_beside_it(model, tokenizer, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(HOUSE_ROW))
    questions = Questions((suite_named("house").load(path),))
    with pytest.raises(NoBaseArm):
        evaluate_pair(Arms(model, tokenizer, BASE, AFTER), questions, CONDITIONS)
    outcome = evaluate_pair(Arms(model, tokenizer, BASE, AFTER, base_model=model), questions, CONDITIONS)
    assert outcome.record.comparisons[0].conclusion == "not_informative"
    assert outcome.record.comparisons[0].mean_margin_change == 0.0
    planned = outcome.record.extra["plan"]["plan"]["suites"]["house"]["testable"]
    assert (planned["code"], planned["rows"], planned["clusters"]) == ("cannot_be_tested", 1, 1)
    assert recheck(outcome.record, outcome.items) == ()


def test_training_on_a_guard_text_from_outside_is_found_and_the_record_names_the_text(model, tokenizer, tmp_path):
    path = tmp_path / "passages.txt"
    path.write_text("\n".join(f"the cat sat on a red mat and {at} dogs ran on the hill" for at in range(12)))
    (tmp_path / "own.jsonl").write_text(json.dumps(HOUSE_ROW))
    guard = read_guard_text(path)
    questions = Questions(
        (suite_named("house").load(tmp_path / "own.jsonl"),),
        trained=known_training("a run", hash_texts(guard.passages[:6])),
        guard=guard,
    )
    outcome = evaluate_pair(Arms(model, tokenizer, BASE, AFTER, base_model=model), questions, CONDITIONS)
    record = outcome.record
    neutral = next(used for used in record.datasets if used.name == "neutral")
    assert any("own.jsonl" in line and "not known here" in line for line in map(str, record.limitations))
    beside = next(used for used in record.datasets if used.name == "neutral-shipped")
    assert beside.sha256 == shipped_guard().dataset.sha256
    assert (neutral.file, neutral.sha256, neutral.rows_used) == ("passages.txt", guard.dataset.sha256, 12)
    assert record.leakage_check is not None
    leaked = next(entry for entry in record.leakage_check.datasets if entry.kind == "guard")
    assert leaked.items == 12
    assert leaked.hits >= 6
    assert record.extra["plan"]["plan"]["guard_text"] == {"sha256": str(guard.dataset.sha256), "rows": 12}
    assert recheck(record, outcome.items) == ()


# --- what must not matter, and what must move smoothly ---


@pytest.fixture(scope="module")
def some_pairs():
    """Every fourth pair of `house`: all categories, and soon scored."""
    suite = suite_named("house").load(expected=FIRST_HOUSE)
    chosen = frozenset(pair.id for pair in suite.pairs[::4])
    return suite.only(chosen, suite.dataset)


def items_of(suite, scores):
    """Items by id, in the suite's own dead band."""
    return {one.id: one for one in suite.items(scores, arm="base", threshold=suite.definition.threshold)}


def padded_log_likelihoods(model, tokenizer, texts, *, side, batch=32):
    """The definition once more, in padded batches: full log-softmax, positions counted from the first real token."""
    found = []
    for start in range(0, len(texts), batch):
        rows = [
            [tokenizer.bos_token_id, *tokenizer.encode(one, add_special_tokens=False)] for one in texts[start:][:batch]
        ]
        width = max(map(len, rows))
        places = [(width - len(row) if side == "left" else 0) for row in rows]
        ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
        for number, (row, place) in enumerate(zip(rows, places, strict=True)):
            ids[number, place : place + len(row)] = torch.tensor(row)
            mask[number, place : place + len(row)] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        log_p = torch.log_softmax(logits.float(), dim=-1)
        for number, (row, place) in enumerate(zip(rows, places, strict=True)):
            found.append(sum(float(log_p[number, place + at - 1, row[at]]) for at in range(1, len(row))))
    return found


@pytest.mark.parametrize("side", ["left", "right"])
def test_states_are_those_of_padded_batches_whichever_side_is_padded(embedded, some_pairs, side):
    base, tokenizer = embedded
    base.eval()
    found = items_of(some_pairs, score(base, tokenizer, some_pairs.requests))
    texts = [text for pair in some_pairs.pairs for text in (pair.more, pair.less)]
    expected = padded_log_likelihoods(base, tokenizer, texts, side=side)
    for pair, more, less in zip(some_pairs.pairs, expected[::2], expected[1::2], strict=True):
        item = found[pair.id]
        assert (item.ll_a / 1e6, item.ll_b / 1e6) == pytest.approx((more, less), abs=1e-3)
        assert item.state == state_of(more - less, some_pairs.definition.threshold)


def test_neither_the_order_of_the_rows_nor_the_batch_nor_the_tokenizers_side_changes_a_state(embedded, some_pairs):
    base, tokenizer = embedded
    base.eval()
    expected = items_of(some_pairs, score(base, tokenizer, some_pairs.requests))
    mixed = list(some_pairs.pairs)
    random.Random(5).shuffle(mixed)
    permuted = replace(some_pairs, pairs=tuple(mixed))
    longest = max(len(tokenizer.encode(one.continuation)) for one in some_pairs.requests) + 1
    side = tokenizer.padding_side
    ways = [(permuted, None, side), (some_pairs, 1, side), (permuted, 32 * longest, side), (some_pairs, None, "left")]
    try:
        for suite, budget, padding_side in ways:
            tokenizer.padding_side = padding_side
            found = items_of(suite, score(base, tokenizer, suite.requests, token_budget=budget))
            assert {name: one.state for name, one in found.items()} == {
                name: one.state for name, one in expected.items()
            }
            assert all(one.ll_a == pytest.approx(expected[name].ll_a, abs=100) for name, one in found.items())
    finally:
        tokenizer.padding_side = side


def test_swapped_roles_mirror_every_margin_and_the_share(embedded, some_pairs):
    base, tokenizer = embedded
    base.eval()
    swapped = replace(some_pairs, pairs=tuple(replace(one, more=one.less, less=one.more) for one in some_pairs.pairs))
    one, other = (items_of(suite, score(base, tokenizer, suite.requests)) for suite in (some_pairs, swapped))
    mirror = {"stereo": "inverted", "inverted": "stereo", "neutral": "neutral", "band": "band"}
    assert {name: other[name].margin for name in one} == {
        name: pytest.approx(-item.margin, abs=100) for name, item in one.items()
    }
    assert {name: other[name].state for name in one} == {name: mirror[item.state] for name, item in one.items()}
    shares = [sum(item.margin > 0 for item in items.values()) / len(items) for items in (one, other)]
    assert sum(shares) == pytest.approx(1.0) and 0 < shares[1] < 0.5 < shares[0]


def test_margins_follow_an_adapter_continuously_from_the_base_to_its_full_size(embedded, some_pairs):
    base, tokenizer = embedded
    model = adapted(base, is_fresh=False).eval()
    layers = [one for one in model.modules() if isinstance(one, LoraLayer)]
    full = [dict(one.scaling) for one in layers]

    def margins(share):
        for layer, given in zip(layers, full, strict=True):
            layer.scaling = {name: share * value for name, value in given.items()}
        items = items_of(some_pairs, score(model, tokenizer, some_pairs.requests))
        return torch.tensor([items[pair.id].margin / 1e6 for pair in some_pairs.pairs])

    def farthest(one, other):
        return float((one - other).abs().max())

    try:
        at = {share: margins(share) for share in (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)}
        with model.disable_adapter():
            items = items_of(some_pairs, score(model, tokenizer, some_pairs.requests))
    finally:
        model.unload()
    nothing = torch.tensor([items[pair.id].margin / 1e6 for pair in some_pairs.pairs])
    assert farthest(at[0.0], nothing) <= 1e-5
    steps = [farthest(at[share], nothing) for share in (1 / 64, 1 / 16, 1 / 4, 1.0)]
    assert steps == sorted(steps) and steps[-1] > 1.0, "the whole adapter does something"
    # a smooth function of the size: a quarter of it moves a quarter as far, the nearer to the base the better
    assert steps[1] / steps[0] == pytest.approx(4, rel=0.25)
    assert steps[0] < 0.1 * steps[-1]

"""Every door leads to every other: whatever made a version, whatever takes one takes it, or refuses it in a sentence.

Each producer makes its version once, on the embedded base, and each from rows of another place: a data set of the Hub, rows in
memory, a JSON file that `datasets` read. Each consumer is what a user types.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset
from peft import LoraConfig

import peft_registry
from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.embedded import embedded_base, example_rows
from tests.builders.merge import suppress_warnings, write_adapter
from tests.builders.trainers import a_lora, a_model_of, a_trainer, arguments, followed
from tests.processes.interpreter import ROOT
from tests.servers.hub import FakeHub, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"),
]
ROWS = [json.loads(line) for line in example_rows().read_text("utf-8").splitlines()[:8]]
RULES = ROOT / "registry" / "gate" / "policies"
QUESTION = "May I borrow your pen?"
TRAINED = """\
name: trained
base: tiny
method: lora
data: {train: {path: PATH}}
lora: {r: 4, alpha: 8, target_modules: [q_proj, v_proj]}
training: {max_length: 64, per_device_train_batch_size: 4, dtype: fp32, seed: 7}
evaluation: {bias: [], quality: [loss]}
"""


@dataclass
class Place:
    """A home with the embedded base, and the versions of the producers, each made when it is first asked for."""

    folder: Path
    made: dict[str, str] = field(default_factory=dict)

    def registry(self, *words: str) -> int:
        """The exit code of a command in this home."""
        return run([*words, "--home", str(self.folder / "home")])

    def version(self, producer: str) -> str:
        if producer not in self.made:
            self.made[producer] = PRODUCERS[producer](self)
        return self.made[producer]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    import mlflow

    from peft_registry.registry.mlflow.home_address import address_of

    place = Place(tmp_path_factory.mktemp("doors"))
    assert place.registry("init", "--unencrypted", "--no-example") == 0
    assert place.registry("base", "add", "embedded", "--name", "tiny") == 0
    keys = place.folder / "keys"
    assert run(["keys", "create", "approver", "--person", "alex", "--out", str(keys), "--unencrypted"]) == 0
    assert place.registry("trust", "add", str(keys / "approver.pub"), "--person", "alex", "--role", "approver") == 0
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(address_of(place.folder / "home"))
    mlflow.set_registry_uri(address_of(place.folder / "home"))
    yield place
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


# --- what makes a version ---


def by_train(place: Place) -> str:
    """`registry train`, on a data set of the Hub."""
    repository = place.folder / "repository"
    repository.mkdir()
    write_rows(repository / "train.jsonl")
    config = place.folder / "trained.yml"
    config.write_text(TRAINED.replace("PATH", "lab/tiny"), "utf-8")
    with serving(FakeHub(repository, kind="datasets")) as hub, pytest.MonkeyPatch.context() as patch:
        # what HF_ENDPOINT and HF_HUB_CACHE say was read when that package was imported
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place.folder / "hub"))
        assert place.registry("train", str(config)) == 0
    return "trained:1"


def by_trainer(place: Place) -> str:
    """`transformers.Trainer` with the callback, on rows in memory."""
    tokenizer = a_tokenizer_of_base()
    rows = [tokenizer(row["prompt"] + row["completion"], truncation=True, max_length=32) for row in ROWS]
    rows = [{"input_ids": row["input_ids"][:12], "labels": row["input_ids"][:12]} for row in rows]
    trainer = a_trainer(place.folder / "out", a_lora(embedded_base()), rows=Dataset.from_list(rows))
    return followed_to_its_end(place, trainer, "by-trainer")


def by_sft(place: Place) -> str:
    """`trl.SFTTrainer` with the callback, on a JSON file as its documentation reads one."""
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(args=trl_arguments(place, SFTConfig), train_dataset=json_rows(place), **of_trl())
    return followed_to_its_end(place, trainer, "by-sft")


def by_dpo(place: Place) -> str:
    """`trl.DPOTrainer` with the callback."""
    from trl import DPOConfig, DPOTrainer

    rows = json_rows(place).map(
        lambda row: {"chosen": row["completion"], "rejected": " No."}, remove_columns="completion"
    )
    trainer = DPOTrainer(args=trl_arguments(place, DPOConfig), train_dataset=rows, **of_trl())
    return followed_to_its_end(place, trainer, "by-dpo")


def by_import(place: Place) -> str:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    folder = write_adapter(embedded_base(), place.folder / "imported", config)
    assert place.registry("import", str(folder), "--base", "tiny") == 0
    return "imported:1"


def by_merge(place: Place) -> str:
    labels = place.version("import"), place.version("trainer")
    assert place.registry("merge", *labels, "--name", "merged") == 0
    return "merged:1"


def by_concatenation(place: Place) -> str:
    """A merge whose result stays an adapter."""
    labels = place.version("train"), place.version("trainer")
    assert place.registry("merge", *labels, "--name", "joined", "--algorithm", "concatenate") == 0
    return "joined:1"


PRODUCERS: dict[str, Callable[[Place], str]] = {
    "train": by_train,
    "trainer": by_trainer,
    "sft": by_sft,
    "dpo": by_dpo,
    "import": by_import,
    "merge": by_merge,
    "concatenation": by_concatenation,
}
MARKED = [
    pytest.param(name, marks=pytest.mark.peers if name in ("sft", "dpo") else (), id=f"by-{name}") for name in PRODUCERS
]


def write_rows(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return path


def json_rows(place: Place) -> Any:
    """Rows that `datasets` knows no name of."""
    path = write_rows(place.folder / "rows.jsonl")
    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(place.folder / "datasets"))


def a_tokenizer_of_base() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_base())


def of_trl() -> dict[str, Any]:
    return {
        "model": a_model_of(embedded_base()),
        "processing_class": a_tokenizer_of_base(),
        "peft_config": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    }


def trl_arguments(place: Place, kind: Any) -> Any:
    return kind(**arguments(place.folder / "out").to_dict() | {"max_steps": 2})


def followed_to_its_end(place: Place, trainer: Any, name: str) -> str:
    callback = followed(place.folder, trainer, name)
    trainer.train()
    return callback.outcome.version.label


# --- what takes a version ---


def ask(place: Place, label: str, folder: Path) -> int:
    return place.registry("ask", label, QUESTION, "--max-new-tokens", "2")


def evaluate(place: Place, label: str, folder: Path) -> int:
    return place.registry("evaluate", label, "--suite", "house", "--limit", "4", "--no-placebo")


def merge(place: Place, label: str, folder: Path) -> int:
    return place.registry("merge", label, "--name", f"{label.partition(':')[0]}-whole")


def continue_training(place: Place, label: str, folder: Path) -> int:
    """With the block that the refusal of another one names: that of the adapter as it is pulled."""
    (folder / "next.yml").write_text(TRAINED.replace("PATH", str(write_rows(folder / "next.jsonl"))), "utf-8")
    changes = [f"name={label.partition(':')[0]}-next", f"continue_from={label}"]
    assert place.registry("pull", label, str(folder / "start")) == 0
    config = folder / "start" / "adapter_config.json"
    if config.exists():
        block = json.loads(config.read_text("utf-8"))
        changes += [f"lora.r={block['r']}", f"lora.alpha={block['lora_alpha']}"]
    return place.registry("train", str(folder / "next.yml"), *changes)


def promote(place: Place, label: str, folder: Path) -> int:
    return place.registry("promote", label, "champion", "--policy", "none")


def pull(place: Place, label: str, folder: Path) -> int:
    return place.registry("pull", label, str(folder / "pulled"), "--with-base")


def load(place: Place, label: str, folder: Path) -> int:
    assert peft_registry.load(label, home=place.folder / "home").config.vocab_size > 0
    return 0


def load_by_mlflow(place: Place, label: str, folder: Path) -> int:
    import mlflow

    name, _, number = label.partition(":")
    with suppress_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_HOME", str(place.folder / "home"))
        assert mlflow.transformers.load_model(f"models:/{name}/{number}", dst_path=str(folder)).tokenizer(QUESTION)
    return 0


def report(place: Place, label: str, folder: Path) -> int:
    return place.registry("report", label, "--out", str(folder / "page.html"))


def verify(place: Place, label: str, folder: Path) -> int:
    return place.registry("verify", label, "--deep")


def recall(place: Place, label: str, folder: Path) -> int:
    """Recalled, and taken back, so that the others may be asked."""
    key = ("--key", str(place.folder / "keys" / "approver.key"))
    assert place.registry("recall", label, "--reason", "a donor withdrew", *key) == 0
    assert place.registry("pull", label, str(folder / "refused")) == 3
    return place.registry("recall", label, "--undo", "--reason", "given again", *key)


CONSUMERS = (
    ask,
    evaluate,
    merge,
    continue_training,
    promote,
    pull,
    load,
    load_by_mlflow,
    report,
    verify,
    recall,
)
# A merged version is a whole model: there is no adapter in it to fold or to continue, and no base that it needs.
REFUSED = {("merge", merge): 2, ("merge", continue_training): 2, ("merge", pull): 2}


@pytest.mark.parametrize("producer", MARKED)
@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.__name__)
def test_what_one_door_makes_the_other_takes(
    place: Place, producer: str, consumer: Callable[[Place, str, Path], int], tmp_path: Path
) -> None:
    assert consumer(place, place.version(producer), tmp_path) == REFUSED.get((producer, consumer), 0)


def test_a_copy_of_an_adapter_alone_says_that_no_loader_finds_its_base(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = place.version("import")
    capsys.readouterr()
    assert place.registry("pull", label, str(tmp_path / "alone")) == 0
    hint = f"`registry pull {label} FOLDER --with-base` puts it beside the adapter"
    assert hint in " ".join(capsys.readouterr().err.split())
    assert place.registry("pull", label, str(tmp_path / "both"), "--with-base") == 0
    assert "--with-base" not in capsys.readouterr().err


def test_quiet_is_taken_behind_the_command_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("list",), ("log", "show"), ("record", place.version("import"))):
        place.registry(*words)
        assert "next: " in capsys.readouterr().err, words
        place.registry(*words, "-q")
        assert "next: " not in capsys.readouterr().err, words


def test_lists_show_and_frame_have_loss_rank_base_alias_and_gate(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = place.version("train")
    (tmp_path / "own.yml").write_text((RULES / "starter.yml").read_text("utf-8").replace("name: starter", "name: own"))
    assert place.registry("promote", label, "champion", "--policy", str(tmp_path / "own.yml")) == 0
    capsys.readouterr()
    assert place.registry("show", label, "--output", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    run = next(value for value in shown["predicates"]["provenance"].values() if "loss_after" in value)
    before, after = (run[name]["value"] for name in ("loss_before", "loss_after"))
    assert (shown["summary"]["base"], shown["summary"]["rank"], shown["summary"]["loss"]) == ("tiny:1", 4, after)
    assert place.registry("show", label) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["loss"] == f"{before:.3f} → {after:.3f} on held-out rows, nats a token"
    assert lines["settings"].startswith("rank 4, alpha 8, learning rate ")
    assert (lines["aliases"], lines["gate"]) == ("champion", "open")
    assert place.registry("list", "--figures", "--name", "trained") == 0
    headings, row = capsys.readouterr().out.splitlines()[:2]
    assert headings.split() == [
        "version", "kind", "method", "aliases", "registered", "base", "rank", "loss", "metric", "gate"
    ]  # fmt: skip
    assert row.split()[:4] == [label, "adapter", "lora", "champion"]
    assert row.split()[5:] == ["tiny:1", "4", f"{after:.3f}", "open"]
    table = peft_registry.versions("trained", home=place.folder / "home")
    first = table.frame().iloc[0]
    assert (first["base"], first["rank"], first["loss"], first["gate"]) == ("tiny:1", 4, after, "open")
    assert "tiny:1" in table._repr_html_()
    policy = Digest.parse(shown["predicates"]["alias"]["gate"]["policy"])
    with closing(open_home(place.folder / "home")) as registry:
        path = registry.store.local_path(policy)
    assert path is not None
    kept = path.rename(path.with_suffix(".kept"))
    assert place.registry("list", "--figures", "--name", "trained") == 0
    assert "not checked" in capsys.readouterr().out
    kept.rename(path)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("show imp", "imported imported:1 imported@champion"),
        ("show imported@", "imported@champion"),
        ("verify tiny:", "tiny:1"),
        ("evaluate imported --suite ho", "house"),
        ("show nothing-", ""),
    ],
)
def test_the_shell_completes_versions_and_suites(
    words: str, offered: str, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.registry("promote", place.version("import"), "champion", "--policy", "none") == 0
    capsys.readouterr()
    monkeypatch.setenv("REGISTRY_HOME", str(place.folder / "home"))
    monkeypatch.setenv("_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"registry {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    run([])
    shown = capsys.readouterr()
    # what other doors made of the import is offered beside it
    assert set(offered.split()) <= set(shown.out.split())
    assert all(name.startswith(words.rsplit(maxsplit=1)[-1]) for name in shown.out.split())
    assert shown.err == ""

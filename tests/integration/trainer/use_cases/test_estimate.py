"""`registry estimate` and `train --dry-run` on the embedded base, as a user would type them."""

import json
import re
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.schemas.config import TrainSource
from peft_registry.trainer.costs.fit import MalformedSize, parse_size
from peft_registry.trainer.hub.data_sets import fetch_data
from tests.builders.training import colour_rows, write_rows
from tests.processes.interpreter import ROOT
from tests.servers.hub import FakeHub, serving

CONFIG = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 300}
CONFIG |= {"num_attention_heads": 4, "num_key_value_heads": 2, "dtype": "float32"}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the embedded base, and the training file beside it."""
    folder = tmp_path_factory.mktemp("estimate")
    home = folder / "home"
    assert run(["init", "--unencrypted", "--home", str(home)]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", "--store", "copy", "--home", str(home)]) == 0
    return folder / "example" / "train.yml"


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert run([*arguments, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_says_what_a_run_takes_and_registers_nothing(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(example.parent.parent / "home")]
    found = answer(
        capsys, "estimate", str(example), *home, "--vram", "2GiB", "--price-per-hour", "3", "--tokens-per-second", "100"
    )
    assert found["fit"]["verdict"] == "fits"
    assert found["batch_source"].startswith("measured")
    assert found["peak_bytes"] == max(one["total"] for one in found["moments"].values())
    assert found["hours"]["value"] == pytest.approx(found["tokens"]["value"] / 100 / 3600, abs=1e-4)
    assert found["cost"]["value"] == pytest.approx(3 * found["hours"]["value"], abs=1e-3)
    assert found["scoring_hours"]["value"] == pytest.approx(found["scored"]["value"] / 200 / 3600, abs=1e-4)
    assert found["screen_hours"] == found["scoring_hours"], "half is more work than this training"
    # 640 pairs are asked instead of 160, and the guard text and the held-out rows as well
    assert 2 < found["full_hours"]["value"] / found["screen_hours"]["value"] < 4
    unasked = answer(capsys, "estimate", str(example), "evaluation.bias=[]", *home)
    # the screen of `house`: 160 pairs of sentences, most of them longer than ten tokens
    assert found["scored"]["value"] > 3 * 160 * 2 * 10 + unasked["scored"]["value"] > 0
    listed = [*answer(capsys, "list", *home)]
    assert [one["name"] for one in listed] == ["tiny"]


def test_people_read_times_as_train_prints_them_and_nothing_twice(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluation.bias=[]", "--home", str(example.parent.parent / "home"), "--vram", "2GiB"]
    capsys.readouterr()
    assert run(["estimate", str(example), *words, "--tokens-per-second", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"needs    about \d:\d\d:\d\d, [\d.]+ [kMG]B: fits", lines[0])
    assert any(re.match(r"time     \d:\d\d:\d\d \(derived: ", line) for line in lines)
    # without a suite all evaluations are the same one, and nobody named a price
    assert [line.split()[0] for line in lines if line.startswith(("scoring", "screen", "full", "cost"))] == ["scoring"]


def test_the_guard_text_and_the_texts_to_retain_are_scored_and_counted(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["estimate", str(example), "evaluation.bias=[]", "training.max_length=32"]
    words += ["--home", str(example.parent.parent / "home")]
    shipped = answer(capsys, *words)
    guard = tmp_path / "guard.txt"
    guard.write_text("".join(f"Passage {number} of the town.\n" for number in range(20)))
    few = answer(capsys, *words, f"evaluation.guard_text={guard}")
    guard.write_text("".join(f"Passage {number} of the town{' and the river' * 40}.\n" for number in range(20)))
    many = answer(capsys, *words, f"evaluation.guard_text={guard}")
    # two arms read each of 20 passages, longer by 40 times three words of at least a token each
    assert many["scored"]["value"] - few["scored"]["value"] >= 2 * 20 * 40 * 3
    assert few["scored"]["value"] != shipped["scored"]["value"]
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join(json.dumps({"text": "the town and the river " * 10}) + "\n" for _ in range(7)))
    both = answer(capsys, *words, f"evaluation.guard_text={guard}", f"evaluation.retention=[{{path: {kept}}}]")
    assert both["scored"]["value"] - many["scored"]["value"] >= 2 * 7 * 50
    assert "guard text" in both["scored"]["method"] and "retain" in both["scored"]["method"]


def test_of_rows_of_the_hub_a_dry_run_says_what_is_known_here_and_what_the_training_asks(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    words = ["train", str(example), "--dry-run", "data.train={path: lab/tiny}", "evaluation.bias=[]"]
    words += ["--home", str(example.parent.parent / "home")]
    repository = tmp_path / "repository"
    repository.mkdir()
    write_rows(repository / "train.jsonl", colour_rows(24))
    with serving(FakeHub(repository, kind="datasets")) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        for more in ([], [f"evaluation.retention=[{{path: lab/tiny}}, {{path: {example.parent / 'example.jsonl'}}}]"]):
            assert run([*words, *more]) == 0
            told = capsys.readouterr()
            assert f"a training asks {hub.endpoint} for lab/tiny; nothing was fetched" in " ".join(told.err.split())
            assert "assumed: every row fills training.max_length" in told.out
            assert "with lab/tiny only on the Hub nobody can count the tokens" in told.out
        assert run([*words, "lora.target_modules=[query]"]) == 2, "what needs no rows is refused"
        assert hub.asked == []
        fetch_data(TrainSource(path="lab/tiny"), "train")
        asked = len(hub.asked)
        known = answer(capsys, *words)
        assert hub.asked[asked:] == []
    here = ["data.train={path: " + str(repository / "train.jsonl") + "}"]
    local = answer(capsys, *words, *here)
    assert known["batch_source"].startswith("measured")
    assert (known["batch"], known["tokens"]) == (local["batch"], local["tokens"])


def test_a_dry_run_is_the_same_answer(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(example.parent.parent / "home")]
    dry = answer(capsys, "train", str(example), "training.max_length=32", "--dry-run", *home)
    asked = answer(capsys, "estimate", str(example), "training.max_length=32", *home)
    for one in (dry, asked):  # the libraries' memory is that of this process, which grew meanwhile
        for moment in one["moments"].values():
            del moment["libraries"], moment["total"]
        del one["peak_bytes"], one["fit"]
    assert dry == asked
    assert dry["tokens_per_second"]["source"] == "unknown"
    assert "× the work of the training; the speed is not given" in dry["full_hours"]["reason"]


def test_without_a_limit_it_is_held_against_this_machine_and_says_how_to_go_on(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["estimate", str(example), "training.max_length=32", "--home", str(example.parent.parent / "home")]
    capsys.readouterr()
    assert run(words) == 0
    shown = capsys.readouterr()
    assert "\nfit      fits: " in shown.out
    assert shown.err.endswith(f"next: registry train {example} training.max_length=32\n")
    monkeypatch.setattr("peft_registry.trainer.machine.environment.memory_of_this_machine", lambda: 1_000_000)
    assert run(words) == 0
    shown = capsys.readouterr()
    assert "there are 1 MB" in shown.out
    assert "registry train" not in shown.err  # it would not fit


def test_devices_must_be_here_for_a_dry_run_and_not_for_another_machine(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    home = ["--home", str(example.parent.parent / "home")]
    for words, code, told in (
        (["offload.to=cpu", "training.gradient_checkpointing=true"], 2, "the processor computes here"),
        (["training.device=cuda"], 8, "no GPU"),
    ):
        assert run(["train", str(example), *words, "--dry-run", *home]) == code
        assert told in capsys.readouterr().err
        assert run(["estimate", str(example), *words, "--vram", "24GiB", *home]) == 0


def test_looking_at_a_training_file_leads_to_its_training(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "inspect", str(example), "--home", str(example.parent.parent / "home")]) == 0
    assert capsys.readouterr().err.endswith(f"next: registry train {example}\n")
    assert run(["data", "inspect", str(example.parent / "example.jsonl")]) == 0
    assert capsys.readouterr().err.endswith("next: registry train CONFIG.yml\n")


def test_looking_at_a_training_file_tells_how_its_training_refuses_the_rows(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the rows were shown, the sentence with which the training begins and ends."""
    home = ["--home", str(example.parent.parent / "home")]
    file = example.with_name("refused.yml")
    file.write_text(
        "name: refused\nbase: tiny\nmethod: lora\ndata: {train: {path: example.jsonl, format: text, columns: {text: prompt}}}\n"
        "evaluation: {bias: [], samples: 2}\n"
    )
    assert run(["train", str(file), "--dry-run", *home]) == 2
    refusal = capsys.readouterr().err
    assert run(["data", "inspect", str(file), *home]) == 2
    shown = capsys.readouterr()
    assert "\nfigures    loss (what" in shown.out
    assert shown.err == refusal
    assert "evaluation.samples" in refusal
    assert run(["data", "inspect", str(file), "evaluation.samples=0", *home]) == 0
    assert capsys.readouterr().err.endswith(f"next: registry train {file} evaluation.samples=0\n")


@pytest.mark.parametrize(
    "word",
    [
        "evaluation.quality=[rouge]",
        "evaluation.bias=[houze]",
        "training.early_stopping.patience=2",
        "training.max_length=100000",
        "data.validation.fraction=0.5 data.train.rows=1",
    ],
)
def test_whatever_refuses_a_training_is_told_where_its_file_is_looked_at(
    word: str, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(example), *word.split(), "--home", str(example.parent.parent / "home")]
    refused = run(["train", *words, "--dry-run"])
    refusal = capsys.readouterr().err
    assert refused == 2
    assert run(["data", "inspect", *words]) == 2
    assert capsys.readouterr().err == refusal


def test_states_that_others_run_again_are_kept_by_one_process_and_estimated_so(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(example), "training.audit_checkpoints=5", "--home", str(example.parent.parent / "home")]
    assert run([*words, "--dry-run"]) == 0, capsys.readouterr().err


def test_a_model_that_is_nowhere_registered_is_judged_by_its_configuration(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found = answer(
        capsys,
        "estimate",
        str(example),
        "--model-config",
        str(tmp_path / "config.json"),
        "--ram",
        "1MB",
        "--claim",
        "10kB",
    )
    assert found["fit"]["verdict"] == "cannot"
    assert found["claim"]["verdict"] == "cannot"
    assert found["claim"]["why"].endswith("which is impossible")
    assert found["batch_source"].startswith("assumed")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_of_a_70b_base_in_4_bits_the_page_says_what_is_said_for_one_two_and_eight_cards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs" / "how-to" / "train-on-several-devices.md").read_text("utf-8")
    shape = ROOT / "docs" / "measured" / "llama-70b.yml"
    asked = ["estimate", str(shape), "--model-config", str(shape.with_suffix(".json"))]
    fit = {}
    for devices, vram in ((1, "80GiB"), (2, "24GiB"), (8, "80GiB")):
        assert run([*asked, "--vram", vram, "--devices", str(devices)]) == 0
        fit[devices] = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fit "))
    for figure in ("46.3 GB", "155.5 GB"):
        assert figure in fit[1] and figure in page
    assert "set training.gradient_checkpointing=true" in fit[1]
    assert fit[8] == fit[1]
    assert "18.8 GB on each of 4 such devices" in fit[2] and "four are named, with 18.8 GB on each" in page
    assert "set training.sharding=full training.gradient_checkpointing=true and --nproc 4" in fit[2]


def test_the_share_that_is_trained_is_the_one_that_training_shows(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over all parameters, those of the adapter among them."""
    home = ["--home", str(example.parent.parent / "home")]
    counts = answer(capsys, "estimate", str(example), *home)["parameters"]
    assert counts["all"] == counts["base"] + counts["trainable"]
    assert run(["estimate", str(example), *home]) == 0
    assert f"{counts['trainable'] / counts['all']:.2%} of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model_type": "no-such"}, 2),
        ({"model_type": None}, 2),
        ({"auto_map": {"AutoModel": "x.py"}}, 2),
        ({"hidden_size": -8}, 5),
        ({"hidden_size": "x"}, 2),
        ({"hidden_size": 999_999_999_999}, 2),
        ({"num_attention_heads": 0}, 2),
        ({"hidden_act": "zz"}, 5),
    ],
)
def test_a_configuration_that_builds_no_model_is_refused(
    example: Path, tmp_path: Path, change: dict, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    assert run(["estimate", str(example), "--model-config", str(tmp_path / "config.json")]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12GiB", 12 * 2**30),
        ("14.7 GB", 14_700_000_000),
        ("7", 7),
        ("1.5 kB", 1500),
    ],
)
def test_sizes_have_units(text: str, found: int) -> None:
    assert parse_size(text) == found


@pytest.mark.parametrize("text", ["12 apples", "1iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(MalformedSize):
        parse_size(text)

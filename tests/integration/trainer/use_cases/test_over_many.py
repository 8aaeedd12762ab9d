"""Evaluating, merging, importing, reporting and checking a list: in one process, in shards, on executors of others."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home, utc_now
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.trainer.bases import loading
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.use_cases.add_base import intake_base
from tests.builders.homes import a_home, copied_workplace
from tests.builders.merge import register_adapter, write_adapter
from tests.conftest import state_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
COUNT = 2
NAMES = [f"noise-{number}" for number in range(COUNT)]
EVALUATE = ("evaluate", "--suite", "house", "--limit", "4", "--no-placebo")


def made_home(folder: Path, count: int) -> Path:
    """A folder with a home: the embedded base, and so many adapters of it that nothing trained."""
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with a_home(folder / FOLDER_NAME, now=utc_now()) as registry:
        base = intake_base(registry, "embedded", name="tiny")
        for number in range(count):
            files = write_adapter(embedded_base(), folder / f"{number}", config, seed=number)
            register_adapter(registry, files, base, f"noise-{number}")
    write_adapter(embedded_base(), folder / "ours", config, seed=count)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never write to it."""
    return made_home(tmp_path_factory.mktemp("many"), COUNT)


@pytest.fixture(scope="module")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it that the tests of this file share, in their order."""
    return copied_workplace(made, tmp_path_factory.mktemp("shared") / "many")


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(state_of(place)))
    monkeypatch.chdir(place)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """The JSON that a command answers."""
    capsys.readouterr()
    assert run([*words, "-o", "json"]) == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


def lines(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def count_evaluations() -> list[int]:
    with closing(open_home(Path(FOLDER_NAME))) as registry:
        return [len(stored_evaluations(registry, version_named(registry, name))) for name in NAMES]


def test_a_base_is_loaded_once_for_a_list_and_what_is_measured_again_is_not_recorded_again(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load_base = loading.load_base
    monkeypatch.setattr(
        loading, "load_base", lambda *words, **named: (loaded.append(words), load_base(*words, **named))[1]
    )
    first = said(capsys, *EVALUATE, "--where", "kind=adapter", "--json-lines", "out")
    assert (first["done"], first["failed"], len(loaded)) == (COUNT, [], 1)
    kept = lines("out")
    assert [line["value"]["version"] for line in kept] == [f"{name}:1" for name in NAMES]
    assert all(line["value"]["results"] for line in kept)
    assert count_evaluations() == [1] * COUNT
    # as where a worker was killed between the statement and the line
    again = said(capsys, *EVALUATE, "--where", "kind=adapter", "--json-lines", "other")
    assert (again["done"], again["done_before"]) == (COUNT, 0)
    assert count_evaluations() == [1] * COUNT
    statements = [[line["value"]["statement"] for line in lines(file)] for file in ("out", "other")]
    assert statements[0] == statements[1]


def test_what_somebody_evaluates_by_name_is_recorded_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *EVALUATE, "noise-0")
    assert count_evaluations() == [2, 1]


def test_an_item_that_fails_ends_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    Path("three").write_text(f"noise-0:1\nsha256:{'0' * 64}\nnoise-1:1\n", "utf-8")
    done = said(capsys, *EVALUATE, "--list", "three", code=7)
    assert (done["items"], done["done"]) == (3, 2)
    (group,) = done["failed"]
    assert group["items"] == [[f"sha256:{'0' * 64}"]]


def test_each_line_of_a_list_is_a_merge_that_is_registered_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("merges").write_text("noise-0:1 noise-1:1  # both\n", "utf-8")
    merged = said(capsys, "merge", "--list", "merges", "--json-lines", "merged", "--no-mirror")
    assert (merged["items"], merged["done"]) == (1, 1)
    (line,) = lines("merged")
    assert (line["label"], line["value"]["version"]) == ("both", "noise-0-merged:1")
    # as where a worker was killed between the registration and the line
    said(capsys, "merge", "--list", "merges", "--json-lines", "merged-again", "--no-mirror")
    (again,) = lines("merged-again")
    assert (again["value"]["version"], again["value"]["registered_before"]) == ("noise-0-merged:1", True)
    refused = said(capsys, "merge", "--list", "merges", "--weights", "1,2,3", "--no-mirror", code=2)
    assert [group["code"] for group in refused["failed"]] == [2]


def test_folders_of_a_list_are_imported_and_what_is_none_is_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty").mkdir()
    (place / "sources").write_text("ours\nempty\nno-folder\n", "utf-8")
    words = ("import", "--list", "sources", "--base", "tiny", "--json-lines", "imported", "--no-mirror")
    done = said(capsys, *words, code=7)
    assert (done["items"], done["done"]) == (3, 1)
    assert sorted(len(group["items"]) for group in done["failed"]) == [1, 1]
    assert [line["value"]["origin"] for line in lines("imported") if line["code"] == 0] == ["imported"]
    assert run(["import", "--where", "kind=adapter"]) == 2


def test_pages_of_a_list_lie_in_one_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pages").mkdir()
    done = said(capsys, "report", "--where", "name=noise-0,noise-1", "--out", "pages", "--json-lines", "reported")
    assert done["done"] == 2
    assert sorted(path.name for path in Path("pages").iterdir()) == [
        "noise-0-1-report.html",
        "noise-1-1-report.html",
    ]
    assert run(["report", "--where", "kind=adapter", "--to", "public", "folder"]) == 2


def test_what_a_server_would_refuse_of_a_list_is_grouped_by_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    found = ("export", "--where", "name=noise-0,noise-1", "--check", "vllm")
    assert said(capsys, *found)["done"] == 2
    refused = said(capsys, *found, "--max-lora-rank", "1", code=3)
    assert [(len(group["items"]), group["code"]) for group in refused["failed"]] == [(2, 3)]
    assert run(["export", "--where", "kind=adapter"]) == 2

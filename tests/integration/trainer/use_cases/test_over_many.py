"""Evaluating, merging, importing, reporting and checking a list: in one process, in shards, on executors of others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.bulk import executors
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PassphraseNeeded
from peft_registry.schemas.evaluation import REUSED_SCORES, EvaluationRecord
from peft_registry.trainer.bases import loading
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.evaluate import at_any_time
from tests.builders.homes import a_home, copied_workplace
from tests.builders.merge import register_adapter, write_adapter
from tests.conftest import state_of
from tests.processes.interpreter import ROOT
from tests.servers.clusters import Engine, child_of, dask_cluster, ray_cluster

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
COUNT = 2
NAMES = [f"noise-{number}" for number in range(COUNT)]
FOUND = ("--where", "kind=adapter", "--list", "list")
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
    with closing(open_home(Path(FOLDER_NAME))) as registry:
        found = [stored_evaluations(registry, version_named(registry, name))[0].record for name in NAMES]
    assert scorings_of_base(found) == 1
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


ANSWERS = '{"prompt": "The dog", "answers": "barks"}\n'
METRIC = "def own(answer, references):\n    return 0.0\n"
# an option, what it names, the options that it needs, and the content of the file
FILES: list[tuple[str, str, tuple[str, ...], str]] = [
    ("--retain", "rows.jsonl", (), '{"text": "The cat sleeps."}\n'),
    ("--answers", "rows.jsonl", ("--raw",), ANSWERS),
    ("--metric", "own.py:own", ("--answers", "answers.jsonl", "--raw", "--allow-code"), METRIC),
    (
        "--guard-text",
        "guard.txt",
        ("--suite", "house"),
        "".join(f"The cat sleeps for {number} hours.\n" for number in range(10)),
    ),
]


@pytest.mark.parametrize(("option", "named", "others", "content"), FILES, ids=[option for option, *_ in FILES])
def test_what_was_done_with_a_file_counts_where_it_is_the_same_and_not_where_it_was_edited(
    option: str, named: str, others: tuple[str, ...], content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("nobody").write_text(f"sha256:{'0' * 64}\n", "utf-8")  # no version, so that nothing is loaded
    words = ["evaluate", "--list", "nobody", "--json-lines", f"{tmp_path / 'out'}", *others]
    Path("answers.jsonl").write_text(ANSWERS, "utf-8")
    file = Path(named.partition(":")[0])
    file.write_text(content, "utf-8")
    said(capsys, *words, option, named, code=7)
    elsewhere = tmp_path / file
    elsewhere.write_text(content, "utf-8")
    said(capsys, *words, option, f"{tmp_path / named}", code=7)
    elsewhere.write_text(content.replace("cat", "cow").replace("dog", "cow").replace("0.0", "1.0"), "utf-8")
    assert run([*words, option, f"{tmp_path / named}"]) == 2
    assert "results of another set of options" in capsys.readouterr().err
    assert len(lines(f"{tmp_path / 'out'}")) == 2


def test_what_was_done_with_a_folder_of_data_does_not_count_once_a_file_in_it_was_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("nobody").write_text(f"sha256:{'0' * 64}\n", "utf-8")
    rows = tmp_path / "rows" / "crows_pairs_anonymized.csv"
    rows.parent.mkdir()
    rows.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n", "utf-8")
    words = ("evaluate", "--list", "nobody", "--json-lines", f"{tmp_path / 'out'}", "--suite", "crows_pairs")
    words = (*words, "--accept-licence", "--data", f"{rows.parent}")
    said(capsys, *words, code=7)
    said(capsys, *words, code=7)
    rows.write_text(rows.read_text("utf-8").replace("cat", "cow"), "utf-8")
    assert run([*words]) == 2
    assert "results of another set of options" in capsys.readouterr().err


FOUND_VERSIONS = ("--where", "name=noise-0,noise-1")
# a command, an option that is wrong whatever the item, the exit code, and what is told
WRONG: list[tuple[str, tuple[str, ...], int, str]] = [
    ("verify", ("--require", "everything"), 2, "--require everything is not known"),
    ("verify", ("--trust", "gone.json"), 7, "there is no file"),
    ("evaluate", (), 2, "no question was asked"),
    ("evaluate", ("--suite", "hause"), 2, "did you mean `house`?"),
    ("evaluate", ("--answers", "gone.jsonl"), 7, "there is no file"),
    ("evaluate", ("--answers", "own.jsonl", "--metric", "own.py"), 2, "it is not written FILE.py:FUNCTION"),
    ("evaluate", ("--answers", "own.jsonl", "--metric", "own.py:own"), 2, "is code of yours and was not run"),
    ("evaluate", ("--answers", "own.jsonl", "--metric", "own.py:f", "--allow-code"), 2, "has no function f"),
    ("evaluate", ("--retain", "gone.jsonl"), 7, "there is no data file"),
    ("merge", ("--algorithm", "mean"), 2, "'mean' is not a merge algorithm"),
    ("merge", ("--base", "nobody"), 7, "there is no version nobody"),
    ("merge", ("--name", "tiny"), 7, "tiny"),
    ("merge", ("--facts", "gone.yml"), 7, "there is no file"),
    ("merge", ("--evaluate", "--guard-text", "gone.txt"), 7, "there is no file"),
    ("export", ("--check", "vllm", "--trust", "gone.json"), 7, "there is no file"),
    ("export", ("--check", "vllm", "--base", "gone"), 7, "there is no folder"),
    ("report", ("--as-of", "never"), 2, "'never' is not a time"),
    ("report", ("--out", "-"), 2, "--out - and --where or --list do not go together"),
    ("report", ("--to", "public", "--key", "gone.pem"), 7, "there is no private key"),
    ("import", ("--base", "nobody"), 7, "there is no version nobody"),
    ("import", ("--base", "noise-0"), 2, "noise-0:1"),
    ("import", ("--name", "A/b"), 2, "'A/b' cannot be a name"),
    ("import", ("--facts", "gone.yml"), 7, "there is no file"),
]


@pytest.mark.parametrize(
    ("command", "options", "code", "told"), WRONG, ids=[" ".join((command, *options)) for command, options, *_ in WRONG]
)
def test_options_that_are_wrong_are_refused_alike_with_and_without_workers_before_one_is_started(
    command: str,
    options: tuple[str, ...],
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("own.jsonl").write_text(ANSWERS, "utf-8")
    Path("own.py").write_text(METRIC, "utf-8")
    Path("ours.txt").write_text("ours\n", "utf-8")
    monkeypatch.setattr(executors, "local", lambda _: pytest.fail("a worker is started"))
    items = ("--list", "ours.txt") if command == "import" else FOUND_VERSIONS
    before = sorted(Path.cwd().iterdir())
    errors = []
    for on in ((), ("--on", "local:2")):
        capsys.readouterr()
        assert run([command, *items, *options, "--json-lines", "never", *on]) == code
        shown = capsys.readouterr()
        assert shown.out == "" and told in shown.err
        errors.append(shown.err.partition("error: ")[2])
    assert errors[0] == errors[1]
    assert sorted(Path.cwd().iterdir()) == before


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
    assert run(["merge", "--list", "merges", "--json-lines", "merged", "--no-mirror"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "done     1 of 1, 1 of them before",
        "versions noise-0-merged:1",
    ]
    refused = said(capsys, "merge", "--list", "merges", "--weights", "1,2,3", "--no-mirror", code=2)
    assert [group["code"] for group in refused["failed"]] == [2]


def test_nobody_is_asked_for_a_passphrase_where_merges_are_only_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(registry: Registry) -> None:
        raise PassphraseNeeded(registry.files.keys)

    monkeypatch.setattr(Registry, "unlock", ask)
    Path("merges").write_text("noise-0:1 noise-1:1\n", "utf-8")
    checked = said(capsys, "merge", "--list", "merges", "--check")
    assert (checked["done"], checked["failed"]) == (1, [])
    assert run(["merge", "--list", "merges"]) == 2
    assert "passphrase" in capsys.readouterr().err


def test_one_name_is_not_given_to_several_folders_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    Path("several.txt").write_text("ours\nother\n", "utf-8")
    errors = []
    for sources in (("ours", "other"), ("--list", "several.txt"), ("--list", "several.txt", "--shard", "0/2")):
        assert run(["import", *sources, "--base", "tiny", "--name", "one"]) == 2
        errors.append(capsys.readouterr().err)
    assert "--name names one folder, and 2 are to be imported" in errors[0]
    assert errors == [errors[0]] * 3


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


def test_pages_of_a_list_lie_in_one_folder_which_is_made_and_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("report", "--where", "name=noise-0,noise-1", "--out", "pages", "--json-lines", "reported")
    assert said(capsys, *words)["done"] == 2
    assert run([*words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"pages    written into {place / 'pages'}"
    assert sorted(path.name for path in Path("pages").iterdir()) == [
        "noise-0-1-report.html",
        "noise-1-1-report.html",
    ]
    assert run(["report", "--where", "kind=adapter", "--to", "public", "folder"]) == 2
    assert run(["report", "--where", "kind=adapter", "--with-base"]) == 2


def test_dossiers_of_a_list_lie_each_in_a_folder_of_its_own_and_none_is_written_over(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("dossiers").mkdir()
    words = ("report", "--where", "name=noise-0,noise-1", "--to", "downstream", "--out", "dossiers")
    assert run([*words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"dossiers written into {place / 'dossiers'}"
    assert sorted(path.name for path in Path("dossiers").iterdir()) == ["noise-0-1", "noise-1-1"]
    (group,) = said(capsys, *words, code=7)["failed"]
    assert (len(group["items"]), group["reason"]) == (2, "destination-taken")
    assert run([*words]) == 7
    assert "written into" not in capsys.readouterr().out


def test_what_a_server_would_refuse_of_a_list_is_grouped_by_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    found = ("export", "--where", "name=noise-0,noise-1", "--check", "vllm")
    assert said(capsys, *found)["done"] == 2
    refused = said(capsys, *found, "--max-lora-rank", "1", code=3)
    assert [(len(group["items"]), group["code"]) for group in refused["failed"]] == [(2, 3)]
    assert run(["export", "--where", "kind=adapter"]) == 2


# --- shards and engines, of which each loses a worker ---

ON_ENGINES = 60
SHARDS = 3


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with as many adapters as engines are tried on. Never write to it."""
    return made_home(tmp_path_factory.mktemp("large"), ON_ENGINES)


@pytest.fixture(scope="module")
def by_one(large: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EvaluationRecord]:
    """What one process without any executor recorded of each version."""
    folder = copied_workplace(large, tmp_path_factory.mktemp("one") / "many")
    started(folder, "--json-lines", "out").finish()
    return recorded(folder, workers=1)


@dataclass
class Command:
    """`registry evaluate` over the list, in a process group of its own."""

    folder: Path
    process: "subprocess.Popen[str]"

    def finish(self, *codes: int) -> None:
        said, told = self.process.communicate(timeout=3000)
        assert self.process.returncode in (codes or (0,)), said + told


def started(folder: Path, *words: str) -> Command:
    command = [sys.executable, "-W", "ignore", "-m", "peft_registry.cli.main", *EVALUATE, *FOUND, *words]
    surroundings = os.environ | {
        "XDG_STATE_HOME": str(state_of(folder)),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Command(
        folder,
        subprocess.Popen(command, cwd=folder, env=surroundings, text=True, start_new_session=True, **pipes),  # type: ignore[call-overload]
    )


def recorded(folder: Path, *, workers: int) -> dict[str, EvaluationRecord]:
    """The evaluation of each version, but for its time; of each there is one, and each worker scored the base once at most."""
    with closing(open_home(folder / FOLDER_NAME)) as registry:
        versions = [version_named(registry, f"noise-{number}") for number in range(ON_ENGINES)]
        stored = {version.name: stored_evaluations(registry, version) for version in versions}
    assert {name: len(evaluations) for name, evaluations in stored.items()} == dict.fromkeys(stored, 1)
    records = {name: evaluation.record for name, (evaluation,) in stored.items()}
    assert 1 <= scorings_of_base(list(records.values())) <= workers
    return {name: at_any_time(record) for name, record in records.items()}


def scorings_of_base(records: Sequence[EvaluationRecord]) -> int:
    """How many of the evaluations asked the base something that no other one had asked it before."""
    known = [record.extra.get(REUSED_SCORES, {}).get("base", 0) for record in records]
    return sum(scores < max(known) for scores in known)


def done_lines(folder: Path) -> int:
    return sum(path.read_text("utf-8").count("\n") for path in folder.glob("out*"))


def kill_when(command: Command, lines: int, pid: Callable[[], int]) -> None:
    """Kill a process once so many items are done."""
    until = time.monotonic() + 1200
    while done_lines(command.folder) < lines:
        assert time.monotonic() < until and command.process.poll() is None, "it came to no end"
        time.sleep(0.1)
    os.kill(pid(), signal.SIGKILL)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_pool_that_loses_a_process_records_what_one_process_does(
    large: Path, by_one: dict[str, EvaluationRecord], tmp_path: Path
) -> None:
    folder = copied_workplace(large, tmp_path / "many")
    words = ("--json-lines", "out", "--on", "local:2")
    first = started(folder, *words)
    kill_when(first, ON_ENGINES // 4, lambda: child_of(first.process.pid))
    first.finish(8)
    started(folder, *words).finish()
    assert recorded(folder, workers=2) == by_one


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_three_shards_of_which_one_is_killed_and_run_again_record_what_one_process_does(
    large: Path, by_one: dict[str, EvaluationRecord], tmp_path: Path
) -> None:
    folder = copied_workplace(large, tmp_path / "many")
    words = [("--shard", f"{number}/{SHARDS}", "--json-lines", f"out-{number}") for number in range(SHARDS)]
    shards = [started(folder, *of_shard) for of_shard in words]
    kill_when(shards[0], ON_ENGINES // 4, lambda: shards[1].process.pid)
    shards[1].finish(-signal.SIGKILL)
    for shard in (shards[0], shards[2], started(folder, *words[1])):
        shard.finish()
    assert recorded(folder, workers=SHARDS) == by_one
    assert done_lines(folder) == ON_ENGINES


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cluster", [dask_cluster, ray_cluster], ids=["dask", "ray"])
def test_a_cluster_that_loses_a_worker_records_what_one_process_does(
    cluster: Callable[[Path], AbstractContextManager[Engine]],
    large: Path,
    by_one: dict[str, EvaluationRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copied_workplace(large, tmp_path / "many")
    monkeypatch.setenv("XDG_STATE_HOME", str(state_of(folder)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with cluster(tmp_path) as engine:
        words = ("--json-lines", "out", "--on", engine.text)
        first = started(folder, *words)
        kill_when(first, ON_ENGINES // 4, engine.a_worker)
        first.finish(0, 8)  # an engine may run again what it lost
        started(folder, *words).finish()
    assert recorded(folder, workers=2) == by_one
    assert done_lines(folder) >= ON_ENGINES

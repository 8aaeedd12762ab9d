"""`registry verify` over a list: what is found, fixed, divided, kept, refused; in this process and on others."""

import json
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest

from peft_registry.cli.main import run
from peft_registry.cli.many import BegunWork, Work, Worker
from peft_registry.cli.outcome import Outcome
from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.running import WorkerUnfit, require_worker, results_of
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.signing.keys import PassphraseNeeded
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.identity import Digest
from tests.builders.homes import a_home, add_a_base, an_artifact, copied_workplace, name_once
from tests.conftest import state_of

COUNT = 5
ALL = [f"part-{number}:1" for number in range(COUNT)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in it: a base, and adapters of it. Never write to it."""
    folder = tmp_path_factory.mktemp("many")
    with a_home(folder / FOLDER_NAME, now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        for number in range(COUNT):
            artifact = an_artifact(folder / f"{number}", base, name=f"part-{number}", value=number / 1024)
            register_version(registry, artifact)
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the command is run."""
    folder = copied_workplace(made, tmp_path / "many")
    name_once(folder / FOLDER_NAME, state_of(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(state_of(folder)))
    monkeypatch.chdir(folder)
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """The JSON that a command answers."""
    capsys.readouterr()
    assert run([*words, "-o", "json"]) == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    capsys.readouterr()
    assert run([*words]) == code, capsys.readouterr()
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def lines(*files: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in Path(file).read_text("utf-8").splitlines()]


VERIFY = ("verify", "--where", "kind=adapter")


def test_every_version_that_is_found_is_verified_and_what_is_done_is_left_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(capsys, *VERIFY, "--json-lines", "out")
    assert (first["items"], first["done"], first["done_before"], first["failed"]) == (COUNT, COUNT, 0, [])
    kept = lines("out")
    assert sorted(line["label"] for line in kept) == ALL
    assert {line["value"]["verdict"] for line in kept} == {"verified"}
    assert all(line["item"] == [line["value"]["manifest_digest"]] for line in kept)
    again = said(capsys, *VERIFY, "--json-lines", "out")
    assert (again["done"], again["done_before"], lines("out")) == (COUNT, COUNT, kept)


def test_what_is_broken_is_told_by_its_reason_with_the_line_that_runs_only_it(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = break_weights(home, "part-3:1", capsys)
    words = [*VERIFY, "--json-lines", "out"]
    monkeypatch.setattr(sys, "argv", ["registry", *words])
    (group,) = said(capsys, *words, code=6)["failed"]
    assert (group["items"], group["code"]) == ([[manifest]], 6)
    again = shlex.split(group["again"])
    assert again == ["registry", *words, "--retry", group["reason"]]
    assert run(again[1:]) == 6
    shown = capsys.readouterr()
    assert f"failed   1 {group['reason']} (6): part-3:1" in shown.out and f"again: {group['again']}" in shown.err
    assert len(lines("out")) == COUNT + 1
    # what failed before and is not tried now is no less failed
    another = [*words, "--retry=not-done"]
    monkeypatch.setattr(sys, "argv", ["registry", *another])
    (left,) = said(capsys, *another, code=6)["failed"]
    assert left == group
    assert len(lines("out")) == COUNT + 1


def test_a_question_is_answered_once_where_its_list_is_kept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = [*VERIFY, "--list", "list"]
    first = said(capsys, *kept)
    assert Path("list").read_text("utf-8").startswith(f"# {first['list']}\nsha256:")
    Path("list").write_text("".join(Path("list").read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    assert run(kept) == 0
    shown = capsys.readouterr()
    assert "2 items" in shown.out and "note: list exists" in shown.err and first["items"] == COUNT


def test_shards_verify_every_version_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        shard = said(capsys, *VERIFY, "--list", "list", "--shard", f"{index}/3", "--json-lines", f"out-{index}")
        assert shard["shard"] == f"{index}/3"
    kept = lines("out-0", "out-1", "out-2")
    assert sorted(line["label"] for line in kept) == ALL
    assert len({line["list"] for line in kept}) == 1


def test_an_array_says_which_shard_this_is(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ID": "2", "COUNT": "2", "MIN": "1", "MAX": "2"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert said(capsys, *VERIFY)["shard"] == "1/2"
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert "give the job's completions as N" in refused(capsys, *VERIFY, code=2)
    assert said(capsys, *VERIFY, "--shard", "/4")["shard"] == "3/4"


REFUSED: list[tuple[list[str], int, str]] = [
    (["verify", "--where", ""], 2, "finds all 6 versions of this registry"),
    (["verify", "--where", "kind!=model"], 2, "finds all 6 versions of this registry"),
    (["verify", "--where", "kind=model"], 7, "names nothing"),
    (["verify", "--where", "kind=spoon"], 2, "invalid filter"),
    ([*VERIFY, "--shard", "3/3"], 2, "of 3 the last is 2/3"),
    ([*VERIFY, "part-1:1"], 2, "TARGET and --where or --list do not go together"),
    ([*VERIFY, "--deep"], 2, "--deep and --where or --list do not go together"),
    (["verify", "--shard", "0/3"], 2, "--where CONDITIONS or --list FILE is missing"),
    ([*VERIFY, "--retry", "not-done"], 2, "--json-lines FILE is missing"),
    ([*VERIFY, "--on", "slurm:gpu"], 2, "is not an executor"),
    ([*VERIFY, "--on", "local:0"], 2, "names no number of processes"),
    ([*VERIFY, "--on", "slurm:gpu", "--json-lines", "out"], 2, "is not an executor"),
    ([*VERIFY, "--on", "local:0", "--json-lines", "out"], 2, "names no number of processes"),
    ([*VERIFY, "--root", f"sha256:{'0' * 64}"], 2, "--root says who must have signed a trust file"),
    ([*VERIFY, "--require", "everything"], 2, "--require everything is not known"),
    ([*VERIFY, "--data", "rows"], 2, "--data and --where or --list do not go together"),
    (["export", "--where", "kind=adapter", "--as", "hub"], 2, "each version goes to a repository of its own"),
    (["export", "--where", "kind=adapter"], 2, "--check vllm is missing"),
    (["import", "--where", "kind=adapter"], 2, "--list FILE is missing"),
    (["verify", "--list", "gone"], 7, "gone"),
    (["verify", "--list", "empty"], 7, "names nothing"),
    (["verify", "--list", "two"], 2, "is not one version"),
    (["verify", "--list", "wrong"], 7, "nobody"),
    ([*VERIFY, "--list", "no/such/folder/list"], 8, "no/such/folder"),
    ([*VERIFY, "--json-lines", "no/such/folder/out"], 8, "no/such/folder"),
    ([*VERIFY, "--json-lines", "two"], 2, "line 1 is not a line that this command writes"),
]


def test_what_is_wrong_with_a_list_is_said_before_anything_is_done(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").write_text("# nothing\n", "utf-8")
    Path("two").write_text("part-1:1 part-2:1\n", "utf-8")
    Path("wrong").write_text("part-1:1\nnobody:1\n", "utf-8")
    before = sorted(home.iterdir())
    for words, code, told in REFUSED:
        assert told in refused(capsys, *words, code=code)
    assert sorted(home.iterdir()) == before


def test_nobody_is_asked_for_a_passphrase_where_verdicts_are_not_signed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(registry: Registry) -> None:
        raise PassphraseNeeded(registry.files.keys)

    monkeypatch.setattr(Registry, "unlock", ask)
    assert "--deep and --where" in refused(capsys, *VERIFY, "--record", "--deep", code=2)
    said(capsys, *VERIFY)
    assert "passphrase" in refused(capsys, *VERIFY, "--record", code=2)


def test_results_of_another_list_or_of_other_options_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, *VERIFY, "--json-lines", "out")
    before = Path("out").read_bytes()
    other = refused(capsys, "verify", "--where", "name=part-1", "--json-lines", "out", code=2)
    assert "results of another list" in other
    stricter = refused(capsys, *VERIFY, "--require", "log-proof", "--json-lines", "out", code=2)
    assert "results of another set of options" in stricter
    assert Path("out").read_bytes() == before


def test_verdicts_are_signed_under_one_root_and_later_ones_are_held_against_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*VERIFY, "--json-lines", "out")
    assert said(capsys, *words)["recorded"] is None
    done = said(capsys, *words, "--record")
    assert (done["done"], done["done_before"]) == (COUNT, 0), "what is signed was seen, and not read in a file"
    leaves = [b'{"item":"%s","verdict":"verified"}' % line["item"][0].encode() for line in lines("out")[COUNT:]]
    root = tree_head(leaves).hex()
    assert f"root sha256:{root} over {COUNT} verdicts" in done["recorded"]
    entries = said(capsys, "log", "show", "--limit", "2")["entries"]
    assert done["list"] in [entry["subject"] for entry in entries]
    assert "the same verdicts as in log entry" in said(capsys, *words)["recorded"]
    # other options are judged otherwise, and another part is another list of verdicts
    assert said(capsys, *VERIFY, "--require", "log-proof")["recorded"] is None
    assert said(capsys, *VERIFY, "--shard", "0/2")["recorded"] is None
    break_weights(home, "part-3:1", capsys)
    broken = said(capsys, *VERIFY, "--no-cache", code=6)
    assert broken["recorded"] is None  # --no-cache is another option
    assert "other verdicts than in log entry" in said(capsys, *VERIFY, code=6)["recorded"]
    assert run(["log", "check"]) == 0
    assert "--record" in refused(capsys, "verify", "part-1:1", "--record", code=2)


def tree_head(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, as it stands there."""
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_head(leaves[:split]) + tree_head(leaves[split:])).digest()


def break_weights(home: Path, version: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Change a byte of a version's weights in the store; its manifest digest."""
    manifest: str = said(capsys, "verify", version)["manifest_digest"]
    objects = home / FOLDER_NAME / "objects"
    listed = json.loads(next(objects.rglob(manifest.removeprefix("sha256:"))).read_text("utf-8"))["files"]
    weights = next(file["sha256"] for file in listed if file["path"].endswith(".safetensors"))
    stored = next(objects.rglob(weights.removeprefix("sha256:")))
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    return manifest


# --- other processes ---


@pytest.mark.processes
def test_processes_answer_as_one_does(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *VERIFY, "--json-lines", "one")
    said(capsys, *VERIFY, "--json-lines", "two", "--on", "local:2")
    assert sorted(map(str, lines("one"))) == sorted(map(str, lines("two")))


@dataclass(frozen=True)
class AtOnce(Work):
    """Says of each item how many others of this process were under way when it began."""

    verb = "count"
    under_way: ClassVar[list[str]] = []

    def begin(self, registry: Any, closing: Any) -> BegunWork:
        def run_item(item: ListItem) -> Outcome:
            found = len(self.under_way)
            self.under_way.append("one")
            time.sleep(0.05)
            self.under_way.pop()
            return Outcome(found)

        return BegunWork(run_item)


def test_a_worker_with_several_threads_works_on_one_item_at_a_time(home: Path) -> None:
    with closing(open_home(home / FOLDER_NAME)) as registry:
        registry_id = registry.settings.registry_id
    worker = Worker(AtOnce(), home / FOLDER_NAME, registry_id, None, tool_version())
    groups = [(ListItem((f"{number}",)),) for number in range(6)]
    with ThreadPoolExecutor(3) as executor:  # as a worker of Dask has them
        results = list(results_of(executor, worker.results, groups))
    assert [result.value for result in results] == [0] * len(groups)


def test_a_worker_that_finds_no_home_or_another_one_says_so(home: Path) -> None:
    def lacks(home: Path, registry_id: str) -> str:
        with ThreadPoolExecutor(1) as executor, pytest.raises(WorkerUnfit) as unfit:
            require_worker(executor, Worker(AtOnce(), home, registry_id, None, tool_version()).results, name="dask://a")
        return unfit.value.what

    assert "a worker cannot work on this list: there is no registry" in lacks(home / "elsewhere", "")
    assert "is another registry there" in lacks(home / FOLDER_NAME, "another")


@pytest.mark.processes
def test_a_worker_of_another_release_is_told_and_nothing_is_done(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft_registry.registry.disk import release

    monkeypatch.setattr(release, "tool_version", lambda: "9.9.9")
    told = refused(capsys, *VERIFY, "--json-lines", "out", "--on", "local:1", code=8)
    assert "a worker cannot work on this list: it is of another release" in told
    assert lines("out") == []


def test_paths_of_options_are_whole_for_workers_that_have_another_working_folder(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft_registry.cli import many
    from peft_registry.cli.commands.verify import VerifyWork

    works: list[Any] = []
    monkeypatch.setattr(many, "plan_of", lambda work, _: (works.append(work), Digest.of(b"plan"))[1])
    said(capsys, *VERIFY, "--trust", f"{FOLDER_NAME}/trust.json")
    assert works == [VerifyWork(trust=home / FOLDER_NAME / "trust.json")]

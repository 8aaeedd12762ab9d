"""Bad input, each kind of it: the right exit code, three sentences and no traceback, nothing registered, nothing lost, and the
same command works once the input is good."""

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.run_logs import RUN_LOG_NAME
from peft_registry.trainer.embedded import embedded_base
from tests.builders.homes import copied_workplace
from tests.conftest import not_run
from tests.e2e.commands import Done, WarmCommand
from tests.e2e.conftest import Story

TRAIN = ("train", "example/train.yml", "training.num_train_epochs=1", "evaluation.bias=[]", "--no-mirror")
ADD = ("base", "add", "offered", "--name", "mine")
NOTHING_NEW = ["tiny:1"]


def refused(done: Done, code: int, says: str) -> None:
    """A foreseen refusal: the code, three sentences on stderr, nothing on stdout that looks like success."""
    assert done.code == code, done
    assert "Traceback" not in done.err
    lines = done.err.rstrip("\n").splitlines()[-3:]
    assert [line.split(":")[0].strip() for line in lines] == ["error", "why", "fix"], done.err
    assert says in done.err
    assert "registered" not in done.out


def nothing_left_in(home: Path) -> None:
    """No half-written file, and no folder of a run but the log and the kept state of one that failed on its way."""
    for run in (home / "runs").iterdir():
        files = {path.name for path in run.iterdir()}
        assert files in ({RUN_LOG_NAME}, {RUN_LOG_NAME, "run.json", "training"})
        assert files == {RUN_LOG_NAME} or json.loads((run / "run.json").read_text())["status"] == "failed"
    assert [path.name for path in home.rglob("*") if path.name.endswith(".part")] == []


# --- the training file and its data ---


@dataclass(frozen=True)
class BadTraining:
    """What is wrong, what must be answered, and whether it was said before anything was read of the base."""

    what: str
    code: int
    says: str
    data: Callable[[str], str | None] = lambda text: text  # None: no file
    file: Callable[[str], str] = lambda text: text
    more: tuple[str, ...] = ()


BAD_TRAININGS = (
    BadTraining("missing data", 7, "there is no data file", data=lambda _: None),
    BadTraining("a corrupt line", 2, "line 61 of example.jsonl cannot be read", data=lambda text: text + '{"prompt"\n'),
    BadTraining("empty data", 2, "holds no rows", data=lambda _: ""),
    BadTraining("blank data", 2, "holds no rows", data=lambda _: "\n\n \n"),
    BadTraining(
        "an absent column", 2, "has no column `completion`", data=lambda t: t.replace('"completion"', '"reply"')
    ),
    BadTraining(
        "a column of another type",
        2,
        "line 61 of example.jsonl: column `prompt` holds a number",
        data=lambda text: text + '{"prompt": 3, "completion": "x"}\n',
    ),
    BadTraining("one row", 2, "too few", data=lambda text: text.splitlines()[0]),
    BadTraining(
        "a value of the wrong type", 2, "`training.seed`", file=lambda text: text.replace("seed: 7", "seed: seven")
    ),
    BadTraining(
        "an unknown key",
        2,
        "did you mean `training.learning_rate`?",
        file=lambda t: t.replace("learning_rate", "learning_rat"),
    ),
    BadTraining("no YAML", 2, "is not acceptable YAML", file=lambda text: text + "lora: [\n"),
    BadTraining("a key twice", 2, "occurs twice", file=lambda text: text + "name: other\n"),
    BadTraining(
        "an unknown base", 7, "there is no version nowhere", file=lambda t: t.replace("base: tiny", "base: nowhere")
    ),
    BadTraining("an unknown suite", 2, "there is no suite 'hous'", more=("evaluation.bias=[hous]",)),
    BadTraining("a metric that nothing measures", 2, "nothing here measures", more=("evaluation.quality=[rouge]",)),
    BadTraining("a loss that diverges", 4, "the loss diverged", more=("training.learning_rate=1e30",)),
)


@pytest.fixture(scope="module")
def trainings(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for every bad training: each must leave it as it was."""
    return copied_workplace(empty_home, tmp_path_factory.mktemp("trainings") / "work")


@pytest.mark.parametrize("bad", BAD_TRAININGS, ids=lambda bad: bad.what)
def test_a_bad_training_registers_nothing(
    bad: BadTraining, warm: WarmCommand, trainings: Path, listed: Callable[[Path], list[str]]
) -> None:
    with spoiled(trainings, bad):
        refused(warm(*TRAIN, *bad.more, cwd=trainings), bad.code, bad.says)
    assert listed(trainings) == NOTHING_NEW
    nothing_left_in(trainings / ".registry")


def test_after_every_bad_training_the_same_command_trains(warm: WarmCommand, trainings: Path) -> None:
    """Runs after those above, in the home that they all shared."""
    assert "registered polite-replies:1 " in warm(*TRAIN, cwd=trainings).ok().out
    assert warm("verify", "polite-replies:1", cwd=trainings).code == 0


# --- facts ---

BAD_FACTS = """\
asserted_by: "J. Doe, data owner"
approvals: [{role: approver, person: A. Smith, decision: approved}]
gpai: {placing_date: tomorrow}
base: {tiny: {licence_text_digest: zzz, release_date: 2026-13-45}}
modifier: {country: ZZ}
energy: {training_kwh: -3}
use: {intended: "pupils\\e[2J", intendde: x}
"""
BAD_PATHS = (
    "approvals",
    "gpai.placing_date",
    "base.tiny.licence_text_digest",
    "base.tiny.release_date",
    "modifier.country",
    "energy.training_kwh",
    "use.intended",
    "use.intendde",
)


@pytest.mark.parametrize("command", [TRAIN, (*TRAIN, "--dry-run"), ("estimate", "example/train.yml")], ids=" ".join)
def test_everything_that_is_wrong_with_facts_is_told_at_once_by_every_command_that_reads_them(
    command: tuple[str, ...], warm: WarmCommand, trainings: Path, listed: Callable[[Path], list[str]]
) -> None:
    (trainings / "example" / "facts.yml").write_text(BAD_FACTS)
    before = listed(trainings)
    done = warm(*command, "facts=facts.yml", "-o", "json", cwd=trainings)
    assert done.code == 2, done
    told = json.loads(done.err.splitlines()[-1])
    assert [problem["what"].split("'")[1] for problem in told["problems"]] == list(BAD_PATHS)
    assert all(problem["why"] and problem["fix"] for problem in told["problems"])
    assert "\x1b" not in done.err
    assert listed(trainings) == before
    refused(warm(*command, "facts=facts.yml", cwd=trainings), 2, "approvals")


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ("use: {intended: a}\nuse: {out_of_scope: b}\n", "occurs twice"),
        (f"use: {{intended: {'a' * 10_000_000}}}\n", "10"),
        (f"use: {{intended: {'a' * 100_000}}}\n", "at most 4000 are recorded"),
        ("energy: {training_kwh: .nan}\n", "is not a finite number"),
        ("energy: {training_kwh: 1e999}\n", "out of range"),
        ('use: {intended: "a\\u202eb"}\n', "U+202E"),
        ("energy: {training_kwh: 3, method: no sensor, boundary: node}\n", "answers nothing"),
    ],
    ids=["a key twice", "10 MB", "100 kB", "NaN", "infinity", "bidi", "kWh beside no sensor"],
)
def test_facts_that_no_record_may_hold_are_refused(
    facts: str, says: str, warm: WarmCommand, trainings: Path, listed: Callable[[Path], list[str]]
) -> None:
    (trainings / "example" / "facts.yml").write_text(f"asserted_by: J. Doe\n{facts}")
    before = listed(trainings)
    refused(warm(*TRAIN, "--dry-run", "facts=facts.yml", cwd=trainings), 2, says)
    assert listed(trainings) == before


@pytest.mark.parametrize("option", ["--plan", "--check", "--no-mirror"])
def test_wrong_facts_of_a_merge_are_told_with_everything_else_that_is_wrong_with_it(
    option: str, warm: WarmCommand, trainings: Path, listed: Callable[[Path], list[str]]
) -> None:
    (trainings / "facts.yml").write_text("asserted_by: J. Doe\napprovals: [A. Smith]\nuse: {intended: tbd}\n")
    before = listed(trainings)
    done = warm("merge", "tiny:1", option, "--facts", "facts.yml", cwd=trainings)
    refused(done, 2, "'approvals' is not a fact")
    assert "tiny:1 is not an adapter" in done.err
    assert done.err.count("error: ") == 3
    assert listed(trainings) == before


def test_wrong_facts_of_a_base_are_told_before_its_files_are_read(
    warm: WarmCommand, trainings: Path, listed: Callable[[Path], list[str]]
) -> None:
    before = listed(trainings)
    (trainings / "facts.yml").write_text("lisence: MIT\nrelease_date: tomorrow\ntraining_compute_flop: -1\n")
    done = warm("base", "add", "no-such-folder", "--name", "mine", "--facts", "facts.yml", cwd=trainings)
    refused(done, 2, "did you mean `licence`?")
    assert done.err.count("error: ") == 3
    assert listed(trainings) == before


class spoiled:  # lower case: it reads as a sentence, `with spoiled(folder, bad)`
    """The training file and its data made bad, and good again afterwards."""

    def __init__(self, folder: Path, bad: BadTraining) -> None:
        self._paths = (folder / "example" / "example.jsonl", folder / "example" / "train.yml")
        self._bad = bad
        self._good = tuple(path.read_text("utf-8") for path in self._paths)

    def __enter__(self) -> None:
        data, file = self._paths
        found = self._bad.data(self._good[0])
        if found is None:
            data.unlink()
        else:
            data.write_text(found, "utf-8")
        file.write_text(self._bad.file(self._good[1]), "utf-8")

    def __exit__(self, *_: object) -> None:
        for path, text in zip(self._paths, self._good, strict=True):
            path.write_text(text, "utf-8")


# --- bases ---


def without_weights(base: Path) -> None:
    (base / "model.safetensors").unlink()


def with_pickled_weights(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def with_a_pickle_beside(base: Path) -> None:
    (base / "optimizer.pt").write_bytes(b"\x80\x04K\x01.")


def with_code(base: Path) -> None:
    (base / "modeling_tiny.py").write_text("raise SystemExit('this ran')\n")


def with_auto_map(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}))


def cut_short(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def emptied(base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"")


def with_a_header_longer_than_the_file(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", 1 << 40) + weights.read_bytes()[8:])


def with_two_tensors_of_one_range(base: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        first, second, *_ = (name for name in header if name != "__metadata__")
        header[first] = header[second]

    rewrite_header(base / "model.safetensors", overlap)


def with_a_shape_that_is_not_its_size(base: Path) -> None:
    def widen(header: dict[str, Any]) -> None:
        name = next(name for name in header if name != "__metadata__")
        header[name]["shape"] = [extent * 2 for extent in header[name]["shape"]]

    rewrite_header(base / "model.safetensors", widen)


def with_linked_weights(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.rename(base.parent / "elsewhere")
    weights.symlink_to(base.parent / "elsewhere")


def with_a_linked_folder(base: Path) -> None:
    (base / "more").symlink_to("/etc")


def with_corrupt_config(base: Path) -> None:
    (base / "config.json").write_text('{"model_type": ')


def without_tokenizer(base: Path) -> None:
    (base / "tokenizer.json").unlink()


def rewrite_header(weights: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = weights.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    written = json.dumps(header).encode()
    weights.write_bytes(struct.pack("<Q", len(written)) + written + data[8 + size :])


BAD_BASES: dict[Callable[[Path], None], str] = {
    without_weights: "holds no weights",
    with_pickled_weights: "pytorch_model.bin is refused because it is, or may be, a pickle",
    with_a_pickle_beside: "optimizer.pt is refused because it is, or may be, a pickle",
    with_code: "modeling_tiny.py is refused because it brings code",
    with_auto_map: "config.json is refused because it brings code",
    cut_short: "its range ends 100 bytes after the end of the file",
    emptied: "it has 0 bytes",
    with_a_header_longer_than_the_file: "its header claims 1099511627776 bytes",
    with_two_tensors_of_one_range: "is not a sound safetensors file",
    with_a_shape_that_is_not_its_size: "is not a sound safetensors file",
    with_linked_weights: "it is a symbolic link",
    with_a_linked_folder: "it is a symbolic link",
    with_corrupt_config: "config.json is not acceptable JSON",
    without_tokenizer: "has no tokenizer",
}


@pytest.fixture(scope="module")
def bases(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for every bad base: each must leave it as it was."""
    return copied_workplace(empty_home, tmp_path_factory.mktemp("bases") / "work")


@pytest.mark.parametrize("spoil", BAD_BASES, ids=lambda spoil: spoil.__name__)
def test_a_bad_base_is_refused(
    spoil: Callable[[Path], None], warm: WarmCommand, bases: Path, listed: Callable[[Path], list[str]]
) -> None:
    offered = bases / "offered"
    shutil.copytree(embedded_base(), offered)
    try:
        spoil(offered)
        refused(warm(*ADD, cwd=bases), 2, BAD_BASES[spoil])
    finally:
        shutil.rmtree(offered)
        (bases / "elsewhere").unlink(missing_ok=True)
    assert listed(bases) == NOTHING_NEW
    nothing_left_in(bases / ".registry")


def test_after_every_bad_base_the_mended_one_is_added(
    warm: WarmCommand, bases: Path, listed: Callable[[Path], list[str]]
) -> None:
    """Runs after those above, in the home that they all shared."""
    shutil.copytree(embedded_base(), bases / "offered")
    assert "mine:1" in warm(*ADD, cwd=bases).ok().out
    assert listed(bases) == ["mine:1", *NOTHING_NEW]


def test_a_base_that_is_not_there_is_not_found(warm: WarmCommand, workplace: Path) -> None:
    refused(warm(*ADD, cwd=workplace), 7, "there is no base at")


def test_a_base_changed_since_it_was_added_is_refused_and_its_tensor_named(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    offered = workplace / "offered"
    shutil.copytree(embedded_base(), offered)
    warm(*ADD, cwd=workplace).ok()
    weights = offered / "model.safetensors"
    good = weights.read_bytes()
    header_size = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + header_size])
    last = max((one["data_offsets"][1], name) for name, one in header.items() if name != "__metadata__")[1]
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(warm(*TRAIN, "base=mine", cwd=workplace), 6, f"tensor '{last}' has other values")
    found = warm("verify", "mine", "-o", "json", cwd=workplace)
    assert (found.code, found.value["verdict"]) == (6, "broken")
    assert listed(workplace) == ["mine:1", *NOTHING_NEW]
    weights.write_bytes(good)
    assert "registered polite-replies:1 " in warm(*TRAIN, "base=mine", cwd=workplace).ok().out


def test_another_tokenizer_is_another_base(warm: WarmCommand, workplace: Path) -> None:
    offered = workplace / "offered"
    shutil.copytree(embedded_base(), offered)
    warm(*ADD, cwd=workplace).ok()
    tokenizer = offered / "tokenizer.json"
    text = tokenizer.read_text("utf-8")
    assert text.count('"<|eos|>"') > 0
    tokenizer.write_text(text.replace('"<|eos|>"', '"<|end|>"'), "utf-8")
    refused(warm(*TRAIN, "base=mine", cwd=workplace), 6, "its tokenizer.json is")


def test_a_base_that_was_moved_cannot_be_checked(warm: WarmCommand, workplace: Path) -> None:
    offered = workplace / "offered"
    shutil.copytree(embedded_base(), offered)
    warm(*ADD, cwd=workplace).ok()
    offered.rename(workplace / "moved")
    refused(warm(*TRAIN, "base=mine", cwd=workplace), 5, "are not on this machine")
    warm("base", "add", "moved", "--name", "mine", cwd=workplace).ok()
    assert "registered polite-replies:1 " in warm(*TRAIN, "base=mine", cwd=workplace).ok().out


# --- the home ---


INIT = ("init", "--unencrypted", "--profile", "org.yml")


@pytest.fixture(scope="module")
def no_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for every bad profile: each must leave it as it was."""
    return tmp_path_factory.mktemp("profiles")


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("- DE\n", "not a mapping"),
        ("legal_nam: Example GmbH\n", "no field 'legal_nam'"),
        ("legal_name: [Example]\n", "write a text"),
        ("country: Germany\n", "such as DE"),
        ("country: ZZ\n", "not a country of ISO 3166"),
        ("contact: come by\n", "neither an e-mail address nor a web page"),
        ("legal_name: 'Example\\u202eGmbH'\n".replace("'", '"'), "U+202E"),
        ("size_class: huge\n", "sme, smc or large"),
        ("role: boss\n", "downstream_modifier"),
        ("legal_name: a\nlegal_name: b\n", "occurs twice"),
        ("legal_name: [\n", "not acceptable YAML"),
    ],
)
def test_a_bad_profile_makes_no_home(profile: str, says: str, warm: WarmCommand, no_home: Path) -> None:
    (no_home / "org.yml").write_text(profile)
    refused(warm(*INIT, cwd=no_home), 2, says)
    assert [path.name for path in no_home.iterdir()] == ["org.yml"]


def test_after_every_bad_profile_the_mended_one_makes_a_home(warm: WarmCommand, no_home: Path) -> None:
    """Runs after those above, in the folder that they all shared."""
    (no_home / "org.yml").write_text(
        "legal_name: Example GmbH\ncountry: DE\nsize_class: sme\nrole: downstream_modifier\n"
    )
    warm(*INIT, cwd=no_home).ok()


@pytest.fixture
def encrypted(warm: WarmCommand, tmp_path: Path) -> Path:
    warm("init", cwd=tmp_path, REGISTRY_PASSPHRASE="correct horse").ok()
    return tmp_path


@pytest.mark.timeout(60)
def test_an_encrypted_key_without_a_terminal_is_refused_at_once(
    warm: WarmCommand, encrypted: Path, listed: Callable[[Path], list[str]]
) -> None:
    for arguments in (("base", "add", "embedded", "--name", "tiny"), TRAIN):
        before = listed(encrypted)
        refused(warm(*arguments, cwd=encrypted), 2, "this is not a terminal")
        refused(warm(*arguments, cwd=encrypted, REGISTRY_PASSPHRASE="wrong"), 2, "the passphrase is wrong")
        assert listed(encrypted) == before
        assert warm(*arguments, cwd=encrypted, REGISTRY_PASSPHRASE="correct horse").code == 0


def test_an_init_without_a_terminal_asks_for_nothing_and_makes_nothing(warm: WarmCommand, tmp_path: Path) -> None:
    refused(warm("init", cwd=tmp_path), 2, "this is not a terminal")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def read_only(story: Story, tmp_path: Path) -> Iterator[Path]:
    """A copy of the story whose home nobody may write, not even its owner."""
    folder = copied_workplace(story.folder, tmp_path / "copy")
    home = folder / ".registry"
    paths = [home, *home.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def as_a_user(warm: WarmCommand) -> Callable[..., Done]:
    """Runs commands without the rights that let root write everywhere."""
    if os.getuid() != 0:
        return warm
    if sys.platform != "linux":
        not_run("root gives up its rights over files on Linux only, and may write into a read-only home")
    return partial(warm, unprivileged=True)


def test_a_read_only_home_can_be_read_and_verified_and_refuses_to_be_written(
    as_a_user: Callable[..., Done], read_only: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (read_only / ".registry").rglob("*")}
    refused(as_a_user(*TRAIN, cwd=read_only), 8, "the folder is read-only for this user")
    refused(as_a_user("base", "add", "embedded", "--name", "other", cwd=read_only), 8, "read-only")
    assert "polite-replies:1" in as_a_user("list", cwd=read_only).ok().out
    assert as_a_user("verify", "polite-replies", cwd=read_only).ok().out.endswith("verified\n")
    as_a_user("pull", "polite-replies", tmp_path / "pulled", cwd=read_only).ok()
    as_a_user("ask", "polite-replies", "May I?", "--max-new-tokens", "1", cwd=read_only).ok()
    assert {path: path.stat().st_mtime_ns for path in (read_only / ".registry").rglob("*")} == before


def test_a_full_disk_registers_nothing_and_loses_nothing(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    """A limit on the size of every file stands for the disk: a write fails in the adapter, in the store, in the database."""
    for kilobytes in (40, 150, 230):
        refused(warm(*TRAIN, cwd=workplace, file_bytes=kilobytes * 1000), 8, "why: ")
        assert listed(workplace) == NOTHING_NEW
        nothing_left_in(workplace / ".registry")
    assert "registered polite-replies:1 " in warm(*TRAIN, cwd=workplace).ok().out
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0


def test_a_full_disk_leaves_no_half_copy_and_no_half_report(warm: WarmCommand, story: Story, tmp_path: Path) -> None:
    folder = copied_workplace(story.folder, tmp_path / "copy")
    before = sorted(folder.iterdir())
    refused(warm("pull", "polite-replies", "pulled", cwd=folder, file_bytes=60_000), 8, "could not be written")
    refused(warm("report", "polite-replies", cwd=folder, file_bytes=60_000), 8, "could not be written")
    assert sorted(folder.iterdir()) == before
    warm("pull", "polite-replies", "pulled", cwd=folder).ok()
    warm("report", "polite-replies", cwd=folder).ok()


def test_a_server_that_is_away_does_not_hide_the_registration(warm: WarmCommand, workplace: Path) -> None:
    warm("mirror", "connect", "http://127.0.0.1:9", cwd=workplace).ok()
    done = warm(*TRAIN[:-1], cwd=workplace, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0").ok()
    assert "not pushed: see `registry mirror push`" in done.out
    assert done.err.startswith("warning ")
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0

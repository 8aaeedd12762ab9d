"""A hub, or a mirror, that means harm: no text of its becomes a path, nothing is deleted, nothing comes without end."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.errors import KnownError
from peft_registry.trainer.bases.preparing import prepare_base
from peft_registry.trainer.hub.data_sets import fetch_data
from peft_registry.trainer.hub.places import CacheContradictsHub
from tests.servers.hub import COMMIT, FakeHub, serving

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"\0" * 8


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    with serving(FakeHub(folder)) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder below which a base is fetched, with what an attacker would like to reach."""
    home = tmp_path / "home"
    (home / "bases").mkdir(parents=True)
    for folder in (home, home / "bases", tmp_path):
        (folder / ".cache").mkdir()
        (folder / ".cache" / "precious").write_text("mine")
        (folder / "config.json").write_text("mine")
    return home


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fetch(hub: FakeHub, home: Path, *, revision: str | None = "main"):
    return prepare_base(
        "lab/tiny",
        revision=revision,
        destination=home / "converted",
        cache=home / "bases",
        endpoint=hub.endpoint,
        token="hf_x",
    )


def snapshot_of(home: Path) -> Path:
    return home / "bases" / "models--lab--tiny" / "snapshots" / COMMIT


@pytest.mark.parametrize(
    "commit",
    [
        "..",
        "../..",
        ".",
        "",
        "/etc",
        "../bases/x",
        COMMIT.upper(),
        COMMIT[:-1],
        COMMIT + "0",
        COMMIT + "\n",
        COMMIT[:-1] + "/",
        "\uff10" * 40,
        None,
        7,
        ["a"],
    ],
)
def test_a_commit_that_is_a_path_overwrites_and_deletes_nothing(hub, home, tmp_path, commit):
    hub.commit = commit
    before = files_of(tmp_path)
    with pytest.raises(KnownError, match="commit") as caught:
        fetch(hub, home)
    assert caught.value.reference == "malformed-hub-answer"
    assert caught.value.exit_code == 6
    assert files_of(tmp_path) == before


def test_a_data_set_whose_commit_is_a_path_overwrites_and_deletes_nothing(hub, home, tmp_path):
    (hub.folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    hub.kind, hub.commit = "datasets", "../.."
    before = files_of(tmp_path)
    with pytest.raises(KnownError, match="commit"):
        fetch_data(TrainSource(path="lab/tiny"), "train", cache=home / "d", endpoint=hub.endpoint)
    assert files_of(tmp_path) == before


def test_another_commit_than_the_one_asked_for_is_refused(hub, home):
    hub.commit = "f" * 40
    with pytest.raises(KnownError, match="asked for") as caught:
        fetch(hub, home, revision=COMMIT)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "name",
    [
        "../config.json",
        "a/../../config.json",
        "/tmp/planted.json",
        "a\\..\\..\\config.json",
        "C:/planted.json",
        "c:planted.json",
        "con\u0000fig.json",
        "con\x1b[2Jfig.json",
        "a//b.json",
        "./a.json",
        "a/",
        "",
        "a\ud800.json",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_a_file_name_that_leads_elsewhere_is_refused(hub, home, tmp_path, name, kind):
    hub.kind = kind
    hub.siblings = [{"rfilename": name, "size": 2, "blobId": "0" * 40}]
    before = files_of(tmp_path)
    with pytest.raises(KnownError) as caught:
        if kind == "models":
            fetch(hub, home)
        else:
            fetch_data(TrainSource(path="lab/tiny"), "train", cache=home / "d", endpoint=hub.endpoint)
    # half a surrogate pair is no JSON text at all
    surrogate = "\ud800" in name
    assert (caught.value.reference, caught.value.exit_code) == (
        ("malformed-hub-answer", 6) if surrogate else ("unsafe-hub-name", 2)
    )
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("shard", ["..\\x.safetensors", "C:x.safetensors", "x\n.safetensors", "../x.safetensors", 7])
def test_an_index_that_names_another_place_is_refused(hub, home, shard):
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(KnownError) as caught:
        fetch(hub, home)
    assert caught.value.reference == "unsafe-hub-name"


@pytest.mark.parametrize("header", ["../../../planted", "x/../../planted", "a" * 300])
def test_a_header_that_is_a_path_names_no_file(hub, home, tmp_path, header, monkeypatch):
    monkeypatch.setattr(FakeHub, "file", lambda self, name: ((self.folder / name).read_bytes(), header))
    before = set(files_of(tmp_path))
    fetched = fetch(hub, home).folder
    made = {Path(path) for path in set(files_of(tmp_path)) - before}
    names = {fetched / name for name in ("config.json", "tokenizer.json", "model.safetensors")}
    blobs, refs = fetched.parent.parent / "blobs", fetched.parent.parent / "refs"
    assert made == {*names, *(path.resolve() for path in names), refs / "main"}
    assert {path.parent for path in made - names} == {blobs, refs}


def test_a_cache_folder_and_a_file_beside_the_base_stay(hub, home):
    folder = snapshot_of(home)
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "precious").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    fetch(hub, home)
    assert (folder / ".cache" / "precious").read_text() == "mine"
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_link_in_the_place_of_a_name_is_refused_and_not_followed(hub, home):
    victim = home / "victim"
    victim.write_text("mine")
    snapshot_of(home).mkdir(parents=True)
    (snapshot_of(home) / "config.json").symlink_to(victim)
    with pytest.raises(CacheContradictsHub, match=r"another config.json for lab/tiny") as caught:
        fetch(hub, home)
    assert caught.value.exit_code == 6
    assert victim.read_text() == "mine"


def test_a_link_in_the_place_of_a_blob_is_replaced_and_not_followed(hub, home):
    victim = home / "victim"
    victim.write_text("mine")
    fetched = fetch(hub, home).folder
    blob = (fetched / "config.json").resolve()
    blob.unlink()
    blob.symlink_to(victim)
    fetch(hub, home)
    assert victim.read_text() == "mine"
    assert (fetched / "config.json").read_text() == "{}"
    assert not blob.is_symlink()


def test_a_plain_file_in_the_place_of_a_name_is_refused_and_stays(hub, home):
    snapshot_of(home).mkdir(parents=True)
    (snapshot_of(home) / "config.json").write_text("mine")
    with pytest.raises(CacheContradictsHub):
        fetch(hub, home)
    assert (snapshot_of(home) / "config.json").read_text() == "mine"


def test_a_file_of_a_base_that_the_hub_does_not_state_is_refused(hub, home):
    """The loaders would read a chat template that is put beside the files of the commit."""
    fetched = fetch(hub, home).folder
    (fetched / "chat_template.jinja").symlink_to((fetched / "config.json").readlink())
    with pytest.raises(CacheContradictsHub, match=r"another chat_template\.jinja"):
        fetch(hub, home)


@pytest.mark.parametrize("revision", ["../../../planted", "/etc/x", "a/../../../../planted"])
def test_a_revision_that_is_a_path_names_no_file_of_the_cache(hub, home, tmp_path, revision, monkeypatch):
    monkeypatch.setattr(FakeHub, "has_list_at", lambda _, path: path.startswith("/api/models/lab/tiny/revision/"))
    fetched = fetch(hub, home, revision=revision).folder
    assert not (fetched.parent.parent / "refs").exists()
    assert not list(tmp_path.rglob("planted"))


def test_a_file_that_breaks_off_is_continued_where_it_broke(hub, home):
    hub.cut = {"model.safetensors": 20}
    fetched = fetch(hub, home).folder
    assert (fetched / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges == ["model.safetensors:20"]


def test_what_came_before_a_kill_is_not_fetched_again(hub, home):
    fetched = fetch(hub, home).folder
    (fetched / "model.safetensors").resolve().unlink()
    hub.endless = {"model.safetensors"}
    with pytest.raises(KnownError):
        fetch(hub, home)
    hub.endless = set()
    hub.asked.clear()
    fetch(hub, home)
    assert [path for path in hub.asked if "/resolve/" in path] == [hub.files + "model.safetensors"]
    assert not list(home.rglob("*.incomplete")), "no part is left"


def test_a_shorter_file_than_announced_is_corrupt(hub, home, monkeypatch):
    whole = FakeHub.file
    monkeypatch.setattr(FakeHub, "file", lambda self, name: (whole(self, name)[0][:9], "x"))
    hub.siblings = []
    with pytest.raises(KnownError) as caught:
        fetch(hub, home)
    assert caught.value.reference == "corrupt-download"
    assert caught.value.exit_code == 6
    assert not (snapshot_of(home) / "model.safetensors").exists()


def test_a_file_without_end_is_stopped_at_its_stated_size(hub, home):
    hub.endless = {"model.safetensors"}
    with pytest.raises(KnownError, match="more bytes") as caught:
        fetch(hub, home)
    assert caught.value.exit_code == 6
    assert sum(path.stat().st_size for path in (home / "bases").rglob("*") if path.is_file()) < 4096


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"blobId": "0" * 40}, "digest"),
        ({"blobId": None}, "states no digest"),
        ({"size": None}, "states no size"),
        ({"size": -1}, "size"),
        ({"size": 2.5}, "size"),
        ({"blobId": "../../x"}, "git blob id"),
        ({"lfs": {"sha256": "0" * 64}}, "digest"),
        ({"lfs": {"sha256": "../x"}}, "SHA-256"),
    ],
)
def test_a_file_is_what_the_hub_states_of_it_or_is_not_kept(hub, home, stated, why):
    listed = hub.info()["siblings"]
    assert isinstance(listed, list)
    hub.siblings = [{**one, **stated} for one in listed if one["rfilename"] == "config.json"]
    with pytest.raises(KnownError, match=why) as caught:
        fetch(hub, home)
    assert caught.value.exit_code == 6
    assert not (snapshot_of(home) / "config.json").exists()


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/x",
        "http://127.0.0.2:1/x",
        "http://[::1]:1/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://0.0.0.0:1/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://[::1",
        "http://:80/x",
        "//",
    ],
)
def test_a_redirect_to_this_machine_or_its_neighbours_is_not_followed(hub, home, target):
    hub.redirects = {"config.json": target}
    with pytest.raises(KnownError, match="redirects") as caught:
        fetch(hub, home)
    assert caught.value.reference == "hub-unreachable"
    assert caught.value.exit_code == 8


def test_a_redirect_in_a_circle_ends(hub, home):
    hub.redirects = {"config.json": hub.endpoint + hub.files + "config.json"}
    with pytest.raises(KnownError, match="more than 5 times"):
        fetch(hub, home)


def test_a_redirect_to_the_storage_of_the_hub_is_followed_without_its_token(hub, home):
    with serving(FakeHub(hub.folder)) as storage:
        hub.redirects = {"model.safetensors": storage.endpoint + storage.files + "model.safetensors"}
        assert (fetch(hub, home).folder / "model.safetensors").read_bytes() == WEIGHTS
        assert storage.tokens == [None]
    assert set(hub.tokens) == {"Bearer hf_x"}


@pytest.mark.parametrize(
    "siblings",
    [
        pytest.param([{"rfilename": "a" * 3000} for _ in range(12_000)], id="34 MB of names"),
        pytest.param([{"rfilename": f"{place}.txt"} for place in range(100_001)], id="100,001 files"),
        pytest.param([[]] * 1_000_001, id="a million lists"),
        pytest.param([{"size": 1}], id="no name"),
        pytest.param(["config.json"], id="a text"),
    ],
)
def test_a_list_of_files_that_is_none_or_too_long_is_refused(hub, home, siblings):
    hub.siblings = siblings
    with pytest.raises(KnownError) as caught:
        fetch(hub, home)
    assert caught.value.reference == "malformed-hub-answer"
    assert not list((home / "bases").glob("models--*"))


def test_a_list_of_files_without_end_is_not_read_to_its_end(hub, home):
    hub.endless = {"/api/models/lab/tiny/revision/main"}
    with pytest.raises(KnownError, match="longer than") as caught:
        fetch(hub, home)
    assert caught.value.reference == "malformed-hub-answer"

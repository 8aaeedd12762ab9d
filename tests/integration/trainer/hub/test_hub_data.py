"""A data set of the Hub: resolved to its commit, its files chosen by split and subset, each checked, and recorded."""

from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.hub.answers import HubNotFound, HubUnreachable
from peft_registry.trainer.hub.data_sets import (
    AmbiguousDataFiles,
    NoSuchDataFiles,
    chosen_files,
    fetch_data,
    is_hub_id,
    locate_locally_or_on_hub,
)
from peft_registry.trainer.hub.fetching import CorruptDownload
from tests.builders.training import a_tokenizer, colour_rows, write_rows
from tests.servers.hub import COMMIT, FakeHub, serving


@pytest.fixture
def hub(tmp_path: Path):
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    write_rows(folder / "data" / "train-00000-of-00002.jsonl", colour_rows(6))
    write_rows(folder / "data" / "train-00001-of-00002.jsonl", colour_rows(4))
    write_rows(folder / "data" / "validation-00000-of-00001.jsonl", colour_rows(3))
    (folder / "README.md").write_text("a card")
    (folder / "loader.py").write_text("raise SystemExit")
    with serving(FakeHub(folder, kind="datasets")) as found:
        yield found


def test_the_files_of_a_split_are_one_data_set_at_one_commit(hub, tmp_path):
    located = fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint=hub.endpoint)
    assert [path.name for path in located.paths] == ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]
    assert (located.name, located.revision) == ("lab/tiny", COMMIT)
    assert not any(path.endswith(("loader.py", "README.md")) for path in hub.asked), "no code and no card is fetched"


def test_it_is_trained_on_and_recorded_by_id_and_commit(hub, tmp_path):
    data = load_data(
        DataBlock(train=TrainSource(path="lab/tiny"), validation=ValidationSource(path="lab/tiny")),
        folder=tmp_path,
        tokenizer=a_tokenizer(),
        max_length=64,
        seed=1,
        locate=lambda source, split: fetch_data(source, split, cache=tmp_path / "d", endpoint=hub.endpoint),
    )
    train, validation = data.identities
    assert (len(data.train), len(data.validation)) == (10, 3)
    assert (train.name, train.revision, train.rows_total) == ("lab/tiny", COMMIT, 10)
    files = sorted((hub.folder / "data").glob("train-*"))
    assert train.sha256 == Digest.of(b"".join(path.read_bytes() for path in files))
    assert "revision" in train.to_json()
    assert str(tmp_path) not in str(train.to_json())
    asked = len(hub.asked)
    fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint=hub.endpoint)
    assert not any("resolve" in path for path in hub.asked[asked:]), "what is there is not fetched again"
    assert validation.selections[0].rows == 3


def test_a_file_that_the_hub_did_not_announce_is_refused(hub, tmp_path):
    hub.corrupt = {"data/train-00001-of-00002.jsonl"}
    with pytest.raises(CorruptDownload):
        fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint=hub.endpoint)


def test_it_is_kept_where_other_clients_of_the_hub_find_it_and_read_there_with_the_network_off(hub, tmp_path):
    cache = tmp_path / "d"
    first = fetch_data(TrainSource(path="lab/tiny"), "train", cache=cache, endpoint=hub.endpoint)
    found = Path(snapshot_download("lab/tiny", repo_type="dataset", local_files_only=True, cache_dir=cache))
    assert [found / "data" / path.name for path in first.paths] == list(first.paths)
    for revision in (None, "main", COMMIT):
        source = TrainSource(path="lab/tiny", revision=revision)
        assert fetch_data(source, "train", cache=cache, endpoint="http://127.0.0.1:9") == first
    with pytest.raises(HubUnreachable):  # the file was never fetched
        fetch_data(TrainSource(path="lab/tiny"), "validation", cache=cache, endpoint="http://127.0.0.1:9")


def test_with_the_network_off_one_part_of_two_is_not_taken_for_the_data_set(hub, tmp_path):
    first = fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint=hub.endpoint)
    first.paths[1].unlink()
    with pytest.raises(HubUnreachable):
        fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint="http://127.0.0.1:9")


def test_with_the_network_off_rows_that_changed_in_the_cache_are_refused(hub, tmp_path):
    first = fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint=hub.endpoint)
    write_rows(first.paths[0].resolve(), colour_rows(7))
    with pytest.raises(CorruptDownload, match="digest that is not its own"):
        fetch_data(TrainSource(path="lab/tiny"), "train", cache=tmp_path / "d", endpoint="http://127.0.0.1:9")


def test_an_unknown_revision_is_not_found(hub, tmp_path):
    source = TrainSource(path="lab/tiny", revision="nowhere")
    with pytest.raises(HubNotFound):
        fetch_data(source, "train", cache=tmp_path / "d", endpoint=hub.endpoint)


def chosen(*names: str, split="train", **more):
    return chosen_files("lab/tiny", names, split=split, source=TrainSource(path="lab/tiny", **more))


def test_files_are_chosen_by_split_and_subset():
    both = ("en/train.parquet", "en/test.parquet", "de/train.parquet", "README.md")
    assert chosen(*both, subset="de") == ("de/train.parquet",)
    assert chosen(*both, split="test") == ("en/test.parquet",)
    assert chosen("rows.jsonl") == ("rows.jsonl",), "where nothing names a split, all is for training"
    assert chosen("a.jsonl", "b.jsonl", subset="b.jsonl") == ("b.jsonl",)
    assert chosen("data/dev.csv", "data/train.csv", split="validation") == ("data/dev.csv",)
    assert chosen("contrained.csv") == ("contrained.csv",), "a split is a whole word"
    with pytest.raises(AmbiguousDataFiles, match="several"):
        chosen(*both)
    with pytest.raises(AmbiguousDataFiles):
        chosen("a.jsonl", "b.jsonl")
    for names, more in ((both, {"split": "validation"}), (("model.safetensors",), {}), (both, {"subset": "fr"})):
        with pytest.raises(NoSuchDataFiles):
            chosen(*names, **more)


def test_what_lies_here_wins_over_the_hub(tmp_path):
    assert is_hub_id("lab/tiny", tmp_path)
    assert not is_hub_id("lab/tiny.jsonl", tmp_path)
    assert not is_hub_id("a/b/c", tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "tiny").touch()
    assert not is_hub_id("lab/tiny", tmp_path)
    write_rows(tmp_path / "rows.jsonl", colour_rows(2))
    assert locate_locally_or_on_hub(tmp_path)(TrainSource(path="rows.jsonl"), "train").name == "rows.jsonl"

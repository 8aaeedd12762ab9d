"""Bases from folders and from a hub (a local server): fetched, checked, identified, loaded; what is wrong is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.identity.base import BaseWithoutWeights, identify_base
from peft_registry.schemas.errors import KnownError
from peft_registry.trainer.bases.loading import BaseNotLoadable, BaseWeightsIncomplete, load_base
from peft_registry.trainer.bases.preparing import BaseSourceNotFound, RevisionWithoutHub, prepare_base
from peft_registry.trainer.bases.stated_facts import stated_by_readme
from peft_registry.trainer.hub.answers import HubAccessDenied, HubNotFound, HubRateLimited, HubUnreachable
from peft_registry.trainer.hub.fetching import CorruptDownload
from peft_registry.trainer.hub.repositories import UnsafeHubName
from tests.builders.training import a_base_folder, a_model
from tests.servers.hub import COMMIT, FakeHub, serving


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_base_folder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def hub(base: Path, tmp_path: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "served"
    shutil.copytree(base, folder)
    with serving(FakeHub(folder)) as found:
        yield found


def fetch(hub: FakeHub, destination: Path, *, source: str = "lab/tiny", revision: str | None = "main"):
    return prepare_base(
        source,
        revision=revision,
        destination=destination,
        cache=destination,
        endpoint=hub.endpoint,
        token="hf_none",
    )


def test_a_folder_is_used_in_place_and_loads_with_the_same_logits(base, tmp_path):
    import torch

    prepared = prepare_base(str(base), destination=tmp_path)
    assert prepared.folder == base
    assert prepared.origin.source == "tiny"
    assert list(tmp_path.iterdir()) == []
    model, tokenizer = load_base(base, dtype="fp32", device="cpu")
    ids = torch.tensor([tokenizer("hello")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, a_model()(ids).logits)


def test_bf16_is_loaded_as_asked(base):
    import torch

    model, _ = load_base(base, dtype="bf16", device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_hub_id_is_resolved_to_its_commit_and_fetched_whole(hub, base, tmp_path):
    prepared = fetch(hub, tmp_path / "bases")
    assert prepared.revision == COMMIT
    assert prepared.origin.source == "lab/tiny"
    assert prepared.origin.requested_revision == "main"
    here = identify_base(prepared.folder, revision=prepared.revision)
    there = identify_base(base)
    assert here.identity == there.identity.model_copy(update={"revision": COMMIT})


def test_nothing_but_a_base_is_fetched(hub, tmp_path):
    (hub.folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (hub.folder / "modeling_tiny.py").write_text("raise SystemExit")
    (hub.folder / "onnx").mkdir()
    (hub.folder / "onnx" / "model.onnx").write_bytes(b"onnx")
    prepared = fetch(hub, tmp_path / "bases")
    names = {path.name for path in prepared.folder.rglob("*")}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


CARD = "---\nlicense: other\nextra_gated_eu_disallowed: true\n---\nnot for the Union\n"


def test_the_card_and_the_licence_of_a_hub_base_are_fetched_and_say_what_they_say(hub, tmp_path):
    (hub.folder / "README.md").write_text(CARD)
    (hub.folder / "LICENSE").write_text("the terms")
    (hub.folder / "licenses").mkdir()
    (hub.folder / "licenses" / "LICENSE").write_text("of a part")
    prepared = fetch(hub, tmp_path / "bases")
    assert {"README.md", "LICENSE"} <= {path.name for path in prepared.folder.iterdir()}
    assert not (prepared.folder / "licenses").exists()
    assert "LICENSE" in {one.path for one in identify_base(prepared.folder).files}
    stated = stated_by_readme(prepared.folder)
    assert (stated["eu_exclusion"].value, stated["eu_exclusion"].source) == ("yes", "imported")
    assert "no proof" in stated["eu_exclusion"].method


@pytest.mark.parametrize("line", ["extra_gated_eu_disallowed: false", "extra_gated_prompt: agree", "license: mit"])
def test_a_card_that_excludes_nobody_says_nothing_of_the_union(line, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{line}\n---\n")
    assert "eu_exclusion" not in stated_by_readme(tmp_path)


def test_a_second_fetch_asks_for_no_file_again(hub, tmp_path):
    fetch(hub, tmp_path / "bases")
    hub.asked.clear()
    fetch(hub, tmp_path / "bases")
    assert [path for path in hub.asked if "/resolve/" in path] == []


def test_shards_are_those_of_the_index(hub, tmp_path):
    (hub.folder / "model.safetensors").unlink()
    a_model().save_pretrained(hub.folder, max_shard_size="20KB")
    shards = {path.name for path in hub.folder.glob("model-*.safetensors")}
    assert len(shards) > 1
    prepared = fetch(hub, tmp_path / "bases")
    assert {path.name for path in prepared.folder.glob("*.safetensors")} == shards


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_corrupt_file_is_broken_integrity_and_is_not_kept(hub, tmp_path, name):
    hub.corrupt = {name}
    with pytest.raises(CorruptDownload, match=name) as caught:
        fetch(hub, tmp_path / "bases")
    assert caught.value.exit_code == 6
    assert not list((tmp_path / "bases").rglob(name))
    hub.corrupt = set()
    assert fetch(hub, tmp_path / "bases").revision == COMMIT


def test_401_says_how_to_get_access(hub, tmp_path):
    hub.status = 401
    with pytest.raises(HubAccessDenied) as caught:
        fetch(hub, tmp_path / "bases")
    assert "HF_TOKEN" in caught.value.fix
    assert caught.value.exit_code == 8


def test_429_says_how_long_to_wait(hub, tmp_path):
    hub.status, hub.headers = 429, {"Retry-After": "37"}
    with pytest.raises(HubRateLimited, match="429") as caught:
        fetch(hub, tmp_path / "bases")
    assert caught.value.retry_after == "37"
    assert "37 seconds" in caught.value.fix
    assert caught.value.exit_code == 8


def test_an_unknown_repository_or_revision_is_not_found(hub, tmp_path):
    with pytest.raises(HubNotFound):
        fetch(hub, tmp_path / "bases", source="lab/other")
    with pytest.raises(HubNotFound, match="v9"):
        fetch(hub, tmp_path / "bases", revision="v9")


def test_a_server_error_or_no_server_is_unreachable(hub, tmp_path):
    hub.status = 501
    with pytest.raises(HubUnreachable, match="501"):
        fetch(hub, tmp_path / "bases")
    with pytest.raises(HubUnreachable):
        prepare_base("lab/tiny", destination=tmp_path, endpoint="http://127.0.0.1:9", token="hf_none")


def test_a_repository_of_pickles_has_no_weights(hub, tmp_path):
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    with pytest.raises(BaseWithoutWeights, match="tiny"):
        fetch(hub, tmp_path / "bases")


def test_an_index_cannot_lead_out_of_the_folder(hub, tmp_path):
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))
    with pytest.raises(UnsafeHubName):
        fetch(hub, tmp_path / "bases")


def test_sources_that_are_nothing_are_not_found(base, tmp_path):
    for source in ("no-such-folder", "./nowhere/at/all", "missing.gguf", "lab/tiny.gguf"):
        with pytest.raises(BaseSourceNotFound):
            prepare_base(source, destination=tmp_path)
    with pytest.raises(RevisionWithoutHub):
        prepare_base(str(base), revision="main", destination=tmp_path)


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_weights_that_leave_tensors_random_are_refused(copied):
    from safetensors.torch import load_file, save_file

    found = load_file(copied / "model.safetensors")
    del found["model.layers.1.mlp.up_proj.weight"]
    save_file(found, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseWeightsIncomplete, match="up_proj"):
        load_base(copied, dtype="fp32", device="cpu")


def test_an_unknown_architecture_is_refused_without_a_path_in_the_message(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "from_the_future"}))
    with pytest.raises(KnownError) as caught:
        load_base(copied, dtype="fp32", device="cpu")
    assert isinstance(caught.value, BaseNotLoadable)
    assert str(copied.parent) not in str(caught.value)


def test_a_tokenizer_that_makes_no_sense_is_refused(copied):
    (copied / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nothing"}}')
    with pytest.raises(BaseNotLoadable, match="tokenizer"):
        load_base(copied, dtype="fp32", device="cpu")

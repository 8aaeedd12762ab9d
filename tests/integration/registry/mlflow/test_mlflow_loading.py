"""MLflow's own calls load what was registered, from bytes that were verified, as peft loads the pulled folder; or refuse."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.mlflow.home_address import address_of
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.manifest import BaseReference, Parent
from peft_registry.schemas.version import Version
from peft_registry.trainer.embedded import embedded_base
from tests.builders.homes import a_home, add_a_base, an_artifact
from tests.builders.made import trained_artifact
from tests.builders.merge import load, merge, register_adapter, suppress_warnings, unmerged, write_adapter
from tests.builders.mirror import stores_of_mlflow

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow closes nothing it opens for a download
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # transformers and MLflow about each other
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LINES = "model = PeftModel.from_pretrained(base, HERE)"
CARD = f"# adapter\n\n```python\n{LINES}\n```\n".encode()
SENTENCE = "The house stands by the"


def configurations() -> dict[str, Any]:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    task = {"task_type": "CAUSAL_LM"}
    return {
        "lora": LoraConfig(r=2, target_modules=["q_proj", "down_proj"], **task),
        "qlora": LoraConfig(r=2, target_modules=["v_proj"], **task),
        "rslora": LoraConfig(r=2, target_modules=["q_proj"], use_rslora=True, **task),
        "dora": LoraConfig(r=2, target_modules=["q_proj", "down_proj"], use_dora=True, **task),
        "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **task),
        "prompt": PromptTuningConfig(num_virtual_tokens=4, **task),
        "prefix": PrefixTuningConfig(num_virtual_tokens=4, **task),
        "ptuning": PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=16, **task),
    }


QUICK = ("lora", "dora", "ia3", "prompt", "whole")
NAMES = ("lora", "qlora", "rslora", "dora", "ia3", "prompt", "prefix", "ptuning", "whole")
MARKED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in NAMES]


@dataclass(frozen=True)
class Workplace:
    """A home with the embedded base, adapters that are made when they are asked for, and MLflow on the home's own store."""

    registry: Registry
    base: AddedBase
    folder: Path
    made: dict[str, Version]

    def version(self, name: str) -> Version:
        """A version in the registry and in MLflow."""
        if name not in self.made:
            folder = self.folder / name
            if name == "whole":
                self.made[name] = self._whole(folder)
            else:
                write_adapter(embedded_base(), folder, configurations()[name])
                quantisation = "nf4, double" if name == "qlora" else None
                self.made[name] = register_adapter(self.registry, folder, self.base, name, quantisation=quantisation)
        return self.made[name]

    def reference_model(self, name: str) -> Any:
        """What peft and transformers load from the pulled folder."""
        pulled = self.folder / f"pulled-{name}"
        if not pulled.exists():
            pull_version(self.registry, self.version(name), pulled)
        return load(pulled) if name == "whole" else unmerged(embedded_base(), pulled)

    def _whole(self, folder: Path) -> Version:
        write_adapter(embedded_base(), self.folder / "folded", configurations()["lora"], seed=3)
        merge(embedded_base(), self.folder / "folded", into=folder)
        base = self.base.version.manifest_digest
        manifest = manifest_of_folder(
            folder,
            kind="model",
            layout="model",
            method="full",
            base=BaseReference(identity=self.base.record.identity, manifest=base),
            parents=(Parent(role="base", manifest=base),),
        )
        return register_version(self.registry, trained_artifact("whole", folder, manifest, self.base, CARD))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:

    from peft_registry.trainer.use_cases.add_base import intake_base

    folder = tmp_path_factory.mktemp("loading")
    with pytest.MonkeyPatch.context() as patch, a_home(folder / "home") as registry:
        patch.chdir(folder)  # MLflow's defaults write into the current folder
        patch.setenv("HF_HUB_OFFLINE", "1")
        base = intake_base(registry, "embedded", name="tiny")
        with stores_of_mlflow(address_of(registry.folder)):
            yield Workplace(registry, base, folder, {})


@pytest.fixture(autouse=True)
def named_home(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_HOME", str(workplace.registry.folder))


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 25).reshape(2, 10)
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found[:, -ids.shape[1] :]  # a prompt of numbers comes first


def loaded_by_mlflow(uri: str, **options: Any) -> Any:
    import mlflow

    with suppress_warnings():
        return mlflow.transformers.load_model(uri, **options)


@pytest.mark.parametrize("name", MARKED)
def test_logits_through_mlflow_are_those_of_the_pulled_folder(workplace: Workplace, name: str, tmp_path: Path) -> None:
    version = workplace.version(name)
    pipeline = loaded_by_mlflow(f"models:/{name}/{version.number}", dst_path=str(tmp_path))
    expected = workplace.reference_model(name)
    assert (logits(pipeline.model) - logits(expected)).abs().max() == 0.0
    assert (logits(expected) - logits(load(embedded_base()))).abs().max() > 0.0
    assert pipeline.tokenizer(SENTENCE)["input_ids"]


def test_an_alias_loads_the_version_that_it_was_given(workplace: Workplace, tmp_path: Path) -> None:
    set_alias(workplace.registry, workplace.version("lora"), "champion")
    pipeline = loaded_by_mlflow("models:/lora@champion", dst_path=str(tmp_path))
    assert torch.equal(logits(pipeline.model), logits(workplace.reference_model("lora")))


def test_pyfunc_answers_and_keeps_to_the_parameters_it_was_given(workplace: Workplace, tmp_path: Path) -> None:
    import mlflow

    workplace.version("lora")
    with suppress_warnings():
        model = mlflow.pyfunc.load_model("models:/lora/1", dst_path=str(tmp_path))
        (short,) = model.predict([SENTENCE], params={"max_new_tokens": 1})
        (long,) = model.predict([SENTENCE], params={"max_new_tokens": 6})
    assert short.startswith(SENTENCE)
    assert long.startswith(short)
    assert len(long) > len(short)


def test_what_mlflow_says_of_the_model_is_derived_from_the_signed_manifest(workplace: Workplace) -> None:
    import mlflow

    version = workplace.version("lora")
    info = mlflow.models.get_model_info("models:/lora/1")
    assert info.metadata["registry.manifest"] == str(version.manifest_digest)
    assert set(info.flavors) == {"transformers", "python_function"}
    assert "max_new_tokens" in [parameter.name for parameter in info.signature.params]


@pytest.mark.full
def test_mlflow_evaluates_it_with_a_metric_of_the_user(workplace: Workplace, tmp_path: Path) -> None:
    """The model comes from the registry, and MLflow writes the run of the evaluation where it may write."""
    import mlflow
    import pandas

    def lengths(predictions: Any, targets: Any = None, metrics: Any = None) -> Any:
        return mlflow.metrics.MetricValue(aggregate_results={"mean": float(predictions.str.len().mean())})

    workplace.version("lora")
    metric = mlflow.metrics.make_metric(eval_fn=lengths, greater_is_better=True, name="length")
    rows = pandas.DataFrame({"inputs": [SENTENCE, "A box"]})
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'evaluations.db'}")
    try:
        with suppress_warnings(), mlflow.start_run():
            model = mlflow.pyfunc.load_model("models:/lora/1")
            result = mlflow.models.evaluate(model, rows, model_type=None, extra_metrics=[metric], evaluators="default")
    finally:
        mlflow.set_tracking_uri(address_of(workplace.registry.folder))
    assert result.metrics["length/mean"] > len("A box")


def test_the_scoring_server_answers(workplace: Workplace, tmp_path: Path) -> None:
    """The application that `mlflow models serve` runs."""
    import mlflow
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    workplace.version("lora")
    with suppress_warnings():
        app = scoring_server.init(mlflow.pyfunc.load_model("models:/lora/1", dst_path=str(tmp_path)))
        client = TestClient(app)
        example = json.loads((tmp_path / "serving_input_example.json").read_text())
        answer = client.post("/invocations", json=example | {"params": {"max_new_tokens": 2}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0].startswith(example["inputs"][0])


@pytest.mark.full
def test_mlflow_serves_it(workplace: Workplace) -> None:
    """`mlflow models serve` itself, in a process of its own."""
    workplace.version("lora")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/lora/1", "--env-manager", "local"),
        *("--port", str(port), "--workers", "1"),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")},
        "MLFLOW_TRACKING_URI": address_of(workplace.registry.folder),
        # MLflow starts uvicorn by its name, which an environment that is not activated does not find
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with subprocess.Popen(command, env=environment, cwd=workplace.folder, start_new_session=True) as server:
        try:
            answer = asked(
                f"http://127.0.0.1:{port}/invocations", {"inputs": [SENTENCE], "params": {"max_new_tokens": 2}}
            )
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    assert answer["predictions"][0].startswith(SENTENCE)


def asked(url: str, question: dict[str, Any]) -> Any:
    """The answer of a server that is starting; two minutes at most."""
    request = urllib.request.Request(
        url, data=json.dumps(question).encode(), headers={"Content-Type": "application/json"}
    )
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError("no answer")


@pytest.mark.full
@pytest.mark.real_model
def test_logits_of_a_real_model_are_those_of_the_pulled_folder(
    workplace: Workplace, smollm2: Path, tmp_path: Path
) -> None:
    from peft_registry.trainer.use_cases.add_base import intake_base

    base = intake_base(workplace.registry, str(smollm2), name="smollm2")
    write_adapter(smollm2, tmp_path / "adapter", configurations()["lora"])
    version = register_adapter(workplace.registry, tmp_path / "adapter", base, "real")
    (tmp_path / "copy").mkdir()
    pipeline = loaded_by_mlflow("models:/real/1", dst_path=str(tmp_path / "copy"))
    pull_version(workplace.registry, version, tmp_path / "pulled")
    expected = unmerged(
        smollm2, tmp_path / "pulled", dtype="auto"
    )  # as the lines of the card: in the format it was saved in
    assert (logits(pipeline.model) - logits(expected)).abs().max() == 0.0


@pytest.mark.parametrize("method", ["hybrid", "bottleneck"])
def test_what_needs_more_than_peft_is_refused_with_the_lines_of_its_card(
    workplace: Workplace, tmp_path: Path, method: str
) -> None:
    from mlflow.exceptions import MlflowException

    parts = ("lora", "prompt") if method == "hybrid" else ("",)
    for part in parts:
        write_adapter(embedded_base(), tmp_path / method / part, configurations()[part or "lora"])
        (tmp_path / method / part / "README.md").unlink(missing_ok=True)
    version = register_adapter(workplace.registry, tmp_path / method, workplace.base, method, method=method, card=CARD)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(MlflowException, match="MLflow cannot load") as refused:
        loaded_by_mlflow(f"{SOURCE_PREFIX}{version.manifest_digest.hex}", dst_path=str(out))
    assert LINES in str(refused.value)
    assert list(out.iterdir()) == []


def test_what_mlflow_logs_itself_of_a_local_base_is_another_model_and_ours_is_not(
    workplace: Workplace, tmp_path: Path
) -> None:
    """MLflow saves the base of a model of peft under the names of the wrapped layers, and loading draws new numbers for them."""
    import mlflow
    from transformers import AutoTokenizer

    workplace.version("lora")
    expected = workplace.reference_model("lora")
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    with suppress_warnings():
        mlflow.transformers.save_model(
            {"model": workplace.reference_model("lora"), "tokenizer": tokenizer},
            str(tmp_path / "native"),
            task="text-generation",
            pip_requirements=["transformers"],
        )
    native = loaded_by_mlflow(str(tmp_path / "native"))
    assert (logits(native.model) - logits(expected)).abs().max() > 0.1
    (tmp_path / "copy").mkdir()
    ours = loaded_by_mlflow("models:/lora/1", dst_path=str(tmp_path / "copy"))
    assert torch.equal(logits(ours.model), logits(expected))


@dataclass(frozen=True)
class SmallHome:
    """A registered base and an adapter of it, a few hundred numbers in all, that nothing needs to load."""

    registry: Registry
    base: Path
    version: Version

    @property
    def uri(self) -> str:
        return f"{SOURCE_PREFIX}{self.version.manifest_digest.hex}"

    def flip_a_bit(self, path: str) -> None:
        """In a file of the adapter or of its base, where its bytes lie."""
        adapter = stored_manifest(self.registry, self.version.manifest_digest)
        assert adapter.base is not None
        assert adapter.base.manifest is not None
        listed = (*adapter.files, *stored_manifest(self.registry, adapter.base.manifest).files)
        digest = next(entry.sha256 for entry in listed if entry.path == path)
        stored = self.registry.folder / "objects" / digest.hex[:2] / digest.hex
        place = stored if stored.exists() else self.base / path
        data = bytearray(place.read_bytes())
        data[-2] ^= 1
        place.chmod(0o644)
        place.write_bytes(data)


@pytest.fixture(params=["reference", "copy"])
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHome]:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base", mode=request.param)
        version = register_version(registry, an_artifact(tmp_path / "adapter", base))
        monkeypatch.setenv("REGISTRY_HOME", str(registry.folder))
        yield SmallHome(registry, tmp_path / "base", version)


FILES = ("adapter_model.safetensors", "adapter_config.json", "model.safetensors", "tokenizer.json", "config.json")


@pytest.mark.parametrize("path", FILES)
def test_one_flipped_bit_in_any_file_is_refused_by_name_and_nothing_is_left(
    small: SmallHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    from mlflow.exceptions import MlflowException

    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    out.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    small.flip_a_bit(path)
    for destination in (str(out), None):
        with pytest.raises(MlflowException, match=path.replace(".", r"\.")):
            loaded_by_mlflow(small.uri, dst_path=destination)
        assert [*out.iterdir(), *temporary.iterdir()] == []


def test_a_bit_that_flips_after_the_check_is_refused_and_nothing_is_left(small: SmallHome, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    out = tmp_path / "out"
    out.mkdir()
    repository = get_artifact_repository(small.uri)
    assert repository.list_artifacts(None)
    small.flip_a_bit("tokenizer.json")
    with pytest.raises(MlflowException, match=r"tokenizer\.json is not what was signed"):
        repository.download_artifacts("", str(out))
    assert list(out.iterdir()) == []


def test_the_copy_that_is_loaded_shares_no_file_with_the_store(small: SmallHome, tmp_path: Path) -> None:
    import mlflow

    out = tmp_path / "out"
    out.mkdir()
    mlflow.artifacts.download_artifacts(small.uri, dst_path=str(out))
    kept = {path.stat().st_ino for folder in (small.registry.folder, small.base) for path in folder.rglob("*")}
    copies = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in copies if path.is_symlink() or path.stat().st_ino in kept]


@pytest.mark.parametrize("planted", ["model/adapter_config.json", "peft/adapter_model.bin", "MLmodel"])
def test_a_folder_in_which_a_loader_would_find_other_files_besides_is_refused(
    small: SmallHome, tmp_path: Path, planted: str
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    root, name = small.uri.rsplit("/", 1)
    for uri, path, place in ((small.uri, "", tmp_path / "a"), (root, name, tmp_path / "b" / name)):
        (place / planted).parent.mkdir(parents=True)
        (place / planted).write_text("{}")
        out = tmp_path / place.relative_to(tmp_path).parts[0]
        with pytest.raises(MlflowException, match="exists already"):
            get_artifact_repository(uri).download_artifacts(path, str(out))
        assert [file for file in out.rglob("*") if file.is_file()] == [place / planted]


def test_no_row_of_anybody_is_the_example(small: SmallHome, tmp_path: Path) -> None:
    import mlflow

    example = Path(mlflow.artifacts.download_artifacts(f"{small.uri}/input_example.json", dst_path=str(tmp_path)))
    assert json.loads(example.read_text()) == ["The library opens at nine."]

"""The resolver, driven through a class of vLLM's documented signature: a name becomes a verified folder, or nothing is served."""

import ast
import asyncio
import json
import shutil
import sys
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.vllm.plugin import RESOLVER_NAME
from peft_registry.schemas.errors import KnownError
from tests.builders.homes import CONFIG, a_home, adapter_files, add_a_base, an_artifact, base_files, name_once, reopened
from tests.builders.imports import LORA_CONFIG
from tests.conftest import not_run
from tests.processes.interpreter import ROOT, modules_after

WEIGHTS = "adapter_model.safetensors"


@dataclass
class LoRARequest:
    """The fields of vllm.lora.request.LoRARequest that a resolver fills."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""


class LoRAResolver(ABC):
    """As vllm.lora.resolver.LoRAResolver; the test below holds the signature against vLLM's own."""

    @abstractmethod
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None: ...


class Resolvers:
    """As vllm.lora.resolver.LoRAResolverRegistry."""

    def __init__(self) -> None:
        self.resolvers: dict[str, LoRAResolver] = {}

    def register_resolver(self, resolver_name: str, resolver: LoRAResolver) -> None:
        self.resolvers[resolver_name] = resolver


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Resolvers:
    """A process in which vLLM can be imported."""
    resolvers = Resolvers()
    contents: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.lora.resolver": {"LoRAResolver": LoRAResolver, "LoRAResolverRegistry": resolvers},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return resolvers


@dataclass
class Server:
    """A server that was started in a folder: what it serves, and its registry."""

    place: Path
    registry: Registry
    resolver: LoRAResolver

    def ask(self, name: str, *, base: str = "") -> LoRARequest | None:
        return asyncio.run(self.resolver.resolve_lora(base or str(self.place / "base"), name))


def entry_point() -> Any:
    """What vLLM calls, by the name that the package states."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["entry-points"]["vllm.general_plugins"]["registry"].partition(":")
    return getattr(import_module(module), function)


@pytest.fixture
def server(tmp_path: Path, served: Resolvers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An adapter `helper:1`, which is its champion, and a vLLM that loaded the plugin."""
    with a_home(tmp_path / ".registry", now=utc_now()) as registry:  # the plugin reads the clock
        base = add_a_base(registry, tmp_path / "base")
        artifact = an_artifact(tmp_path / "adapter", base)
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(LORA_CONFIG))
        set_alias(registry, registered(registry, artifact, base), "champion")
        name_once(tmp_path / ".registry")
        monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / ".registry"))
        monkeypatch.setenv("REGISTRY_VLLM_CACHE", str(tmp_path / "cache"))
        entry_point()()
        yield Server(tmp_path, registry, served.resolvers[RESOLVER_NAME])


def registered(registry: Registry, artifact: Any, base: Any) -> Any:
    """The adapter with a whole configuration: the manifest is that of the files as they lie there now."""
    from peft_registry.registry.identity.manifests import manifest_of_folder
    from peft_registry.registry.use_cases.register import register_version
    from tests.builders.made import trained_artifact

    old = artifact.manifest
    manifest = manifest_of_folder(
        artifact.folder, kind="adapter", layout="peft", method="lora", base=old.base, parents=old.parents
    )
    return register_version(registry, trained_artifact(artifact.name, artifact.folder, manifest, base, artifact.card))


@pytest.mark.parametrize("name", ["helper@champion", "helper:1"])
def test_a_name_becomes_a_verified_folder_in_the_cache(server: Server, name: str) -> None:
    request = server.ask(name)
    assert request is not None
    folder = Path(request.lora_path)
    assert (request.lora_name, folder.parent) == (name, server.place / "cache" / "versions")
    assert 0 < request.lora_int_id < 2**63
    assert verify_folder(folder, trust=server.registry.trust, now=server.registry.clock()).verdict == "verified"
    again = server.ask(name)
    assert again == request


@pytest.mark.parametrize("name", ["nobody@champion", "helper@nothing", "helper:2"])
def test_an_unknown_name_is_left_to_other_resolvers(server: Server, name: str) -> None:
    assert server.ask(name) is None


@pytest.mark.parametrize("name", ["helper", "lab/helper", "../adapter", "", "helper@champion\n", "sha256:abc"])
def test_a_name_of_another_form_is_left_to_other_resolvers(server: Server, name: str) -> None:
    """Also a bare one: with every new version it would mean another adapter."""
    assert server.ask(name) is None


def refused(server: Server, name: str, logged: list[str], *, base: str = "") -> str:
    """The error that the server is given; it is in its log, and no folder was handed over."""
    with pytest.raises(KnownError) as caught:
        server.ask(name, base=base)
    text = "\n".join(logged)
    assert f"{name} is not served" in text
    assert caught.value.why in text
    return caught.value.reference


def test_a_server_with_another_base_of_equal_shape_gets_nothing(server: Server, logged: list[str]) -> None:
    other = base_files(server.place / "other", seed=9)
    assert refused(server, "helper@champion", logged, base=str(other)) == "served-base-differs"
    assert not (server.place / "cache").exists()


def test_a_server_with_another_configuration_of_its_base_gets_nothing(server: Server, logged: list[str]) -> None:
    other = base_files(server.place / "other")
    (other / "config.json").write_text(json.dumps(CONFIG | {"rope_theta": 500000.0}))
    assert refused(server, "helper@champion", logged, base=str(other)) == "served-base-differs"


@pytest.mark.parametrize("base", ["lab/tiny", "../../etc", f"lab/{'t' * 5000}"])
def test_a_base_that_cannot_be_found_here_is_not_taken_on_trust(
    server: Server, logged: list[str], base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # two folders below the root, `../../etc` is a folder
    assert refused(server, "helper@champion", logged, base=base) == "served-base-not-found"


def test_the_folder_of_the_base_can_be_named(server: Server, served: Resolvers, monkeypatch) -> None:
    monkeypatch.setenv("REGISTRY_VLLM_BASE", str(server.place / "base"))
    entry_point()()
    server.resolver = served.resolvers[RESOLVER_NAME]
    assert server.ask("helper@champion", base="lab/tiny") is not None


def test_bytes_that_changed_in_the_store_are_not_served(server: Server, logged: list[str]) -> None:
    from peft_registry.schemas.identity import Digest

    weights = Digest.of((server.place / "adapter" / WEIGHTS).read_bytes())
    stored = server.registry.store.local_path(weights)
    assert stored is not None
    stored.chmod(0o644)
    adapter_files(server.place / "other", value=0.75)
    stored.write_bytes((server.place / "other" / WEIGHTS).read_bytes())
    assert refused(server, "helper@champion", logged) == "pull-refused"


def test_bytes_that_changed_in_the_cache_are_made_anew(server: Server, logged: list[str]) -> None:
    first = server.ask("helper@champion")
    assert first is not None
    whole = (Path(first.lora_path) / WEIGHTS).read_bytes()
    (Path(first.lora_path) / WEIGHTS).chmod(0o644)
    (Path(first.lora_path) / WEIGHTS).write_bytes(b"other")
    second = server.ask("helper@champion")
    assert second is not None
    assert (Path(second.lora_path) / WEIGHTS).read_bytes() == whole
    assert WEIGHTS in "\n".join(logged)


def test_a_recalled_version_is_not_served(server: Server, logged: list[str]) -> None:
    from peft_registry.cli.main import run
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.signing.keys import PrivateKey

    home = ["--home", str(server.place / ".registry")]
    keys = server.place / "keys"
    assert run(["keys", "create", "approver", "--person", "alex", "--out", str(keys), "--unencrypted"]) == 0
    assert run(["trust", "add", str(keys / "approver.pub"), "--person", "alex", "--role", "approver", *home]) == 0
    registry = reopened(server.place / ".registry", now=utc_now())
    append_statement(
        registry,
        subject=version_named(registry, "helper:1").manifest_digest,
        kind="recall",
        predicate={"reason": "it answers with the names of customers", "nonce": "0f"},
        signer=PrivateKey.load(keys / "approver.key", lambda: b""),
    )
    registry.close()
    assert refused(server, "helper@champion", logged) == "version-recalled"


def test_an_alias_that_a_stolen_key_moved_is_left_to_no_other_resolver(server: Server, logged: list[str]) -> None:
    from peft_registry.cli.main import run

    key = server.registry.trainer_key.public.key_id
    words = ["trust", "revoke", key, "--compromise", "--since", "2020-01-01", "--reason", "stolen"]
    assert run([*words, "--home", str(server.place / ".registry")]) == 0
    assert refused(server, "helper@champion", logged) == "alias-unsigned"
    assert refused(server, "helper:1", logged) == "pull-refused"


def test_an_alias_that_only_a_row_has_is_left_to_no_other_resolver(server: Server, logged: list[str]) -> None:
    with server.registry.database.write() as tx:
        tx.exec_driver_sql("UPDATE aliases SET alias = 'forged'")
    assert refused(server, "helper@forged", logged) == "alias-unsigned"


def test_what_vllm_would_refuse_is_said_in_words(server: Server, logged: list[str]) -> None:
    """A base is registered and verifies, and is not an adapter."""
    assert refused(server, "tiny:1", logged) == "vllm-not-a-lora"


def test_without_a_folder_for_the_copies_no_resolver_is_added(served: Resolvers, monkeypatch) -> None:
    monkeypatch.delenv("REGISTRY_VLLM_CACHE", raising=False)
    entry_point()()
    assert served.resolvers == {}


def test_the_plugin_is_imported_without_vllm_and_what_trains(tmp_path: Path) -> None:
    """vLLM pins other versions of torch and transformers than training here does: the small installation has to do."""
    loaded = modules_after("from peft_registry.registry.vllm import plugin", cwd=tmp_path)
    assert not {name.partition(".")[0] for name in loaded} & {"vllm", "torch", "transformers", "peft", "mlflow"}


def own_signature() -> ast.AsyncFunctionDef:
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    return signature_in(tree)


def signature_in(tree: ast.Module) -> ast.AsyncFunctionDef:
    resolver = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LoRAResolver")
    return next(node for node in resolver.body if isinstance(node, ast.AsyncFunctionDef))


@pytest.mark.peers
@pytest.mark.full
def test_the_signature_is_that_of_vllm(tmp_path: Path) -> None:
    """Its wheel is unpacked and read, and nothing of it is run."""
    import subprocess
    import zipfile

    command = [sys.executable, "-m", "pip", "download", "vllm", "--no-deps", "--only-binary", ":all:", "-q"]
    done = subprocess.run([*command, "-d", str(tmp_path)], capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0:
        not_run(f"the index does not give vLLM's wheel here: {done.stderr.strip()[-200:]}")
    (wheel,) = tmp_path.glob("vllm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        resolver = ast.parse(archive.read("vllm/lora/resolver.py"))
        request = ast.parse(archive.read("vllm/lora/request.py"))
        entry_points = next(name for name in archive.namelist() if name.endswith("dist-info/entry_points.txt"))
        assert "[vllm.general_plugins]" in archive.read(entry_points).decode()
    theirs, ours = signature_in(resolver), own_signature()
    assert theirs.name == ours.name
    assert [argument.arg for argument in theirs.args.args] == [argument.arg for argument in ours.args.args]
    fields = next(node for node in request.body if isinstance(node, ast.ClassDef) and node.name == "LoRARequest")
    named = [
        node.target.id for node in fields.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    assert named[:3] == ["lora_name", "lora_int_id", "lora_path"]
    registry = next(node for node in resolver.body if isinstance(node, ast.ClassDef) and "Registry" in node.name)
    methods = {node.name: node for node in registry.body if isinstance(node, ast.FunctionDef)}
    assert [a.arg for a in methods["register_resolver"].args.args] == ["self", "resolver_name", "resolver"]
    shutil.rmtree(tmp_path)

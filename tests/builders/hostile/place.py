"""Where a case plays: copies of something valid, which it may spoil, and the command line that it gives."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.signing import oms
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.schemas.identity import Digest
from tests.builders.homes import base_files
from tests.builders.signing import a_p256_key

STATEMENTS = "evidence/statements.intoto.jsonl"
PROOF = "evidence/log.tlog-proof"
COMPLETE = "evidence/complete.tlog-proof"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Workplace:
    """What is valid and shared: a home, a version pulled from it, and its trust file. Nobody changes them."""

    home: Path
    pulled: Path
    trust: Path


class Place:
    """Copies for one case, each made when it is first asked for."""

    def __init__(self, shared: Workplace, folder: Path) -> None:
        self._shared = shared
        self.folder = folder

    @cached_property
    def home(self) -> Path:
        return Path(shutil.copytree(self._shared.home, self.folder / "home"))

    @cached_property
    def pulled(self) -> Path:
        return Path(shutil.copytree(self._shared.pulled, self.folder / "pulled"))

    @cached_property
    def trust(self) -> Path:
        return Path(shutil.copy(self._shared.trust, self.folder / "trust.json"))

    @cached_property
    def model(self) -> Path:
        """A model that somebody signed with Open Model Signing; the public key is beside it."""
        folder = self.folder / "model"
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(bytes(64))
        (folder / "config.json").write_text("{}")
        self.sign_model(*(oms.Resource(path.name, Digest.of(path.read_bytes())) for path in sorted(folder.iterdir())))
        (self.folder / "key.pub").write_bytes(a_p256_key().public.pem)
        return folder

    def sign_model(self, *resources: oms.Resource, ignore_paths: tuple[str, ...] = ()) -> None:
        statement = oms.sign_folder_listing(
            a_p256_key(), model_name="model", resources=resources, ignore_paths=ignore_paths
        )
        (self.folder / "model" / "model.sig").write_bytes(statement)

    @cached_property
    def base(self) -> Path:
        return base_files(self.folder / "base")

    @cached_property
    def trainer(self) -> PrivateKey:
        """The key that signed everything, in the hand of somebody who makes up what he likes."""
        return PrivateKey.load(self._shared.home / "keys" / "trainer.key")

    @cached_property
    def manifest(self) -> Digest:
        return Digest.of((self._shared.pulled / "manifest.json").read_bytes())

    # the command lines

    def verify(self) -> list[str]:
        return ["verify", str(self.pulled), "--trust", str(self.trust)]

    def verify_foreign(self) -> list[str]:
        return ["verify", str(self.model), "--key", str(self.folder / "key.pub")]

    def add_base(self) -> list[str]:
        return ["base", "add", str(self.base), "--name", "offered", "--home", str(self.home)]

    def add_base_with(self, name: str, data: bytes) -> list[str]:
        """A base with one file more, or with another in its place."""
        (self.base / name).write_bytes(data)
        return self.add_base()

    def in_home(self, *words: str) -> list[str]:
        return [*words, "--home", str(self.home)]


@dataclass(frozen=True)
class Case:
    """`make` spoils something in its place and gives the command line; `code` is what the command must end with."""

    kind: str
    name: str
    make: Callable[[Place], list[str]]
    code: int

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.name}"


def make_workplace(folder: Path) -> Workplace:
    """A home with a base and an adapter of it, the adapter pulled, the trust file exported."""
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.pull import pull_version
    from tests.builders.homes import a_home, register_adapter

    with a_home(folder / "home", now=utc_now()):
        pass
    registry = open_home(folder / "home")
    try:
        register_adapter(registry, folder)
        pull_version(registry, version_named(registry, "helper:1"), folder / "pulled")
    finally:
        registry.close()
    shutil.copy(folder / "home" / "trust.json", folder / "trust.json")
    return Workplace(folder / "home", folder / "pulled", folder / "trust.json")

"""Small registries for tests: a home with fixed time and nonces, a base and an adapter of a few hundred numbers, no torch."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import Connection, event, inspect

from peft_registry.registry.database import migrations
from peft_registry.registry.homes.base_locations import FILE_NAME as BASE_LOCATIONS
from peft_registry.registry.homes.home import Registry, open_home, read_settings
from peft_registry.registry.homes.known_homes import remember
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import TrustChain, render_chain, sign_version
from peft_registry.registry.use_cases import make_home as made_homes
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.register import NewArtifact, register_version
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.manifest import Parent
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.version import Version
from tests.builders.made import reference_of, trained_artifact
from tests.conftest import STATE, state_of

NOW = "2026-11-24T12:00:00Z"
PULLED = "pulled"
"""The folder beside a home into which a version was pulled."""
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, "added_tokens": []}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def fixed_nonces(*, used: int = 0) -> Iterator[str]:
    return (f"{number:032x}" for number in count(used + 1))


@contextmanager
def a_home(
    folder: Path, *, database: str | None = None, store: str | None = None, now: str = NOW
) -> Iterator[Registry]:
    """A new, unencrypted home, opened; the clock stands still at `now`.

    Its trust file is valid for a hundred years, because the commands that a test runs read the real clock.
    """
    new = NewHome(folder, OrganisationProfile(), "lab-1", None, database=database, store=store)
    with tables_made_as_before(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_homes, "TRUST_DAYS", 36500)
        make_home(new, now=now)
    registry = reopened(folder, now=now)
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def a_home_before_editions(folder: Path) -> Iterator[Registry]:
    """A home as an earlier release made it: no edition is announced in its log."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("first_announcement", "publish_checkpoint"):
                patch.setattr(made_homes, name, lambda *_, **__: None)
            registry = stack.enter_context(a_home(folder))
        yield registry


_MAKING_TABLES: dict[str, list[tuple[str, Any]]] = {}
"""By kind of database (statement, parameters) of what the revisions wrote into the first empty one of this process."""


@contextmanager
def tables_made_as_before() -> Iterator[None]:
    """Let an empty database get its tables by the statements that the revisions issued for the first of its kind: Alembic takes
    most of the time in which a home is made, to come to the same statements each time."""
    upgrade = migrations.upgrade

    def repeat(connection: Connection) -> None:
        making = _MAKING_TABLES.get(connection.dialect.name)
        if inspect(connection).get_table_names():
            upgrade(connection)
        elif making is not None:
            for statement, parameters in making:
                connection.exec_driver_sql(statement, parameters)
        else:
            made: list[tuple[str, Any]] = []

            def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
                if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
                    made.append((statement, parameters))

            event.listen(connection, "before_cursor_execute", note)
            upgrade(connection)
            event.remove(connection, "before_cursor_execute", note)
            _MAKING_TABLES[connection.dialect.name] = made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "upgrade", repeat)
        yield


def reopened(folder: Path, *, now: str = NOW, state: Path | None = None, used_nonces: int = 0) -> Registry:
    """A home that is there, as a user with this state folder opens it."""
    nonces = fixed_nonces(used=used_nonces)
    seen = None if state is None else SeenCheckpoints(state, str)
    return open_home(folder, clock=lambda: now, nonce=lambda: next(nonces), seen=seen)


@dataclass(frozen=True, slots=True)
class MadeFolder:
    """A folder with a home, which was closed, and with the files of what was registered there; read it and never write to it."""

    folder: Path
    used_nonces: int

    @classmethod
    def of(cls, registry: Registry, folder: Path) -> "MadeFolder":
        """What an open home became by now."""
        return cls(folder, int(registry.nonce(), 16) - 1)

    def copied(self, folder: Path) -> Registry:
        """The home in a copy at another place, opened: it goes on as the one that was made would."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(PULLED))
        bases = folder / "home" / BASE_LOCATIONS
        if bases.exists():  # it has whole paths
            bases.write_text(bases.read_text("utf-8").replace(str(self.folder), str(folder)), "utf-8")
        return reopened(folder / "home", used_nonces=self.used_nonces)


def copied_workplace(source: Path, target: Path) -> Path:
    """A copy of a folder with a home in it, which the user of this test run named once: it is theirs as the first one is."""
    shutil.copytree(source, target)
    if state_of(source).exists():  # what was seen of the log before
        shutil.copytree(state_of(source), state_of(target))
    name_once(target / FOLDER_NAME, state_of(target))
    return target


def name_once(home: Path, state: Path = STATE) -> None:
    """What `--home` does the first time."""
    assert remember(state / "peft-registry", home, read_settings(home).registry_id)


def base_files(folder: Path, *, seed: int = 0, shards: int = 1) -> Path:
    """A folder that looks like a base: two tensors, config, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    tensors = {
        "lm_head.weight": random.standard_normal((2, 8)).astype(np.float32),
        "model.embed_tokens.weight": random.standard_normal((2, 8)).astype(np.float32),
        "model.layers.0.mlp.down_proj.weight": random.standard_normal((8, 16)).astype(np.float32),
    }
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        names = sorted(tensors)
        weight_map = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = {name: tensors[name] for name in names[shard::shards]}
            save_file(part, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, file)
        index = {"metadata": {"total_size": sum(one.nbytes for one in tensors.values())}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "b"}))
    return folder


def add_a_base(
    registry: Registry,
    folder: Path,
    *,
    name: str = "tiny",
    mode: str = "reference",
    facts: DeclaredFacts | None = None,
) -> AddedBase:
    origin = BaseOrigin(format="huggingface", source=folder.name)
    return add_base(registry, base_files(folder), name=name, origin=origin, facts=facts, mode=mode)  # type: ignore[arg-type]


def adapter_files(folder: Path, *, value: float = 0.5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight": np.full((2, 16), value, dtype=np.float32),
        "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight": np.full((8, 2), -value, dtype=np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["down_proj"]})
    )
    return folder


def an_artifact(folder: Path, base: AddedBase, *, name: str = "helper", value: float = 0.5) -> NewArtifact:
    """An adapter that is ready to be registered."""
    adapter_files(folder, value=value)
    return artifact_of(folder, base, name=name)


def artifact_of(folder: Path, base: AddedBase, *, name: str = "helper") -> NewArtifact:
    """The adapter in a folder as it was trained on a base."""
    card = b"---\nlibrary_name: peft\n---\n# helper\n"
    manifest = manifest_of_folder(
        folder,
        kind="adapter",
        layout="peft",
        method="lora",
        base=reference_of(base),
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    return trained_artifact(name, folder, manifest, base, card)


def register_adapter(registry: Registry, tmp_path: Path, *, name: str = "helper", value: float = 0.5) -> Version:
    """A base and an adapter of it, registered."""
    base = add_a_base(registry, tmp_path / "base")
    return register_version(registry, an_artifact(tmp_path / f"adapter-{name}-{value}", base, name=name, value=value))


def state_of_the_run(workplace: Path) -> dict[str, Any]:
    """What the run under way in a folder wrote down last, or step 0 where there is none yet."""
    for path in (workplace / FOLDER_NAME / "runs").glob("*/run.json"):
        state: dict[str, Any] = json.loads(path.read_text())
        return state
    return {"step": 0}


def exchange_trust(registry: Registry, *, forger: PrivateKey, log: PrivateKey, root: PrivateKey) -> None:
    """A trust file signed by its own root that lists the forger's keys beside the true ones, and the keys to go with it."""
    newest = registry.trust_chain.newest.policy
    by_role = {"trainer": forger, "log": log, "root": root}
    own = tuple(
        key.revised(key_id=by_role[key.role].public.key_id, public_key_pem=by_role[key.role].public.pem.decode())
        for key in newest.keys
    )
    policy = newest.revised(
        keys=(*own, *(key for key in newest.keys if key.role != "root")), roots=(root.public.key_id,)
    )
    chain = TrustChain((sign_version(policy, [root]),))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    for role, key in by_role.items():
        (registry.folder / "keys" / f"{role}.key").unlink()
        key.save(registry.folder / "keys" / f"{role}.key", None)

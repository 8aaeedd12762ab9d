"""The stores that keep one contract, and how a test damages or breaks each of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.storage import ObjectStore
from peft_registry.registry.storage.interface import object_key
from peft_registry.schemas.identity import Digest

Replace = Callable[[Digest, bytes], None]


class NthCallFails:
    """Lets calls pass and fails the n-th of them, whichever function it is."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.calls = 0

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise OSError(28, "No space left on device")

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count()
            return function(*args, **kwargs)

        return counted

    def wrap_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.count()
            return await function(*args, **kwargs)

        return counted


@dataclass(frozen=True)
class StoreUnderTest:
    store: ObjectStore
    reopen: Callable[[], ObjectStore]
    replace_bytes: Replace
    """Puts other bytes where an object is, behind the store's back."""
    break_writes: Callable[[pytest.MonkeyPatch, NthCallFails], None]
    """From now on, every step of a write is counted and may fail."""


def in_memory() -> StoreUnderTest:
    from peft_registry.registry.storage.memory import MemoryStore

    store = MemoryStore()

    def replace(digest: Digest, data: bytes) -> None:
        store._objects[digest] = (data, store._objects[digest][1])

    def break_writes(monkeypatch: pytest.MonkeyPatch, fails: NthCallFails) -> None:
        monkeypatch.setattr(os, "pread", fails.wrap(os.pread))

    return StoreUnderTest(store, lambda: store, replace, break_writes)


def in_a_folder(root: Path) -> StoreUnderTest:
    from peft_registry.registry.storage import open_store

    def replace(digest: Digest, data: bytes) -> None:
        path = root / object_key(digest)
        path.chmod(0o600)
        path.write_bytes(data)

    def break_writes(monkeypatch: pytest.MonkeyPatch, fails: NthCallFails) -> None:
        for name in ("open", "pread", "fsync", "fdopen"):
            monkeypatch.setattr(os, name, fails.wrap(getattr(os, name)))
        for name in ("mkdir", "chmod", "replace"):
            original = getattr(Path, name)
            monkeypatch.setattr(Path, name, fails.wrap(original))

    return StoreUnderTest(open_store(str(root)), lambda: open_store(str(root)), replace, break_writes)


def in_a_bucket(uri: str) -> StoreUnderTest:
    from peft_registry.registry.storage import open_store

    store = open_store(uri)
    files: Any = store._files  # type: ignore[attr-defined]

    def replace(digest: Digest, data: bytes) -> None:
        files.pipe_file(store._key(digest), data)  # type: ignore[attr-defined]

    def break_writes(monkeypatch: pytest.MonkeyPatch, fails: NthCallFails) -> None:
        monkeypatch.setattr(files, "_call_s3", fails.wrap_async(files._call_s3))
        monkeypatch.setattr(files, "call_s3", fails.wrap(files.call_s3))
        monkeypatch.setattr(os, "pread", fails.wrap(os.pread))

    return StoreUnderTest(store, lambda: open_store(uri), replace, break_writes)

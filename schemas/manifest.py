"""`manifest.json`: canonical bytes that say what an artifact is and what it was made from.

Its SHA-256, the manifest digest, is the artifact's identity. It holds no time, name, run id or path, so equal content has
one digest. Verifiers hash the bytes they were given; they never re-encode.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import FailFast, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

SCHEMA: Literal["urn:peft-registry:manifest:v1"] = "urn:peft-registry:manifest:v1"
FILE_NAME = "manifest.json"
SIGNATURE_NAME = "model.sig"
CARD_NAME = "README.md"
EVIDENCE_NAME = "evidence"
# outside model.sig: the card has a statement of its own, evidence accumulates. Exactly these, in this order.
UNSIGNED_PATHS = (CARD_NAME, EVIDENCE_NAME)

Kind = Literal["base", "adapter", "model", "bundle"]
Layout = Literal["peft", "model", "bundle"]
# `adapter` and `model` were merged; at the weights of `start` a training began
ParentRole = Literal["base", "adapter", "model", "start"]
Origin = Literal["imported"]


class FileEntry(Document):
    """One signed file besides the manifest itself. `path` is POSIX and relative to the artifact folder."""

    path: str
    size: int = Field(ge=0)
    sha256: Digest


class TensorEntry(Document):
    """One tensor: safetensors dtype name, shape, SHA-256 of its little-endian bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: Digest


class WeightsFile(Document):
    """One safetensors file: digest of its header (length prefix and JSON), and of every tensor in it."""

    path: str
    header_sha256: Digest
    tensors: Annotated[tuple[TensorEntry, ...], FailFast()]  # a million wrong entries need no million errors


class BaseReference(Document):
    """The base an artifact needs: its identity, and the manifest digest it was registered under (null if imported alone).

    `quantisation`: how the base was quantized in memory when the artifact was made on it (`nf4, double`). The key is written
    only where there is one.
    """

    identity: BaseIdentity
    manifest: Digest | None = None
    quantisation: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent_quantisation(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.quantisation is None:
            del value["quantisation"]
        return value


class Parent(Document):
    """An artifact that this one was made from."""

    role: ParentRole
    manifest: Digest


class Manifest(Document):
    """What an artifact is and what it was made from. Lists are sorted: files, weights and tensors by UTF-8 bytes of the name.

    `origin`: `imported` where it was made elsewhere and nobody here saw how, so that equal files that were trained here are
    another artifact. The key is written only where there is one.
    """

    schema_: Literal["urn:peft-registry:manifest:v1"] = Field(default=SCHEMA, alias="schema")
    kind: Kind
    layout: Layout
    method: str | None = None
    files: Annotated[tuple[FileEntry, ...], FailFast()]
    weights: Annotated[tuple[WeightsFile, ...], FailFast()]
    weights_digest: Digest
    base: BaseReference | None = None
    data: tuple[DataIdentity, ...] = ()
    config_sha256: Digest | None = None  # of the canonical resolved training configuration without names and paths
    parents: tuple[Parent, ...] = ()
    origin: Origin | None = None

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}

    @model_serializer(mode="wrap")
    def _without_absent_origin(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.origin is None:
            value.pop("origin", None)
        return value

    @property
    def made_from(self) -> frozenset[Digest]:
        """The artifacts that it was made from besides bases: merged into it, or continued."""
        return frozenset(parent.manifest for parent in self.parents if parent.role != "base")

    @model_validator(mode="after")
    def _sorted_and_unique(self) -> Self:
        paths = [entry.path for entry in self.files]
        if paths != sorted(set(paths), key=lambda path: path.encode()):
            raise ValueError("files are sorted by path, each once")
        weights = [entry.path for entry in self.weights]
        if weights != sorted(set(weights), key=lambda path: path.encode()) or not set(weights) <= set(paths):
            raise ValueError("weights are sorted by path, each once, and each is among the files")
        return self

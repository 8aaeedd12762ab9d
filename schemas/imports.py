"""The import record: what is known of a result that was made elsewhere, for its provenance statement and its modification record.

Nothing in it was seen by this tool while it happened. What the files of the folder say is `imported`, each value with the file
that says it and that file's digest; what was compared or counted here is `measured`.
"""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest, ProjectName
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.values import Timestamp, Value

Producer = Literal["peft", "trl", "axolotl", "unsloth", "llama-factory", "transformers"]
ChosenBy = Literal["user", "name", "digest", "weights"]
# `artifact`: registered as it is; `rewritten`: registered without what names this machine or code; `read`: settings were
# taken from it, and it stays outside; `noted`: only its digest was taken
FileUse = Literal["artifact", "rewritten", "read", "noted"]


class SourceFile(Document):
    """One file of the folder that was offered, and what became of it; `path` is relative to that folder."""

    path: str
    bytes: int = Field(ge=0)
    sha256: Digest
    use: FileUse
    what: str  # what it is, by its name and first bytes


class Finding(Document):
    """Something that a reader has to know of what came in, and that does not keep it out."""

    kind: str  # kebab-case, such as `zero-update`
    text: str
    place: str | None = None  # a tensor, a file or a key


class BaseFit(Document):
    """Why the result can be of its base. `compared` counts the tensors whose place and shape the base has.

    That they fit shows that it can be; nothing in the tensors of an adapter shows that it was.
    """

    chosen_by: ChosenBy
    named: str | None = None  # what the folder calls its base
    named_revision: str | None = None
    compared: int = Field(ge=0)
    not_compared: int = Field(ge=0)  # tensors of kinds that say nothing about a place in the base


RelationAnswer = Literal["made from", "not made from", "cannot tell"]


class BaseRelation(Document):
    """How near the matrices of a whole model are to those of a base. The figures are over a sample of each matrix.

    `made from` names no direction: weights do not show which of two models was there first.
    """

    base: str  # its version here
    weights: Digest
    answer: RelationAnswer
    reason: str
    matrices: int = Field(ge=0)  # of equal name and shape
    equal_share: float | None = None  # of them that are equal
    cosine: float | None = None  # of all elements together
    relative_norm: float | None = None  # ‖W' − W‖ / ‖W‖, Frobenius


class ImportRecord(Document):
    """One import, whole: from where, what it is, which base it fits, what lay beside it, and what was found in it."""

    schema_version: Literal["1"] = "1"
    import_id: str
    producer: Producer
    told_by: str  # what in the folder says so
    method: str | None  # as the folder's configuration says it; null where it does not
    base: BaseReference
    fit: BaseFit
    relations: tuple[BaseRelation, ...] = ()  # of a whole model, to each registered base
    settings: dict[str, Value] = Field(default_factory=dict)
    sources: tuple[SourceFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    parameters: int = Field(ge=0)  # of the tensors of the result
    weights_digest: Digest
    tool_version: str
    started_at: Timestamp
    finished_at: Timestamp
    repository: str | None = None  # `hub:owner/name@commit`; the key is written only where it came from one
    project: ProjectName | None = None  # likewise

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        for name in ("repository", "project"):
            if getattr(self, name) is None:
                value.pop(name, None)
        return value

"""A base model: what pins it (its identity) and what its provider or a person declared about it.

A declared name never decides anything: two bases are the same only if their identities are.
"""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Value, unknown

BaseFormat = Literal["huggingface", "gguf"]
CAUSAL_HEADS = (
    "ForCausalLM",
    "LMHeadModel",
)  # how transformers ends the names of causal language models; GPT-2 has the second


class BaseIdentity(Document):
    """What the base *is*: digests of weights, config, tokenizer, chat template and generation config, and the revision.

    `weights` is the weights digest of `registry/identity/weights.py`: it survives re-sharding. The other digests cover the
    canonical JSON of a JSON file, or the exact bytes of any other file. `revision` is the resolved 40-hex commit when it came
    from a hub, else null. A null digest means that the base has no such file.
    """

    weights: Digest
    config: Digest
    tokenizer: Digest
    chat_template: Digest | None = None
    generation_config: Digest | None = None
    revision: str | None = None


class DeclaredFacts(Document):
    """What only the provider or a person knows, each in its envelope. Licence flags: see `LICENCE_FLAGS`."""

    provider: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    source_url: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    licence: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    licence_flags: Value = Field(default_factory=lambda: unknown("nobody has read the licence for flags"))
    release_date: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    eu_release_date: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    training_tokens: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    training_compute_flop: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    is_gpai: Value = Field(default_factory=lambda: unknown("nobody has decided it"))
    has_systemic_risk: Value = Field(default_factory=lambda: unknown("nobody has decided it"))
    eu_exclusion: Value = Field(default_factory=lambda: unknown("nobody has read the licence for it"))
    acceptable_use_policy: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    upstream_documents: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))
    languages: Value = Field(default_factory=lambda: unknown("not declared when the base was added"))


LICENCE_FLAGS = (
    "non_commercial",
    "no_derivatives",
    "no_redistribution",
    "share_alike",
    "user_threshold",
    "use_restrictions",
    "eu_exclusion",
)


class BaseOrigin(Document):
    """Where the bytes came from. `source` is a hub id or a file name, never a local path."""

    format: BaseFormat
    source: str
    requested_revision: str | None = None
    origin_sha256: Digest | None = None  # of the GGUF file that was converted
    converter: str | None = None  # name and version of what converted it


class BaseRecord(Document):
    """The predicate of a base statement: what a base is, where it came from, and what is declared about it.

    `name` is that under which it was added: equal bytes may be added under several, and what is declared under one says nothing of
    another. It is written only where it is there, so that records of before it was known read back to their own bytes.
    """

    schema_version: Literal["1"] = "1"
    name: str | None = None
    identity: BaseIdentity
    origin: BaseOrigin
    architecture: str
    parameters_total: int
    parameters_matmul: int  # weights that take part in matrix products: linears and output head, no embedding lookup
    context_length: int | None
    facts: DeclaredFacts

    @model_serializer(mode="wrap")
    def _without_absent_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.name is None:
            del value["name"]
        return value

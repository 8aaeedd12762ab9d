"""Identifiers that parse, render and compare: digests, names and references. A bare hex string never travels alone."""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from peft_registry.schemas.errors import InputRefused

_IS_HEX64 = re.compile(r"[0-9a-f]{64}").fullmatch
_PREFIX = "sha256:"
# MLflow allows neither '/' nor ':' in a registered model's name, and '@' is ambiguous in `models:/`; lower case keeps
# a name one folder on file systems that fold case.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?\Z")
# of a project: part of the name of an experiment of MLflow, and of a folder
_PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
_RESERVED_ALIAS = re.compile(r"(?:latest|v[0-9]+)\Z", re.IGNORECASE)


class MalformedDigest(InputRefused):
    what = "{text!q} is not a digest"
    why = "a digest is 'sha256:' followed by 64 lower-case hexadecimal characters"
    fix = "copy it whole, for example from `registry show`"

    text: str


class MalformedReference(InputRefused):
    what = "{text!q} names no version"
    why = "{reason}"
    fix = "write name, name:3, name@alias or sha256:…; `registry list` shows what there is"

    text: str
    reason: str


class PathForReference(MalformedReference):
    what = "{text!q} cannot be the name of a version"
    fix = (
        "register a base with `registry base add SOURCE --name NAME`, or an adapter with `registry import`, and write its name; "
        "`registry list` shows all names"
    )


class AliasNeeded(InputRefused):
    what = "{text!q} names no alias"
    why = "{reason}"
    fix = (
        "write NAME@ALIAS; `registry show NAME` lists the aliases that point at a version, and `registry promote VERSION ALIAS "
        "--explain` checks a version against the policy of an alias"
    )

    text: str
    reason: str


class MalformedName(MalformedReference):
    what = "{text!q} cannot be a name or an alias"
    fix = "write one such as {such_as}"

    such_as: str


class MalformedProject(InputRefused):
    what = "{text!q} cannot be the name of a project"
    why = "it is 1-64 lower-case letters, digits, '.', '_' or '-', and starts and ends with a letter or digit"
    fix = "write one such as support-bot, or leave it out"

    text: str


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """A SHA-256 digest, rendered `sha256:<64 lower-case hex>`."""

    hex: str

    def __post_init__(self) -> None:
        if _IS_HEX64(self.hex) is None:
            raise MalformedDigest(self.hex)

    def __hash__(self) -> int:
        return hash(
            self.hex
        )  # as the dataclass would, without a tuple: a log of a million entries asks millions of times

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest that `sha256:<64 lower-case hex>` means.

        Raises:
            MalformedDigest: the text is not one.
        """
        if not text.startswith(_PREFIX):
            raise MalformedDigest(text)
        try:
            return cls(text[len(_PREFIX) :])
        except MalformedDigest as error:
            raise MalformedDigest(text) from error

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """The digest of these bytes."""
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.hex)

    @property
    def short(self) -> str:
        """For people: `sha256:` and the first 12 characters."""
        return f"sha256:{self.hex[:12]}…"

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # pydantic's hook
        parse = core_schema.no_info_plain_validator_function(cls._validate)
        return core_schema.json_or_python_schema(
            json_schema=parse,
            python_schema=parse,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}

    @classmethod
    def _validate(cls, value: object) -> "Digest":
        if isinstance(value, Digest):
            return value
        if not isinstance(value, str):
            raise ValueError("a digest is a string")
        try:
            return cls.parse(value)
        except MalformedDigest as error:
            raise ValueError(str(error)) from error


def check_name(text: str) -> str:
    """Return `text` if it can name a model: 1-100 of a-z, 0-9, '.', '_', '-', starting and ending with a letter or digit."""
    if not _NAME.match(text):
        raise MalformedName(
            text,
            "a name is 1-100 lower-case letters, digits, '.', '_' or '-', and starts and ends with a letter or digit",
            such_as="polite-replies; `registry list` shows what there is",
        )
    return text


def is_project(text: str) -> bool:
    """Whether `text` can name a project: as a name, of at most 64 characters."""
    return _PROJECT.match(text) is not None


def check_project(text: str) -> str:
    """Return `text` if it can name a project."""
    if not is_project(text):
        raise MalformedProject(text)
    return text


def _project_of_a_record(text: str) -> str:
    try:
        return check_project(text)
    except MalformedProject as error:
        raise ValueError(error.why) from error


ProjectName = Annotated[str, AfterValidator(_project_of_a_record)]
"""The project that a record names, checked when it is read: whoever signed it may have written anything there."""


def check_alias(text: str) -> str:
    """Return `text` if it can be an alias: letters, digits, '_', '-'; `latest` and `v<number>` are reserved by MLflow."""
    if not _ALIAS.match(text) or _RESERVED_ALIAS.match(text):
        raise MalformedName(
            text,
            "an alias is 1-63 letters, digits, '_' or '-'; 'latest' and 'v<number>' are reserved",
            such_as="champion",
        )
    return text


def check_new_alias(text: str) -> str:
    """Return `text` if it may become an alias: one that does not read as the number of a version.

    Reading is more lenient (`check_alias`): homes of earlier releases may hold such aliases.
    """
    check_alias(text)
    if text.isdecimal():
        raise MalformedName(text, "it reads as the number of a version", such_as="champion")
    return text


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user wrote to mean a version: exactly one of a name (with number, alias or neither: the newest) or a digest."""

    name: str | None = None
    number: int | None = None
    alias: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parse `name`, `name:3`, `name@alias` or `sha256:…`.

        Raises:
            PathForReference: it has a slash.
            MalformedReference: the text has none of these shapes.
        """
        if "/" in text:
            raise PathForReference(text, "a name has no slash, and only what is registered can be used")
        if text.startswith("sha256:"):
            try:
                return cls(digest=Digest.parse(text))
            except MalformedDigest as error:
                raise MalformedReference(text, error.why) from error
        if "@" in text:
            name, _, alias = text.partition("@")
            return cls(name=check_name(name), alias=check_alias(alias))
        name, colon, number = text.partition(":")
        if not colon:
            return cls(name=check_name(name))
        if not re.match(r"[1-9][0-9]{0,8}\Z", number):
            raise MalformedReference(text, "a version number is a whole number from 1")
        return cls(name=check_name(name), number=int(number))

    def __str__(self) -> str:
        if self.digest is not None:
            return str(self.digest)
        if self.alias is not None:
            return f"{self.name}@{self.alias}"
        return f"{self.name}:{self.number}" if self.number is not None else f"{self.name}"

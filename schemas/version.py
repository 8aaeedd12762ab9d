"""A registered version as the catalogue shows it, and the outcome of verifying one."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Kind, Layout, Origin

Verdict = Literal["verified", "unverified", "broken"]
# `recorded`: a digest that a signed manifest names, and whose bytes are not here
NodeVerdict = Verdict | Literal["recorded"]
EXIT_CODES: dict[Verdict, int] = {"verified": 0, "unverified": 5, "broken": 6}
CheckStatus = Literal["ok", "failed", "unchecked", "recorded"]
_MOST = 2**31 - 1  # what a column of the catalogue holds on every database


class Version(Frozen):
    """An immutable registered artifact under a model's name. `origin` is what its signed manifest says, once that was read."""

    name: str
    number: int = Field(ge=1, le=_MOST)
    manifest_digest: Digest
    kind: Kind
    layout: Layout
    method: str | None
    weights_digest: Digest
    base_manifest: Digest | None
    base_weights: Digest | None
    size_bytes: int
    key_id: str
    registered_at: str
    log_index: int = Field(ge=0, le=_MOST)
    aliases: tuple[str, ...] = ()
    origin: Origin | None = Field(default=None, exclude_if=lambda origin: origin is None)

    @property
    def label(self) -> str:
        return f"{self.name}:{self.number}"


class Check(Frozen):
    """One line of the verification checklist. `error` is a kebab-case reference, None when ok."""

    step: str
    text: str
    status: CheckStatus
    error: str | None = None
    detail: tuple[str, ...] = ()  # one line for each thing that is wrong


class VerifyOutcome(Frozen):
    """The ten checks and the verdict; `exit_code` is 0, 5 or 6.

    `recalls` are those that stand of it or of what it was made from, where the registry at hand knows any, and `stops` the other
    acts that stop a use. They change no verdict: the bytes are what was signed. A key is written only where there is one.
    """

    subject: str
    manifest_digest: Digest | None
    verdict: Verdict
    checks: tuple[Check, ...]
    recalls: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    stops: tuple[ShownStop, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def failed_text(self) -> str:
        """Every check that failed and each thing that it names, for the sentence of an error."""
        failed = (check for check in self.checks if check.status == "failed")
        return "; ".join(
            f"{check.step}: {check.text}" + "".join(f" ({line})" for line in check.detail) for check in failed
        )

    @property
    def unchecked_text(self) -> str:
        """Every check that could not be made, for the sentence of an error."""
        return "; ".join(f"{check.step}: {check.text}" for check in self.checks if check.status == "unchecked")


class NodeOutcome(Frozen):
    """How one artifact of a lineage verified. `checks` are those with something to say, `sources` what it was made from.

    `label` is `name:3` or a short digest; `digest`, of the manifest, is null where that of a folder could not be read.
    """

    digest: Digest | None
    label: str
    kind: Kind | Literal["unknown"]
    verdict: NodeVerdict
    checks: tuple[Check, ...] = ()
    sources: tuple[Digest, ...] = ()


class LineageOutcome(Frozen):
    """How everything that an artifact was made from verified, sources first and the artifact itself last.

    `verdict` is broken if that of any is, else unverified if that of any is; `exit_code` is 0, 5 or 6.
    """

    subject: str
    manifest_digest: Digest | None
    verdict: Verdict
    nodes: tuple[NodeOutcome, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

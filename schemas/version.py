"""A registered version as the catalog shows it, and the outcome of verifying one."""

from typing import Literal

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Kind, Layout

Verdict = Literal["verified", "unverified", "broken"]
CheckStatus = Literal["ok", "failed", "unchecked", "recorded", "changed"]


class Version(Frozen):
    """An immutable registered artifact under a model's name."""

    name: str
    number: int
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
    log_index: int
    aliases: tuple[str, ...] = ()

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
    """The ten checks and the verdict; `exit_code` is 0, 5 or 6."""

    subject: str
    manifest_digest: Digest | None
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        return {"verified": 0, "unverified": 5, "broken": 6}[self.verdict]

"""Whether an inference server would take a registered version: read from its verified bytes, before anybody starts one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.hashing import DigestCache
from peft_registry.registry.exports.vllm import (
    DEFAULT_MAX_RANK,
    WEIGHTS_NAME,
    require_served_base,
    serving_problems,
)
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME, identify_base
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import manifest_in, stored_manifest
from peft_registry.registry.use_cases.pull import require_verified
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class ServingCheck:
    """What a server would refuse of a version, and what nobody refuses though it matters. No problem: it would be taken."""

    version: Version
    problems: tuple[KnownError, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `export --check vllm --output json` gives."""
        return {
            "version": self.version.label,
            "serves": not self.problems,
            "problems": [
                {"error": problem.reference, "what": problem.what, "why": problem.why, "fix": problem.fix}
                for problem in self.problems
            ],
            "notes": list(self.notes),
        }


def check_for_vllm(
    registry: Registry,
    version: Version,
    *,
    max_rank: int = DEFAULT_MAX_RANK,
    served: Path | None = None,
    trust: TrustPolicy | None = None,
    digests: DigestCache | None = None,
) -> ServingCheck:
    """Everything for which vLLM would refuse a version.

    Args:
        registry: where it is registered.
        version: which.
        max_rank: what the server is started with (`--max-lora-rank`).
        served: the folder of the base that it serves; None to leave its identity out.
        trust: whom the user trusts; None for the trust of the registry.
        digests: what was hashed before.

    Raises:
        VersionStopped, StopsUnknown: no server is handed it.
        PullRefused, PullUnverified: the version does not verify.
        KnownError: the folder of the base cannot be read as one, as `identify_base`.
    """
    require_not_stopped(registry, "serve", version)
    require_verified(verify_version(registry, version, trust=trust, look_for_base=False))
    manifest = stored_manifest(registry, version.manifest_digest)
    tensors = listed_tensors(tuple(file for file in manifest.weights if file.path == WEIGHTS_NAME))
    base = (
        None
        if manifest.base is None or manifest.base.manifest is None
        else manifest_in(registry, manifest.base.manifest)
    )
    problems = serving_problems(
        version.label,
        manifest,
        _config(registry, manifest),
        tensors,
        max_rank=max_rank,
        base=None if base is None else listed_tensors(base.weights),
    )
    if served is not None and manifest.base is not None:
        try:
            require_served_base(version.label, manifest.base.identity, identify_base(served, cache=digests).identity)
        except KnownError as error:
            problems = (*problems, error)
    return ServingCheck(version, problems, _notes(manifest))


def _config(registry: Registry, manifest: Manifest) -> dict[str, Any] | None:
    entry = next((file for file in manifest.files if file.path == ADAPTER_CONFIG_NAME), None)
    if entry is None:
        return None
    value = read_json(registry.store.read_bytes(entry.sha256), what=ADAPTER_CONFIG_NAME)
    return value if isinstance(value, dict) else None


def _notes(manifest: Manifest) -> tuple[str, ...]:
    quantized = None if manifest.base is None else manifest.base.quantisation
    if quantized is None:
        return ()
    return (
        f"it was made on, and evaluated with, its base in 4 bits ({quantized}); on the original base it is another model, "
        "which nobody has evaluated",
    )

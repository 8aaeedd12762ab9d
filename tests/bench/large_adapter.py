"""An adapter with a single large file of weights, registered as a training's result is, and pulled: what verification reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from tests.builders.homes import a_home, adapter_files, add_a_base
from tests.builders.products import product_of

TENSORS = 16
_COLUMNS = 4096


@dataclass(frozen=True)
class PulledAdapter:
    """Where it was made, its home, and its copy; what its copy is verified by."""

    made: Path
    home: Path
    copy: Path
    manifest: Manifest
    trust: TrustPolicy
    now: str


def pulled_large_adapter(folder: Path, size: int) -> PulledAdapter:
    """A version whose weights take `size` bytes, in a home of its own and as a copy."""
    home, made, copy = (folder / part for part in ("home", "made", "pulled"))
    with a_home(home, now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base")
        _write_weights(adapter_files(made) / "adapter_model.safetensors", size)
        product = product_of(registry, made, base)
        version = register_product(registry, product).version
        pull_version(registry, version, copy)
        return PulledAdapter(made, home, copy, product.manifest, registry.trust, registry.clock())


def _write_weights(path: Path, size: int) -> None:
    random = np.random.default_rng(0)
    shape = (max(1, size // TENSORS // 4 // _COLUMNS), _COLUMNS)
    tensors = {f"layer.{number}": random.standard_normal(shape, dtype=np.float32) for number in range(TENSORS)}
    save_file(tensors, path, metadata={"format": "pt"})

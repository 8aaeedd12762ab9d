"""An adapter with a single large file of weights, registered as a training's result is, and pulled: what verification reads."""

import json
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
        _write_weights(adapter_files(made), size)
        product = product_of(registry, made, base)
        version = register_product(registry, product).version
        pull_version(registry, version, copy)
        return PulledAdapter(made, home, copy, product.manifest, registry.trust, registry.clock())


def _write_weights(folder: Path, size: int) -> None:
    random = np.random.default_rng(0)
    rank = max(1, size // TENSORS // 4 // _COLUMNS)
    shapes = {"lora_A": (rank, _COLUMNS), "lora_B": (_COLUMNS, rank)}
    tensors = {
        f"base_model.model.model.layers.{layer}.mlp.down_proj.{side}.weight": random.standard_normal(
            shape, dtype=np.float32
        )
        for layer in range(TENSORS // len(shapes))
        for side, shape in shapes.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "target_modules": ["down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")

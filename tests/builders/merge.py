"""Tiny bases and adapters made with peft itself, for the tests of merging."""

import warnings
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.first_records import MadeResult
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.manifest import BaseReference, Parent
from peft_registry.schemas.merge import Algorithm
from peft_registry.schemas.values import unknown
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.quantization import Quantization
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.fold import fold
from peft_registry.trainer.merge.folder import write_model_folder
from peft_registry.trainer.merge.measures import MergeChanges
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.plan import MergePlan, PlannedAdapter, make_plan
from peft_registry.trainer.merge.tensors import checkpoint_tensors
from tests.builders.homes import NOW
from tests.builders.made import a_run_of, an_input, derived, made_artifact
from tests.builders.products import product_of_result
from tests.builders.records import a_profile, a_run_record, some_compute

CARD = b"---\nlibrary_name: peft\n---\n# adapter\n"
_NOT_COUNTED = unknown("nobody counted it")
UNCOUNTED = some_compute(conservative_flop=_NOT_COUNTED, param_update_flop=_NOT_COUNTED, dense_inputs=None)
"""The compute of a run of which nobody knows how much it was."""


def write_base(model: Any, folder: Path, *, shard_size: str | int = "5GB", dtype: Any = None) -> Path:
    """The model as a Hugging Face folder, in several files where `shard_size` is small."""
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size=shard_size)
    return folder


def load(folder: Path, dtype: Any = None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or torch.float32).eval()


def write_adapter(
    base: Path, folder: Path, config: Any, *, seed: int = 0, scale: float = 0.1, dtype: Any = None
) -> Path:
    """An adapter of peft on that base whose every trained number is moved by noise, so that nothing is a no-op."""
    import torch
    from peft import get_peft_model

    with suppress_warnings():
        wrapped = get_peft_model(load(base, dtype), config)
    torch.manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            noise = torch.randn_like(parameter, dtype=torch.float32) * scale
            parameter.data = (parameter.data.float() + noise).to(parameter.dtype)
            assert noise.abs().max() > 0, name
    with suppress_warnings():
        wrapped.save_pretrained(folder, save_embedding_layers=False)
    return folder


def unmerged(base: Path, adapter: Path, dtype: Any = None) -> Any:
    """Base and adapter as peft runs them."""
    from peft import PeftModel

    with suppress_warnings():
        return PeftModel.from_pretrained(load(base, dtype), adapter).eval()


def plan_of(
    base: Path,
    *adapters: Path,
    algorithm: Algorithm = "linear",
    weights: tuple[float, ...] | None = None,
    densities: tuple[float, ...] | None = None,
    dtype: str | None = None,
    seed: int = 0,
    quantization: Quantization | None = None,
) -> MergePlan:
    tensors = checkpoint_tensors(base)
    names = model_names(base, tensors)
    ingredients = [
        PlannedAdapter(
            Share(folder.name, (weights or (1.0,) * len(adapters))[at], (densities or (1.0,) * len(adapters))[at]),
            folder.name,
            fold(read_adapter(folder), names),
        )
        for at, folder in enumerate(adapters)
    ]
    return make_plan(
        base, tensors, names, ingredients, algorithm=algorithm, seed=seed, dtype=dtype, quantization=quantization
    )


def merge(base: Path, *adapters: Path, into: Path, workers: int | None = None, **choices: Any) -> MergeChanges:
    into.mkdir()
    return write_model_folder(plan_of(base, *adapters, **choices), into, workers=workers)


def register_adapter(
    registry: Registry,
    folder: Path,
    base: Any,
    name: str,
    *,
    method: str = "lora",
    card: bytes = CARD,
    quantisation: str | None = None,
    **of_the_run: Any,
) -> Version:
    """A folder of peft, or for a hybrid two, as a registered adapter of an added base; `of_the_run` are fields of its run."""
    (folder / "README.md").unlink(missing_ok=True)  # of peft; ours is outside the manifest
    manifest = manifest_of_folder(
        folder,
        kind="bundle" if method == "hybrid" else "adapter",
        layout="bundle" if method == "hybrid" else "peft",
        method=method,
        base=BaseReference(
            identity=base.record.identity, manifest=base.version.manifest_digest, quantisation=quantisation
        ),
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    run = a_run_of(manifest, run_id=f"run of {name}", parameters_total=base.record.parameters_total, **of_the_run)
    made = derived(name, manifest, run, base, at=NOW)
    return register_version(registry, made_artifact(name, folder, manifest, run, made, card))


def register_trained(
    registry: Registry,
    folder: Path,
    base: AddedBase,
    name: str,
    *,
    data: tuple[DataIdentity, ...],
    facts: dict[str, Any] | None = None,
    project: str | None = None,
) -> Version:
    """A folder of peft as if a run had trained it on these data: with its run record, and a modification record with the facts."""
    (folder / "README.md").unlink(missing_ok=True)
    reference = BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest)
    manifest = manifest_of_folder(
        folder,
        kind="adapter",
        layout="peft",
        method="lora",
        base=reference,
        data=data,
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    run = a_run_record(
        run_id=f"run of {name}",
        base=reference,
        data=data,
        weights_digest=manifest.weights_digest,
        parameters_total=base.record.parameters_total,
        project=project,
    )
    result = MadeResult(
        name=name,
        record_id=f"run of {name}",
        manifest=manifest,
        production=run,
        base=an_input(base),
        profile=a_profile(),
        facts=facts,
    )
    return register_product(registry, product_of_result(registry, folder, result, card=CARD)).version


class suppress_warnings(warnings.catch_warnings):
    """peft's advice about embeddings and names that transformers has renamed: nothing that a test could act on."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")

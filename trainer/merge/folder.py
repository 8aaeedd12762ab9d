"""A merged model as a folder that `AutoModelForCausalLM` loads: weights by the engine, the rest from the base."""

import shutil
from pathlib import Path

from peft_registry.registry.disk.files import unwritable
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.bases.tensor_files import write_json
from peft_registry.trainer.merge.measures import MergeChanges
from peft_registry.trainer.merge.plan import CONFIG, MergePlan
from peft_registry.trainer.merge.stream import write_merged
from peft_registry.trainer.merge.tensors import INDEX

# what belongs to a model besides its weights: configuration, tokenizer, template, licence and policy texts
_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".spm")
_TEXTS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_OF_AN_ARTIFACT = ("manifest.json", "adapter_config.json", "trust.json")


def write_model_folder(
    plan: MergePlan, folder: Path, *, workers: int | None = None, observe: Observe = ignore
) -> MergeChanges:
    """Write the merged model into the existing, empty folder; equal plans give equal bytes.

    Raises:
        MergedNotFinite, DiskFull, NotWritable, FileChanged: as `write_merged`.
    """
    try:
        for path in companion_files(plan.base):
            target = folder / path.relative_to(plan.base)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target, follow_symlinks=False)
        if plan.config is not None:
            write_json(plan.config, folder / CONFIG)
    except OSError as error:
        raise unwritable(folder, error) from error
    return write_merged(plan, folder, workers=workers, observe=observe)


def companion_files(base: Path) -> tuple[Path, ...]:
    """The files of a base folder that the merged model has too, by name."""
    return tuple(
        sorted(
            path
            for path in (*base.iterdir(), *base.glob("additional_chat_templates/*.jinja"))
            if path.is_file()
            and not path.is_symlink()
            and path.name not in (INDEX, *_OF_AN_ARTIFACT)
            and (path.suffix in _SUFFIXES or path.name.startswith(_TEXTS))
        )
    )

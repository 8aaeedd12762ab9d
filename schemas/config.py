"""The training file: one shape for every method (`registry schema config`).

Canonical keys are these fields. Familiar words of other tools are accepted where one word means one thing
(`schemas/config_aliases.py`) and reported, so that a file can be corrected; everything else unknown is refused.
Scalars are never coerced: `"8"` is not a number, `true` is not an integer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import Field, GetJsonSchemaHandler, create_model, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from peft_registry.schemas.block import Block
from peft_registry.schemas.evaluation import AskedPart
from peft_registry.schemas.identity import Digest, Reference, check_name, check_project
from peft_registry.schemas.methods import BLOCKS, METHOD_NAMES, METHODS
from peft_registry.schemas.methods.declaration import AnyBlock, Goal
from peft_registry.schemas.sizes import bytes_of

if TYPE_CHECKING:  # which names there are is found when the program starts
    MethodName = str
else:
    MethodName = Literal[METHOD_NAMES]
RowFormat = Literal["prompt_completion", "alpaca", "messages", "sharegpt", "classification", "text", "columns"]
ROW_FORMATS: tuple[str, ...] = get_args(RowFormat)
AUTO_VALIDATION_FRACTION = 0.1


class QuantizationBlock(Block):
    """How the frozen base is quantized in memory while training."""

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = True


class OffloadBlock(Block):
    """Where the blocks of the frozen base wait while others compute: on `disk`, or in RAM (`cpu`) beside a GPU.

    `max_memory` of them stays where it is computed, `8GiB` for example; without it only the block that computes is there.
    """

    to: Literal["disk", "cpu"] = "disk"
    max_memory: str = "0"

    @field_validator("max_memory")
    @classmethod
    def _is_an_amount(cls, value: str) -> str:
        bytes_of(value)
        return value


class FileSource(Block):
    """What a data set may say about itself: see `TrainSource`."""

    format: RowFormat | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    rows: int | None = Field(default=None, ge=1)
    template: str | None = Field(default=None, min_length=1)
    labels: tuple[str, ...] = ()
    revision: str | None = Field(default=None, min_length=1)
    split: str | None = Field(default=None, min_length=1)
    subset: str | None = Field(default=None, min_length=1)


class TrainSource(FileSource):
    """A data set and how to read it.

    `path` is a file, relative to the training file, or a data set of the Hub (`owner/name`), whose `revision` is resolved to
    its commit; `split` and `subset` choose among its files. `columns` maps a meaning of the format (`prompt`) to the file's
    column (`question`). `rows` keeps the first n. `template` replaces the format's own text (`{prompt}…{completion}`); the
    format `columns` has no other. `labels` are the names of the numbers 0, 1, … in a column of classes. Without `format` it
    is recognised from the columns.
    """

    path: str = Field(min_length=1)


class ValidationSource(FileSource):
    """What is held out: a seeded `fraction` of the training rows, or a data set of its own with the keys of `data.train`.

    `seed` is the training seed when not given; give it to hold the split still over several training seeds.
    """

    fraction: float | None = Field(default=None, gt=0, lt=1)
    seed: int | None = Field(default=None, ge=0)
    path: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fraction is None) == (self.path is None):
            raise ValueError("give either a fraction or a path")
        if self.fraction is not None and any(getattr(self, key) for key in FileSource.model_fields):
            raise ValueError(
                f"a fraction is taken from the training rows: {', '.join(FileSource.model_fields)} are theirs"
            )
        if self.path is not None and self.seed is not None:
            raise ValueError("a file of its own is read whole: it has no seed")
        return self

    def as_source(self) -> TrainSource:
        """The data set of its own.

        Raises:
            ValueError: this is a fraction.
        """
        if self.path is None:
            raise ValueError("a fraction has no file")
        return TrainSource(path=self.path, **{key: getattr(self, key) for key in FileSource.model_fields})


class DataBlock(Block):
    train: TrainSource
    validation: ValidationSource = Field(default_factory=lambda: ValidationSource(fraction=AUTO_VALIDATION_FRACTION))


class EarlyStoppingBlock(Block):
    """Which weights a run keeps, and when it ends before its last step: those of the look at the held-out rows with the best
    `metric`, and after `patience` looks running without a better one.

    Half of the held-out rows choose so, and the result is reported on the other half. A patience of more looks than there are keeps
    the best and ends nothing. `metric` is any figure that `evaluation.quality` may name.
    """

    patience: int = Field(ge=1)
    metric: Literal["loss", "accuracy", "macro_f1", "exact_match", "f1", "number_match"] = "loss"


class TrainingBlock(Block):
    """The loop. `max_length` is in tokens; `warmup_ratio` is a part of all steps; `max_grad_norm` 0 means no clipping.

    `device` is where it computes: `auto` takes a GPU that torch sees, else the processor; CUDA_VISIBLE_DEVICES says which GPU.
    `dtype` is the number format of the products: `auto` takes bf16 where the device has instructions for it, else fp32.
    With `fp16` the loss is scaled, and a step that overflows all the same changes no weight.
    `packing` fills each place of a batch with rows up to `max_length`, side by side, none seeing another.
    `gradient_checkpointing` computes activations twice instead of keeping them. `sharding: full` spreads weights, gradients and the
    optimizer's state over the processes of `--nproc`, so that none holds the whole base. The state is kept for
    `--resume` at least every `save_minutes` (null for not by time), after every `save_steps` steps where given, and on Ctrl-C; with
    `audit_checkpoints: N` also for good, at the ends of N stretches, which others can run again. The held-out rows are looked at
    before the first step and after every `eval_steps` steps where given: their loss, accuracy and macro-F1 where they have classes,
    and what of `evaluation.quality` is generated. `early_stopping` keeps the best.
    `stop_on_spike` ends a run whose loss went up and stayed up.
    """

    learning_rate: float = Field(default=2e-4, gt=0)
    num_train_epochs: float = Field(default=1.0, gt=0, le=100_000)
    per_device_train_batch_size: int = Field(default=4, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    max_length: int = Field(default=512, ge=2)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    packing: bool = False
    gradient_checkpointing: bool = False
    sharding: Literal["none", "full"] = "none"
    eval_steps: int | None = Field(default=None, ge=1)
    early_stopping: EarlyStoppingBlock | None = None
    save_steps: int | None = Field(default=None, ge=1)
    save_minutes: float | None = Field(default=5.0, gt=0, le=100_000)
    audit_checkpoints: int | None = Field(default=None, ge=1, le=10_000)
    stop_on_spike: bool = True


class RetentionSource(TrainSource):
    """An earlier task or a general text, with the keys of `data.train`, or its path alone; `neutral` is the text that ships.

    Its loss is recorded under `name`, which is the file's own name without its ending where none is given. Of a data set of
    the Hub the test part is read where `split` names no other. With `fraction` and `seed` only those rows are read that a
    training on it, with `validation: {fraction, seed}`, held out. `max_length` is in tokens, rows are cut there.
    """

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]*$")
    fraction: float | None = Field(default=None, gt=0, lt=1)
    seed: int | None = Field(default=None, ge=0)
    max_length: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _split_is_whole(self) -> Self:
        if (self.fraction is None) != (self.seed is None):
            raise ValueError("fraction and seed belong together: they say which rows were held out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:  # what the file holds there; read from JSON, its lists are tuples no more
        if isinstance(value, dict):
            return {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in value.items()}
        return {"path": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core)]}

    @property
    def ships(self) -> bool:
        """Whether it is the neutral text, which needs no file and is measured in every evaluation."""
        return self.path == "neutral"

    @property
    def label(self) -> str:
        """What its figures are called."""
        last = self.path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return self.name or last.partition(".")[0] or last


class TaskSource(Block):
    """A task of lm-evaluation-harness and its rows, asked of the base and of the result once it is trained.

    `data` is a file with the rows that are asked, or a folder with a file for each split, relative to the training file. `fewshot`
    is how many solved examples stand before each question, and `max_new_tokens` the longest answer; without them as the task
    has it. `limit` asks so many of the rows, drawn by `seed`, which every training of the file has in common.
    """

    name: str = Field(min_length=1, max_length=200)
    data: str = Field(min_length=1)
    fewshot: int | None = Field(default=None, ge=0, le=1000)
    max_new_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    limit: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _has_rows(cls, value: Any) -> Any:  # what the file holds there
        if isinstance(value, str):
            raise ValueError(f"a name and its rows, such as {{name: {value[:40]}, data: FOLDER}}: none are downloaded")
        return value


class EvaluationBlock(Block):
    """What is measured on the base and on the adapted model: suites by name, tasks of lm-evaluation-harness, figures on held-out
    rows, and the loss on what the base could do before.

    `quality` names the figures: `loss`, and of rows that have classes `accuracy` and `macro_f1`, all always measured; `exact_match`
    with `f1` of the words, and `number_match` of the number that an answer comes to, for which answers are generated.

    `samples` is how many of the reported rows are answered before and after, shown when the run ends and in `registry report`, and
    kept in the store; no copy for others has them, and none are kept by default.

    `half` of each suite is asked, `development` or `test`; null for the whole; `screen` for a few fixed items, which give no
    verdict; `auto` for the development half where that is less work than the training, else for the screen. Tasks are asked of all
    their rows whatever it is. `guard_text` is a file of passages, one a line, whose loss shows lost capability, relative to the
    training file, and `guard_sha256` the digest that it must have; null for the sentences that ship.
    """

    bias: tuple[str, ...] = ("house",)
    half: AskedPart | None = "auto"
    guard_text: str | None = Field(default=None, min_length=1)
    guard_sha256: Digest | None = None
    quality: tuple[str, ...] = ("loss",)
    samples: int = Field(default=0, ge=0, le=100)
    retention: tuple[RetentionSource, ...] = ()
    tasks: tuple[TaskSource, ...] = ()

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, value: tuple[TaskSource, ...]) -> tuple[TaskSource, ...]:
        names = [task.name for task in value]
        if len(set(names)) < len(names):
            raise ValueError("each task once: its figures are found by its name")
        return value

    @field_validator("retention")
    @classmethod
    def _names_differ(cls, value: tuple[RetentionSource, ...]) -> tuple[RetentionSource, ...]:
        labels = [source.label for source in value]
        if len(set(labels)) < len(labels):
            raise ValueError("each has a name of its own: give `name` where files are called alike")
        return value


class _Head(Block):
    """What stands at the head of the file."""

    name: str
    project: str | None = None
    base: str
    continue_from: str | None = None
    method: MethodName


if TYPE_CHECKING:  # of the blocks' fields pydantic alone knows: `block` gives each with its type
    _WithBlocks = _Head
else:
    _WithBlocks = create_model(
        "_WithBlocks", __base__=_Head, **{name: (kind, Field(default_factory=kind)) for name, kind in BLOCKS.items()}
    )


class TrainingFile(_WithBlocks):
    """A training run, asked for. `base` is a name, name:version, name@alias or sha256:…; the others are blocks.

    `continue_from`, written like `base`, is an adapter of the same method on the same base, or with `full` a model that
    was made of it: training begins at its weights. `project` is what the result is for, in a team's own words: versions are
    found by it, and MLflow shows those of a project together. It decides nothing of the result.
    """

    quantization: QuantizationBlock | None = None
    offload: OffloadBlock | None = None
    data: DataBlock
    training: TrainingBlock = Field(default_factory=TrainingBlock)
    evaluation: EvaluationBlock = Field(default_factory=EvaluationBlock)
    goals: tuple[Goal, ...] = ()
    facts: str | None = None

    @model_validator(mode="after")
    def _is_quantised_where_it_must_be(self) -> Self:
        if METHODS[self.method].needs_quantized_base and self.quantization is None:
            raise ValueError(f"{self.method} trains on a quantised base: quantization says how")
        return self

    def block(self, kind: type[AnyBlock]) -> AnyBlock:
        """The settings of a method, by the class of its block."""
        found = getattr(self, _NAMES[kind])
        assert isinstance(found, kind)
        return found

    @property
    def method_blocks(self) -> tuple[Block, ...]:
        """The settings that the file's method reads, of other methods first."""
        return tuple(getattr(self, name) for name in METHODS[self.method].blocks)

    def setting(self, name: str) -> Any:  # any JSON value
        """The setting of this name in the first block that the file's method reads and that has one; None where none has."""
        return next((getattr(block, name) for block in self.method_blocks if name in type(block).model_fields), None)

    @property
    def is_quantized(self) -> bool:
        """Whether the frozen base is held in few bits while it is trained on."""
        return self.quantization is not None

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are spread over the processes that train."""
        return self.training.sharding != "none"

    @property
    def trains_biases(self) -> bool:
        """Whether biases of the base are trained with the adapter."""
        return self.setting("bias") not in (None, "none")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are tried; more than one only where a method starts from something that training does not undo."""
        usual = METHODS[self.method].starts if self.continue_from is None else 1
        count: int = self.setting("seeds") or usual
        return tuple(self.training.seed + index for index in range(count))

    @property
    def chooses(self) -> bool:
        """Whether the result is chosen among several by held-out rows, so that it is reported on others."""
        return len(self.seeds) > 1 or self.training.early_stopping is not None

    @property
    def virtual_tokens(self) -> int:
        """How many tokens stand in front of each text."""
        count: int = self.setting("num_virtual_tokens") or 0
        return count

    @field_validator("name")
    @classmethod
    def _names_a_model(cls, value: str) -> str:
        return check_name(value)

    @field_validator("project")
    @classmethod
    def _names_a_project(cls, value: str | None) -> str | None:
        return None if value is None else check_project(value)

    @field_validator("base", "continue_from")
    @classmethod
    def _refers_to_a_version(cls, value: str | None) -> str | None:
        if value is not None:
            Reference.parse(value)
        return value


_NAMES: Mapping[type[Block], str] = {kind: name for name, kind in BLOCKS.items()}
# of `evaluation`: which half of each suite is scored, which text measures lost capability, and which tasks are asked
_SCOPE = ("half", "guard_text", "guard_sha256", "tasks")


def config_identity(config: TrainingFile) -> dict[str, Any]:
    """What of the file decides the result, in plain JSON types: no name, no project, no reference, no path, no unused block.

    Nor the device, how often the state is kept and for whom, when the watchdog barks or where the base waits; nor how often the
    held-out rows are looked at, unless these looks choose.

    The base and the data are bound by their own identities, not by what they are called; what a run continues from, by the
    digest that its reference was resolved to before.
    """
    used = _used(config)
    for key in ("device", "save_steps", "save_minutes", "audit_checkpoints", "stop_on_spike"):
        used["training"].pop(key, None)
    if config.training.early_stopping is None:
        used["training"].pop("eval_steps", None)
    used.pop("project", None)
    for key in ("name", "base", "facts", "offload"):
        del used[key]
    for part in ("train", "validation"):
        used["data"][part].pop("path")
    for entry, source in zip(used["evaluation"]["retention"], config.evaluation.retention, strict=True):
        entry["name"] = source.label
        entry.pop("path")
    for entry in used["evaluation"].get("tasks", ()):
        entry.pop("data")
    if config.evaluation.guard_text is not None:
        used["evaluation"]["guard_text"] = base_name(config.evaluation.guard_text)
    return used


def training_identity(config: TrainingFile) -> dict[str, Any]:
    """What of the file decides how it trains: `config_identity` without what is asked afterwards.

    A stopped run may be resumed with another half, another guard text or other tasks.
    """
    identity = config_identity(config)
    for key in _SCOPE:
        identity["evaluation"].pop(key, None)
    return identity


def seedless_identity(config: TrainingFile) -> dict[str, Any]:
    """What trainings that differ in their seed alone have in common: no seed, none of the split, and not what is measured."""
    identity = config_identity(config)
    del identity["training"]["seed"], identity["evaluation"]
    identity["data"]["validation"].pop("seed")
    return identity


def config_record(config: TrainingFile) -> dict[str, Any]:
    """The resolved file for the run record, in plain JSON types: paths cut to base names, unused blocks left out."""
    used = _used(config)
    for part in ("train", "validation"):
        used["data"][part]["path"] = base_name(used["data"][part]["path"])
    for entry in used["evaluation"]["retention"]:
        entry["path"] = base_name(entry["path"])
    for entry in used["evaluation"].get("tasks", ()):
        entry["data"] = base_name(entry["data"])
    if config.evaluation.guard_text is not None:
        used["evaluation"]["guard_text"] = base_name(config.evaluation.guard_text)
    used["facts"] = base_name(used["facts"])
    del used["training"]["save_minutes"]  # decides nothing, and no record that was signed before has it
    if config.training.audit_checkpoints is None:
        del used["training"]["audit_checkpoints"]  # likewise
    if config.training.device == "auto":
        del used["training"]["device"]  # likewise; the record of the machine has the one that was taken
    return used


def base_name(path: str | None) -> str | None:
    """The last component of a path written with either slash."""
    return None if path is None else path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _used(config: TrainingFile) -> dict[str, Any]:
    unused = BLOCKS.keys() - set(METHODS[config.method].blocks)
    # no record of a training without one has these keys
    unused |= {key for key in ("continue_from", "project") if getattr(config, key) is None}
    used = config.model_dump(mode="json", exclude=unused)
    if "lora" in used and not used["lora"]["target_parameters"]:
        del used["lora"]["target_parameters"]  # no file and no record of an earlier release has it
    for key in ("eval_steps", "early_stopping"):
        if used["training"][key] is None:
            del used["training"][key]  # likewise
    if not config.is_sharded:
        del used["training"]["sharding"]  # likewise
    for key in _SCOPE:
        if used["evaluation"][key] in (None, []):
            del used["evaluation"][key]  # likewise
    if not used["evaluation"]["samples"]:
        del used["evaluation"]["samples"]  # likewise
    return used

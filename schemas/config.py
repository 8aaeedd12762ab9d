"""The training file: one shape for every method (`registry schema config`).

Canonical keys are these fields. Familiar words of other tools are accepted where one word means one thing
(`schemas/config_aliases.py`) and reported, so that a file can be corrected; everything else unknown is refused.
Scalars are never coerced: `"8"` is not a number, `true` is not an integer.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import Half
from peft_registry.schemas.identity import Digest, Reference, check_name, check_project
from peft_registry.schemas.sizes import bytes_of

MethodName = Literal[
    "full", "lora", "lora_pro", "qlora", "bottleneck", "ia3", "prompt_tuning", "prefix_tuning", "hybrid"
]
METHOD_NAMES: tuple[str, ...] = get_args(MethodName)
RowFormat = Literal["prompt_completion", "alpaca", "messages", "sharegpt", "classification", "text", "columns"]
ROW_FORMATS: tuple[str, ...] = get_args(RowFormat)
Goal = Literal["latency", "bias_mitigation", "many_tasks"]
GOALS: tuple[Goal, ...] = get_args(Goal)
AUTO_VALIDATION_FRACTION = 0.1
MAX_NUMBER = 1e30  # a product with a weight still fits 32 bits, which end at 3.4e38
PROMPT_SEEDS = 5  # starts of prompt tuning; its result depends on them
MAX_REPETITIONS, MAX_GROUPS = 3, 4  # in one regular expression over module names
_REPETITION = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
# Used where the file names none. Each is a published or measured value for its method: see the table of methods.
DEFAULT_LEARNING_RATES: Mapping[MethodName, float] = {
    "full": 2e-5,
    "lora": 2e-4,
    "lora_pro": 1e-3,
    "qlora": 2e-4,
    "bottleneck": 1e-4,
    "ia3": 3e-3,
    "prompt_tuning": 3e-2,
    "prefix_tuning": 1e-2,
    "hybrid": 2e-4,
}


class Block(Frozen):
    """A part of the file; strict, so that a value of the wrong type is refused and not converted.

    Its numbers can be recorded (whole ones are exact in every JSON reader) and computed with in 32 bits.
    """

    model_config = ConfigDict(strict=True)

    @field_validator("*")
    @classmethod
    def _can_be_used(cls, value: Any) -> Any:  # any field
        for number in value.values() if isinstance(value, dict) else (value,):
            if isinstance(number, int) and abs(number) >= 2**53:
                raise ValueError("a whole number below 2^53")
            if isinstance(number, float) and abs(number) > MAX_NUMBER:
                raise ValueError(f"a number of at most {MAX_NUMBER:g}")
        return value


class LoraBlock(Block):
    """LoRA (Hu et al. 2021): W' = W + s·B·A with s = alpha/r, or alpha/√r with `use_rslora`.

    `rank_pattern` and `alpha_pattern` map a module name, or a regular expression over names, to its own r and alpha.
    `target_parameters` are weights that are no layers, such as the experts of a mixture that are one tensor, by the end of their
    name: `mlp.experts.gate_up_proj`. `init: pissa` starts from the principal components of each weight (Meng et al. 2024).
    `loraplus_lr_ratio` is the learning rate of B over that of A (LoRA+, Hayou et al. 2024); null for the same. `qlora`,
    `lora_pro` and `hybrid` read this block too.
    """

    r: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    exclude_modules: tuple[str, ...] = ()
    target_parameters: tuple[str, ...] = ()
    rank_pattern: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init: Literal["kaiming", "pissa"] = "kaiming"
    loraplus_lr_ratio: float | None = Field(default=None, gt=0, le=1e6)

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _patterns_end(cls, value: dict[str, Any]) -> dict[str, Any]:
        for pattern in value:
            check_pattern(pattern)
        return value

    @field_validator("target_modules")
    @classmethod
    def _targets_something(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("names at least one module")
        return value


class LoraProBlock(Block):
    """LoRA-Pro (Wang et al. 2024): how its optimizer follows the full gradient; ranks and targets are those of `lora`.

    `efficient`, the default, corrects the gradients of A and B and needs LoRA's memory; `full`, which is what the code of its
    authors does, keeps Adam's moments of the equivalent gradient: 8 bytes for every weight of an adapted matrix, and full
    fine-tuning's learning rate. What was measured of one says nothing of the other.
    """

    form: Literal["efficient", "full"] = "efficient"


class Ia3Block(Block):
    """IA3 (Liu et al. 2022): learned scales of keys, values and of the MLP's inner activations.

    `auto` takes the modules of the paper where the architecture's names for them are known. `feedforward_modules` are
    those among the targets whose input is scaled instead of their output.
    """

    target_modules: Literal["auto"] | tuple[str, ...] = "auto"
    feedforward_modules: Literal["auto"] | tuple[str, ...] = "auto"


class BottleneckBlock(Block):
    """Small non-linear layers (Houlsby et al. 2019; Pfeiffer et al. 2020; He et al. 2021): h ← h + s·W_up·σ(W_down·x + b) + b.

    `houlsby` sits behind attention and MLP, `pfeiffer` behind the MLP, both reading its output; `parallel` reads the MLP's
    input. `size` is the width of the inner layer, in features. `auto` finds the modules by their usual names.
    """

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    size: int = Field(default=64, ge=1)
    activation: Literal["relu", "gelu", "silu"] = "relu"
    scale: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["auto"] | tuple[str, ...] = "auto"


class PromptTuningBlock(Block):
    """Prompt tuning (Lester et al. 2021): `num_virtual_tokens` learned embeddings in front of each text.

    `init`: embeddings of tokens drawn from the vocabulary, those of `init_text`, or random ones of the same spread. `seeds`
    is how many starts are trained, the one with the lowest validation loss kept, and reported on rows that chose nothing;
    null for 5, and for 1 in `hybrid`, which reads this block too.
    """

    num_virtual_tokens: int = Field(default=20, ge=1)
    init: Literal["sample_vocab", "text", "random"] = "sample_vocab"
    init_text: str | None = Field(default=None, min_length=1)
    seeds: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _text_where_it_is_used(self) -> Self:
        if (self.init == "text") != (self.init_text is not None):
            raise ValueError("init: text and init_text belong together")
        return self


class PrefixTuningBlock(Block):
    """Prefix tuning (Li and Liang 2021): learned keys and values in front of each layer.

    `init`: those that the base computes for tokens drawn from its vocabulary, or `random`, peft's own start. `projection`
    trains them through an MLP of `encoder_hidden_size` features (the base's hidden size when not given), of which only the
    result is kept.
    """

    num_virtual_tokens: int = Field(default=20, ge=1)
    init: Literal["sample_vocab", "random"] = "sample_vocab"
    projection: bool = False
    encoder_hidden_size: int | None = Field(default=None, ge=1)


class HybridBlock(Block):
    """Prompt tuning and LoRA trained together; their settings are those of `prompt_tuning` and `lora`.

    `prompt_learning_rate` is that of the embeddings; `training.learning_rate` is LoRA's.
    """

    prompt_learning_rate: float = Field(default=3e-2, gt=0)


class FullBlock(Block):
    """Full fine-tuning. `freeze`: parameters whose name contains one of these texts are not trained."""

    freeze: tuple[str, ...] = ()


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


class TrainingBlock(Block):
    """The loop. `max_length` is in tokens; `warmup_ratio` is a part of all steps; `max_grad_norm` 0 means no clipping.

    `packing` fills each place of a batch with rows up to `max_length`, side by side, none seeing another.
    `gradient_checkpointing` computes activations twice instead of keeping them. The state is kept for
    `--resume` at least every `save_minutes` (null for not by time), after every `save_steps` steps where given, and on
    Ctrl-C. `stop_on_spike` ends a run whose loss went up and stayed up.
    """

    learning_rate: float = Field(default=2e-4, gt=0)
    num_train_epochs: float = Field(default=1.0, gt=0, le=100_000)
    per_device_train_batch_size: int = Field(default=4, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    max_length: int = Field(default=512, ge=2)
    dtype: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    packing: bool = False
    gradient_checkpointing: bool = False
    save_steps: int | None = Field(default=None, ge=1)
    save_minutes: float | None = Field(default=5.0, gt=0, le=100_000)
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


class EvaluationBlock(Block):
    """What is measured on the base and on the adapted model: suites by name, `loss` on held-out rows, and the loss on what
    the base could do before.

    `half` of each suite is asked, `development` or `test`; null for the whole. `guard_text` is a file of passages, one a line,
    whose loss shows lost capability, relative to the training file, and `guard_sha256` the digest that it must have; null for
    the sentences that ship.
    """

    bias: tuple[str, ...] = ("house",)
    half: Half | None = None
    guard_text: str | None = Field(default=None, min_length=1)
    guard_sha256: Digest | None = None
    quality: tuple[str, ...] = ("loss",)
    retention: tuple[RetentionSource, ...] = ()

    @field_validator("retention")
    @classmethod
    def _names_differ(cls, value: tuple[RetentionSource, ...]) -> tuple[RetentionSource, ...]:
        labels = [source.label for source in value]
        if len(set(labels)) < len(labels):
            raise ValueError("each has a name of its own: give `name` where files are called alike")
        return value


class TrainingFile(Block):
    """A training run, asked for. `base` is a name, name:version, name@alias or sha256:…; the others are blocks.

    `continue_from`, written like `base`, is an adapter of the same method on the same base, or with `full` a model that
    was made of it: training begins at its weights. `project` is what the result is for, in a team's own words: versions are
    found by it, and MLflow shows those of a project together. It decides nothing of the result.
    """

    name: str
    project: str | None = None
    base: str
    continue_from: str | None = None
    method: MethodName
    lora: LoraBlock = Field(default_factory=LoraBlock)
    lora_pro: LoraProBlock = Field(default_factory=LoraProBlock)
    ia3: Ia3Block = Field(default_factory=Ia3Block)
    bottleneck: BottleneckBlock = Field(default_factory=BottleneckBlock)
    prompt_tuning: PromptTuningBlock = Field(default_factory=PromptTuningBlock)
    prefix_tuning: PrefixTuningBlock = Field(default_factory=PrefixTuningBlock)
    hybrid: HybridBlock = Field(default_factory=HybridBlock)
    full: FullBlock = Field(default_factory=FullBlock)
    quantization: QuantizationBlock | None = None
    offload: OffloadBlock | None = None
    data: DataBlock
    training: TrainingBlock = Field(default_factory=TrainingBlock)
    evaluation: EvaluationBlock = Field(default_factory=EvaluationBlock)
    goals: tuple[Goal, ...] = ()
    facts: str | None = None

    @model_validator(mode="after")
    def _qlora_is_quantised(self) -> Self:
        if self.method == "qlora" and self.quantization is None:
            raise ValueError("qlora trains on a quantised base: quantization says how")
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are tried; more than one only where a method starts from something that training does not undo."""
        usual = PROMPT_SEEDS if self.continue_from is None else 1
        count = {"prompt_tuning": self.prompt_tuning.seeds or usual, "hybrid": self.prompt_tuning.seeds or 1}
        return tuple(self.training.seed + index for index in range(count.get(self.method, 1)))

    @property
    def virtual_tokens(self) -> int:
        """How many tokens stand in front of each text."""
        blocks = METHOD_BLOCKS.get(self.method, ())
        if "prompt_tuning" in blocks:
            return self.prompt_tuning.num_virtual_tokens
        return self.prefix_tuning.num_virtual_tokens if "prefix_tuning" in blocks else 0

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


# The blocks that each method reads; a file may hold the blocks of several, only those of `method` count.
METHOD_BLOCKS: Mapping[MethodName, tuple[str, ...]] = {
    "full": ("full",),
    "lora": ("lora",),
    "lora_pro": ("lora", "lora_pro"),
    "qlora": ("lora",),
    "bottleneck": ("bottleneck",),
    "ia3": ("ia3",),
    "prompt_tuning": ("prompt_tuning",),
    "prefix_tuning": ("prefix_tuning",),
    "hybrid": ("lora", "prompt_tuning", "hybrid"),
}
# of `evaluation`: which half of each suite is scored, and which text measures lost capability
_SCOPE = ("half", "guard_text", "guard_sha256")
BLOCK_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for names in METHOD_BLOCKS.values() for name in names))


def config_identity(config: TrainingFile) -> dict[str, Any]:
    """What of the file decides the result, in plain JSON types: no name, no project, no reference, no path, no unused
    block, and not how often the state is kept, when the watchdog barks or where the base waits.

    The base and the data are bound by their own identities, not by what they are called; what a run continues from, by the
    digest that its reference was resolved to before.
    """
    used = _used(config)
    for key in ("save_steps", "save_minutes", "stop_on_spike"):
        del used["training"][key]
    used.pop("project", None)
    for key in ("name", "base", "facts", "offload"):
        del used[key]
    for part in ("train", "validation"):
        used["data"][part].pop("path")
    for entry, source in zip(used["evaluation"]["retention"], config.evaluation.retention, strict=True):
        entry["name"] = source.label
        entry.pop("path")
    if config.evaluation.guard_text is not None:
        used["evaluation"]["guard_text"] = base_name(config.evaluation.guard_text)
    return used


def training_identity(config: TrainingFile) -> dict[str, Any]:
    """What of the file decides how it trains: `config_identity` without what of the suites is asked afterwards.

    A stopped run may be resumed with another half or another guard text.
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
    if config.evaluation.guard_text is not None:
        used["evaluation"]["guard_text"] = base_name(config.evaluation.guard_text)
    used["facts"] = base_name(used["facts"])
    del used["training"]["save_minutes"]  # decides nothing, and no record that was signed before has it
    return used


def check_pattern(pattern: str) -> None:
    """Raise unless this is a regular expression whose match with a name always ends quickly.

    Backtracking takes exponential time where a group that can match in several ways is repeated, and n^k steps for k
    repetitions in a row.

    Raises:
        ValueError: it is not a regular expression, or its match might never end.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"module names, or regular expressions over them: {error}") from error
    if len(_REPETITION.findall(pattern)) > MAX_REPETITIONS or pattern.count("(") > MAX_GROUPS:
        raise ValueError(f"regular expressions with at most {MAX_REPETITIONS} repetitions and {MAX_GROUPS} groups")
    if _REPEATED_GROUP.search(pattern):
        raise ValueError("regular expressions that repeat no group")


def base_name(path: str | None) -> str | None:
    """The last component of a path written with either slash."""
    return None if path is None else path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _used(config: TrainingFile) -> dict[str, Any]:
    unused = set(BLOCK_NAMES) - set(METHOD_BLOCKS.get(config.method, ()))
    # no record of a training without one has these keys
    unused |= {key for key in ("continue_from", "project") if getattr(config, key) is None}
    used = config.model_dump(mode="json", exclude=unused)
    if "lora" in used and not config.lora.target_parameters:
        del used["lora"]["target_parameters"]  # no file and no record of an earlier release has it
    for key in _SCOPE:
        if used["evaluation"][key] is None:
            del used["evaluation"][key]  # likewise
    return used

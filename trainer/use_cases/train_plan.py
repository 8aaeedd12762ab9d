"""The first phase of a training: everything that can refuse it, before a byte of the base is read.

What comes back is a plan, and the work that follows asks no more questions. `registry estimate` and `train --dry-run` take the
same path, so that they refuse what the run would refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.inheritance import inherited_data
from peft_registry.registry.compliance.recorded_result import modifier_section
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import checked_profile
from peft_registry.registry.intake.facts_file import located_facts, read_checked_facts
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.use_cases.register import require_name
from peft_registry.schemas.config_aliases import canonical_key
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Part
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.declaration import TrainableMethod
from peft_registry.schemas.modification import BaseUsed, DataUsed, UpstreamTerms
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.run import KeptRun
from peft_registry.schemas.sharding import check_processes
from peft_registry.schemas.values import measured
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.offload import require_place
from peft_registry.trainer.data.dataset import require_room
from peft_registry.trainer.evaluation.scope import EvaluationScope, scope_of_file
from peft_registry.trainer.inputs.base import recorded_base, usable_base
from peft_registry.trainer.inputs.evaluation import load_suites, report_power
from peft_registry.trainer.inputs.guards import (
    collect_absent,
    require_data_not_stopped,
    require_readable_rows,
    warnings_about,
)
from peft_registry.trainer.inputs.layers import layers_of_base, require_layers
from peft_registry.trainer.inputs.problems import Problems
from peft_registry.trainer.inputs.start import pinned, require_same_settings
from peft_registry.trainer.inputs.training_file import LoadedConfig, load_training_file, parse_override
from peft_registry.trainer.machine.environment import require_device
from peft_registry.trainer.methods import check_combinations
from peft_registry.trainer.runs.launch import Launch
from peft_registry.trainer.runs.resume import require_same

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.suites import LoadedSuite


class OverrideWithoutEffect(InputRefused):
    what = "{text!q} would change nothing"
    why = "`{block}` is a block of {readers!l}, and what is trained is {methods!l}"
    fix = "leave it out, or choose its method: method={readers[0]}"

    text: str
    block: str
    readers: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training that nothing refuses.

    Attributes:
        path: of the training file.
        overrides: of the command line.
        loaded: the file, with the digest of the starting adapter in the place of its name.
        method: the row of its method.
        base: the registered base; its bytes are still to be checked.
        start: the adapter that training continues from; None where it starts from the base.
        facts: what people declare, of the right form for the modification record; None without a facts file.
        scope: which half of each suite is scored, and which text measures lost capability.
        warnings: reference and text of each, to be told and recorded.
        launch: the processes to train in.
    """

    path: Path
    overrides: tuple[str, ...]
    loaded: LoadedConfig
    method: TrainableMethod
    base: Version
    start: Version | None
    facts: dict[str, Any] | None
    scope: EvaluationScope
    warnings: tuple[tuple[str, str], ...]
    launch: Launch


def plan_training(
    registry: Registry,
    config_path: Path,
    overrides: tuple[str, ...] = (),
    *,
    resume: KeptRun | None = None,
    launch: Launch | None = None,
    is_arm: bool = False,
    fetches: bool = True,
    runs_here: bool = True,
    observe: Observe = ignore,
) -> TrainingPlan:
    """Check what the file asks for, and find what it names.

    Args:
        registry: holds base, starting adapter and pinned suites; nothing is written.
        config_path: the training file.
        overrides: such as `training.seed=8`.
        resume: the stopped run that is to be resumed.
        launch: the processes to train in; None for this one, or as many as the resumed run had.
        is_arm: whether a comparison trains it: its overrides may be for the methods of other arms.
        fetches: whether the Hub is asked for texts to retain.
        runs_here: whether this machine must have the devices; False where it is asked what another one needs.
        observe: hears of data that is fetched, and of what a comparison over each suite can show, where the file says which part is
            asked; of an arm the comparison says it.

    Raises:
        KnownError: the only thing that is wrong, under its own reference.
        SeveralProblems: everything that is wrong, where it is more.
    """
    loaded = load_training_file(config_path, overrides)  # without it there is nothing else to check
    config = loaded.config
    problems = Problems()
    if not is_arm:
        problems.attempt(lambda: require_effect(overrides, (config.method,)))
    method = problems.attempt(lambda: check_combinations(config))
    base = problems.attempt(lambda: usable_base(registry, config.base))
    if runs_here:
        problems.attempt(lambda: require_device(config.training.device))
        problems.attempt(lambda: require_place(config))
    profile = problems.attempt(lambda: checked_profile(registry))
    pins = None if base is None else problems.attempt(lambda: pinned(registry, loaded, base))
    start = None if pins is None else pins[1]
    record = None if base is None else problems.attempt(lambda: required_base(registry, base).record)
    layers = None
    if base is not None and record is not None:
        layers = problems.attempt(partial(layers_of_base, registry, base, record))
    if start is not None:
        problems.attempt(partial(require_same_settings, registry, start, config, layers))
    is_start_known = config.continue_from is None or pins is not None
    facts = _facts(problems, registry, loaded, base=base, start=start, profile=profile, is_start_known=is_start_known)
    problems.attempt(lambda: require_name(registry, config.name, is_base=False))
    if pins is not None:
        loaded = pins[0]
    scope = problems.attempt(lambda: scope_of_file(config.evaluation, loaded.folder))
    half = None if scope is None else scope.half
    suites = _suites(problems, registry, loaded, half, observe, fetches=fetches)
    if scope is not None:
        problems.attempt(scope.guard)
    problems.attempt(lambda: require_readable_rows(loaded))
    problems.attempt(lambda: require_data_not_stopped(registry, loaded))
    if record is not None:
        problems.attempt(partial(require_room, config, record.context_length))
    if layers is not None:
        problems.attempt(partial(require_layers, layers, config))
    if resume is not None and base is not None:
        problems.attempt(lambda: require_same(resume, loaded.config, base.manifest_digest))
    launch = launch or Launch(nproc=resume.processes if resume else 1)
    problems.attempt(lambda: launch.require_possible(began_in=None if resume is None else resume.processes))
    problems.attempt(lambda: check_processes(config, nproc=launch.nproc, nnodes=launch.nnodes))
    problems.raise_if_any()
    if not is_arm and config.evaluation.half != "auto":
        report_power(suites, observe)
    assert method is not None and base is not None and scope is not None, "what was not found was raised"
    return TrainingPlan(
        path=config_path,
        overrides=overrides,
        loaded=loaded,
        method=method,
        base=base,
        start=start,
        facts=facts,
        scope=scope,
        warnings=(*(("config", note) for note in loaded.notes), *warnings_about(loaded.config)),
        launch=launch,
    )


def require_effect(overrides: tuple[str, ...], methods: Sequence[str]) -> None:
    """Raise unless each override is of the whole file, or of a block that one of the methods reads.

    The file itself may hold the blocks of several methods: `registry compare` trains one arm of each.

    Raises:
        OverrideWithoutEffect: it sets a block that none of them reads.
    """
    for text in overrides:
        # a familiar word such as `lora_rank` stands for a key of a block too
        block = canonical_key(parse_override(text)[0]).split(".")[0]
        readers = tuple(method.name for method in METHODS.values() if block in method.blocks)
        if readers and not set(readers) & set(methods):
            raise OverrideWithoutEffect(text, block, readers, tuple(methods))


def _facts(
    problems: Problems,
    registry: Registry,
    loaded: LoadedConfig,
    *,
    base: Version | None,
    start: Version | None,
    profile: OrganisationProfile | None,
    is_start_known: bool,
) -> dict[str, Any] | None:
    """The facts file, held against what the record will have of base, terms and data, as far as those were found.

    Without such a file nothing of them is looked up.
    """
    path = loaded.config.facts
    used = None
    if path is not None and base is not None:
        used = problems.attempt(lambda: _recorded_base(registry, base, start))
    return problems.attempt(
        lambda: read_checked_facts(
            located_facts(path, loaded.folder),
            at=registry.clock(),
            bases=None if used is None else [used[0]],
            upstream=None if used is None else [used[1]],
            data=_data_names(registry, loaded, start) if path is not None and is_start_known else None,
            modifier=None if profile is None else modifier_section(profile),
        )
    )


def _suites(
    problems: Problems,
    registry: Registry,
    loaded: LoadedConfig,
    half: Part | None,
    observe: Observe,
    *,
    fetches: bool,
) -> "list[LoadedSuite]":
    """The suites that the file asks for; each data file that is absent and each question that nothing answers is a problem."""
    suites: list[LoadedSuite] = []

    def load(name: str) -> "LoadedSuite":
        suites.extend(load_suites(registry, [name], half=half))
        return suites[-1]

    collect_absent(problems, loaded, load, observe, fetches=fetches)
    return suites


def _recorded_base(registry: Registry, base: Version, start: Version | None) -> tuple[BaseUsed, UpstreamTerms]:
    """The base and its terms as the record will have them, with what the record of the starting adapter answers of it."""
    return recorded_base(registry, base, () if start is None else ancestry_of(registry, [start]))


def _data_names(registry: Registry, loaded: LoadedConfig, start: Version | None) -> frozenset[str] | None:
    """What data will be called in the record; None where one of the files is fetched and gets its name then."""
    data = loaded.config.data
    paths = [loaded.resolve(path) for path in (data.train.path, data.validation.path) if path is not None]
    if not all(path.is_file() for path in paths):
        return None
    own = frozenset(path.name for path in paths)
    if start is None:
        return own
    digests = [DataUsed(name=measured(path.name), digest=measured(str(hash_file(path).sha256))) for path in paths]
    inherited = inherited_data(ancestry_of(registry, [start]), digests)
    return own | {str(section.name.value) for section in inherited}

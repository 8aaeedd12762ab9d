"""Going on with a run that was stopped: only with the configuration, the base and the data that it had."""

from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import TrainingBlock, TrainingFile, training_identity
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Warned
from peft_registry.schemas.run import KeptRun
from peft_registry.trainer.machine.environment import library_versions
from peft_registry.trainer.runs.folder import TRAINING, change_state, kept_runs

if TYPE_CHECKING:
    from peft_registry.trainer.training.checkpoints import Checkpoints

_ANEW = "undo the change and resume again, or start anew with `registry train CONFIG`"


class ConfigChanged(IntegrityBroken):
    """`start` is the manifest digest of the starting adapter, where the run has one."""

    what = "the training file is not the one that the run {run_id:.12} was started with"
    why = "what decides its result has the digest {now.short}, the run began with {was.short}{other_start}"
    fix = "{remedy}"

    run_id: str
    was: Digest
    now: Digest
    start: str | None = None

    @property
    def other_start(self) -> str:
        if self.start is None:
            return ""
        return f"; it would continue training from {self.start[:19]}, which its name may not have meant then"

    @property
    def remedy(self) -> str:
        if self.start is None:
            return _ANEW
        return f"name the version that it began with, continue_from=NAME:NUMBER; else {_ANEW}"


class ResumedOtherBase(IntegrityBroken):
    what = "the base is not the one that the run {run_id:.12} was started with"
    why = "its manifest is {now.short}, the run began with {was.short}"
    fix = _ANEW

    run_id: str
    was: Digest
    now: Digest


class DataChanged(IntegrityBroken):
    what = "the data are not those that the run {run_id:.12} was started with"
    why = "bytes, rows, split or template of {name} have another digest than at its start"
    fix = _ANEW

    run_id: str
    name: str


def require_same(kept: KeptRun, config: TrainingFile, base: Digest) -> None:
    """Raise unless the run may continue with this file and this base.

    Args:
        kept: the run.
        config: the file as it is now.
        base: manifest digest of what its `base` means now.

    Raises:
        ConfigChanged, ResumedOtherBase.
    """
    now = canonical_digest(training_identity(config))
    if now != kept.config_sha256:
        raise ConfigChanged(kept.run_id, kept.config_sha256, now, config.continue_from)
    if base != kept.base:
        raise ResumedOtherBase(kept.run_id, kept.base, base)


def new_run(
    config: TrainingFile, *, run_id: str, path: Path, overrides: tuple[str, ...], base: Digest, started_at: str
) -> KeptRun:
    """A run that begins now.

    Args:
        config: the training file.
        run_id: of it.
        path: of the training file.
        overrides: of the command line.
        base: manifest digest.
        started_at: RFC 3339.
    """
    return KeptRun(
        run_id=run_id,
        name=config.name,
        config=str(path.resolve()),
        overrides=overrides,
        config_sha256=canonical_digest(training_identity(config)),
        base=base,
        libraries=library_versions(),
        started_at=started_at,
    )


class Keeper:
    """What a run says about itself in its folder, while it goes."""

    def __init__(self, folder: Path, kept: KeptRun | None) -> None:
        self._folder = folder
        self._kept = kept

    def data(self, identities: tuple[DataIdentity, ...]) -> None:
        """The data were read: they must be those of the run that is resumed, and are written down for the next time.

        Raises:
            DataChanged: they are not.
        """
        before = None if self._kept is None else self._kept.data
        for was, now in zip(before or (), identities, strict=False):
            if was != now:
                raise DataChanged(self._kept.run_id if self._kept else "", now.name)
        change_state(self._folder, data=identities)

    def checkpoints(self, training: TrainingBlock) -> "Checkpoints":
        """Where the state goes and how often the file wants it kept; each time is noted."""
        from peft_registry.trainer.training.checkpoints import Checkpoints

        return Checkpoints(
            self._folder / TRAINING,
            every_steps=training.save_steps,
            every_seconds=None if training.save_minutes is None else 60 * training.save_minutes,
            stretches=training.audit_checkpoints,
            saved=lambda step, total: change_state(self._folder, step=step, steps=total),
        )


def changed_libraries(kept: KeptRun) -> str | None:
    """A sentence about what runs in another version than at the start: then exactness cannot be promised."""
    now = library_versions()
    changed = [
        f"{name} {was} → {now.get(name, 'none')}" for name, was in kept.libraries.items() if now.get(name) != was
    ]
    return (
        f"resumed with other versions than it began with ({', '.join(changed)}): exactness is lost" if changed else None
    )


def report_resumable_runs(runs: Path, observe: Observe, *, name: str, file: Path) -> None:
    """Tell of the newest run of this name or training file that could be resumed, before another is started."""
    kept = [run for run in kept_runs(runs) if run.name == name or run.config == str(file.resolve())]
    if not kept:
        return
    newest = kept[0]
    others = len(kept) - 1
    more = f" (and {others} more)" if others else ""
    how = f"failed ({newest.why})" if newest.status == "failed" else "was stopped"
    text = f"a run of {newest.name} {how} after step {newest.step} of {newest.steps or '?'}{more}: "
    observe(
        Warned("resumable", f"{text}`registry train --resume {newest.run_id[:12]}` continues it; this starts a new run")
    )


def report_resume_command(runs: Path, stopped: KeptRun, observe: Observe) -> None:
    """Tell that a run that is being stopped left a state, where it did."""
    if any(run.run_id == stopped.run_id for run in kept_runs(runs)):
        observe(Warned("resumable", f"to continue: `registry train --resume {stopped.run_id[:12]}`"))

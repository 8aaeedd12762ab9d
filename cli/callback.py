"""`RegistryCallback`: two lines in a script that trains with `transformers.Trainer` or TRL, and its result is registered.

    from peft_registry import RegistryCallback

    trainer.add_callback(RegistryCallback(trainer, "polite-replies"))

What can refuse the training does so before its first step, as an exception. After that what the registry foresees (a full disk, a
loss that is not a number, a base that changed) is reported on stderr and raised by `outcome`, and does not stop the script. Only
the process of rank 0 opens the registry.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback
from transformers.integrations import MLflowCallback

from peft_registry.cli import console
from peft_registry.cli.face import folder_of_home
from peft_registry.cli.wiring import opened
from peft_registry.schemas.errors import InputRefused, KnownError, RunFailed
from peft_registry.schemas.identity import check_name, check_project
from peft_registry.trainer.training.foreign_trainer import gathered_result, has_own_optimizer, unwrapped
from peft_registry.trainer.training.pass_counts import WatchedPasses
from peft_registry.trainer.use_cases.follow import FollowedRun, FollowRequest

if TYPE_CHECKING:
    from peft_registry.schemas.progress import Observe
    from peft_registry.trainer.use_cases.train import TrainOutcome

_NOTHING = "nothing was registered"


class NotATrainer(InputRefused):
    reference = "callback-without-trainer"
    what = "the callback of the registry is given {kind}, and not a trainer"
    why = "it reads the model, the rows and the arguments from the trainer, and watches its passes"
    fix = 'make the trainer first, then: trainer.add_callback(RegistryCallback(trainer, "NAME"))'

    kind: str


class SecondCallback(InputRefused):
    reference = "callback-twice"
    what = "two callbacks of the registry follow one training"
    why = "it would be registered twice, with one run's time and energy in both"
    fix = "add one; register the version under a second name afterwards if you need that"


class CallbackUsedBefore(InputRefused):
    what = "this callback has followed a training already"
    why = "what is trained now would begin from its result, and the record would leave the first training out"
    fix = "make a new model, trainer and callback for each training"


class OutcomeElsewhere(RunFailed):
    reference = "outcome-of-another-process"
    what = "this process does not know what was registered"
    why = "the process of rank 0 alone opens the registry"
    fix = "read the outcome where `state.is_world_process_zero` is true"


class NothingRegistered(RunFailed):
    reference = "followed-run-not-ended"
    what = "nothing was registered of this training"
    why = "{reason}"
    fix = "run the training to its end"

    reason: str


class RegistryCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Follows one training, and registers its result with the records that `registry train` writes.

    Args:
        trainer: whose training it is: `transformers.Trainer`, `trl.SFTTrainer`, `trl.DPOTrainer` or a class derived from them.
        name: that the result is registered under.
        project: what it is for, such as `support-bot`: versions are found by it, and MLflow shows those of a project together.
        base: a reference of the base; None for what the model was loaded from, which is added where it is not registered.
        home: the registry's folder; None for REGISTRY_HOME, else `.registry` here or in a folder above.
        facts: YAML file of facts that only people know.
        evaluate: True for the suite `house`, or names of suites: base and result are scored after the registration.
        passphrase_file: holds the passphrase of the registry's keys; None for REGISTRY_PASSPHRASE, or keys without one.
        mirror: push it to the MLflow server that the home names, where it names one.
        quiet: say nothing on stderr but what goes wrong.

    Raises:
        NotATrainer, MalformedReference, MalformedProject: an argument.
    """

    def __init__(
        self,
        trainer: Trainer,
        name: str,
        *,
        project: str | None = None,
        base: str | None = None,
        home: str | os.PathLike[str] | None = None,
        facts: str | os.PathLike[str] | None = None,
        evaluate: bool | str | Sequence[str] = False,
        passphrase_file: str | os.PathLike[str] | None = None,
        mirror: bool = True,
        quiet: bool = False,
    ) -> None:
        if not isinstance(trainer, Trainer):
            raise NotATrainer(f"a {type(trainer).__name__}")
        check_name(name)
        if project is not None:
            check_project(project)
        self._trainer = trainer
        _leave_out_mlflow(trainer)
        self._request = FollowRequest(
            name=name,
            project=project,
            base=base,
            facts=None if facts is None else Path(facts),
            suites=_suites(evaluate),
            command=tuple(sys.argv),
        )
        self._home = folder_of_home(home)
        self._passphrase_file = None if passphrase_file is None else Path(passphrase_file)
        self._mirror = mirror
        self._quiet = quiet
        self._has_own_optimizer = has_own_optimizer(trainer)
        self._passes = WatchedPasses()
        self._run: FollowedRun | None = None
        self._outcome: TrainOutcome | None = None
        self._error: KnownError | OSError | None = None
        self._was_used = False
        self._is_of_another_rank = False
        self._closing = ExitStack()

    @property
    def outcome(self) -> "TrainOutcome":
        """The version with its run and modification record, once the training has ended.

        Raises:
            KnownError, OSError: what kept it from being registered, or failed after it; stderr says whether the version is.
            OutcomeElsewhere: this process is not that of rank 0.
            NothingRegistered: the training has not begun, or not come to its end.
        """
        if self._error is not None:
            raise self._error
        if self._outcome is None and self._is_of_another_rank:
            raise OutcomeElsewhere
        if self._outcome is None:
            reason = "it did not come to its end" if self._was_used else "it has not begun"
            raise NothingRegistered(reason)
        return self._outcome

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  transformers' own
        """Check everything that can refuse, and begin to watch.

        Raises:
            SecondCallback, CallbackUsedBefore: this is not the one callback of one training.
            KnownError: as `FollowedRun.begin`, or there is no registry at the place.
        """
        others = [other for other in self._trainer.callback_handler.callbacks if isinstance(other, RegistryCallback)]
        if len(others) > 1:
            raise SecondCallback
        if self._was_used:
            raise CallbackUsedBefore
        self._is_of_another_rank = not state.is_world_process_zero
        if state.is_world_process_zero:
            self._begin(state)
        self._was_used = True
        self._passes.watch(self._trainer.model)
        reference = getattr(self._trainer, "ref_model", None)
        if reference is not None and unwrapped(reference) is not unwrapped(self._trainer.model):
            self._passes.watch(reference, is_reference=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  transformers' own
        if self._run is not None:
            self._run.note_step(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002  transformers' own
        if self._run is not None and logs:
            self._run.note_log(state, logs)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  transformers' own
        """Register the result; what goes wrong is said on stderr, and kept for `outcome`."""
        self._passes.stop()
        self._add_up()
        result = gathered_result(self._trainer.model)  # of all processes, where none has it whole
        if self._run is None:
            return
        try:
            processes = int(self._trainer.accelerator.num_processes)
            self._outcome = self._run.end(state, processes=processes, result=result)
            self._after(self._run, self._outcome)
        except (KnownError, OSError) as error:
            self._error = error
            self._say(error)
        finally:
            self._close()

    # --- the parts ---

    def _begin(self, state: Any) -> None:
        try:
            registry = self._closing.enter_context(opened(self._home, self._passphrase_file))
            registry.unlock()
            run = FollowedRun(
                registry=registry,
                trainer=self._trainer,
                request=self._request,
                passes=self._passes,
                has_own_optimizer=self._has_own_optimizer,
                observe=self._observe(),
            )
            self._closing.callback(run.close)
            run.begin(state)
        except BaseException:  # Ctrl-C too: the registry must not stay locked
            self._closing.close()
            raise
        self._run = run
        atexit.register(self._ended_early)
        self._closing.callback(atexit.unregister, self._ended_early)
        self._say_when_terminated()

    def _after(self, run: FollowedRun, outcome: "TrainOutcome") -> None:
        from peft_registry.cli.mirror import push_after

        if self._mirror:
            push_after(run.registry, outcome.version.label)
        if self._request.suites:
            run.evaluate(outcome)
        if not self._quiet:
            console.note(f"next: registry record {outcome.version.label}")

    def _add_up(self) -> None:
        """Add the counts of all processes to those of this one; every one calls it.

        Where that fails, what was trained is registered all the same: its counts are unknown, with the reason.
        """
        accelerator = self._trainer.accelerator
        if accelerator.num_processes == 1:
            return
        try:
            self._add_those_of(accelerator)
        except (
            RuntimeError,
            ValueError,
            OSError,
        ) as error:  # what torch.distributed raises: a process or the line is gone
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._passes.missing = f"the counts of {accelerator.num_processes} processes could not be added up"
            console.note(f"registry: {self._passes.missing} ({lines[0][:200]})")

    def _add_those_of(self, accelerator: Any) -> None:
        import torch

        passes = self._passes
        said = [passes.padding, passes.supervised]
        mine = [passes.trained, passes.forward_only, passes.evaluated]
        mine += [number for count in said for number in (count or 0, int(count is None))]
        total = accelerator.reduce(torch.tensor(mine, dtype=torch.int64, device=accelerator.device), "sum").tolist()
        passes.trained, passes.forward_only, passes.evaluated = total[:3]
        passes.padding = None if total[4] else total[3]
        passes.supervised = None if total[6] else total[5]

    def _say(self, error: KnownError | OSError) -> None:
        if isinstance(error, KnownError):
            console.show_error(error, as_json=False)
        else:
            console.note(f"error: {error}")
        if self._outcome is not None:
            console.note(f"registry: {self._outcome.version.label} is registered; what came after it failed")
        else:
            console.note(f"registry: {_NOTHING} of {self._request.name}")

    def _ended_early(self) -> None:
        """The process ends, and the training did not."""
        console.note("")  # a bar of the trainer's stands on the line
        console.note(f"registry: the training of {self._request.name} did not come to its end; {_NOTHING}")
        self._closing.pop_all().close()

    def _say_when_terminated(self) -> None:
        """A process that is told to end runs no handlers of its own, unless somebody asks for that."""
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return

        def terminated(number: int, _: FrameType | None) -> None:
            sys.exit(128 + number)

        signal.signal(signal.SIGTERM, terminated)
        self._closing.callback(signal.signal, signal.SIGTERM, signal.SIG_DFL)

    def _close(self) -> None:
        self._run = None
        self._closing.close()

    def _observe(self) -> "Observe":
        from peft_registry.cli.progress import Progress
        from peft_registry.schemas.progress import ignore

        return ignore if self._quiet else Progress(story_on_stdout=False)


def _leave_out_mlflow(trainer: Trainer) -> None:
    """Take transformers' callback for MLflow out where MLflow reads a home: it would be refused, and end the training."""
    if not any(isinstance(callback, MLflowCallback) for callback in trainer.callback_handler.callbacks):
        return
    from peft_registry.registry.mlflow.stores import mlflow_reads_a_home

    if mlflow_reads_a_home():
        trainer.remove_callback(MLflowCallback)
        console.warn(
            "MLflow reads this registry and takes no logs: report_to='mlflow' is left out, and MLflow's pages show "
            "what the RegistryCallback records"
        )


def _suites(evaluate: bool | str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(evaluate, bool):
        return ("house",) if evaluate else ()
    return (evaluate,) if isinstance(evaluate, str) else tuple(evaluate)

"""train: adapting a base."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    FileHalfOption,
    GuardDigestOption,
    GuardTextOption,
    HomeOption,
    MirrorOption,
    Output,
    OutputOption,
    OverridesArgument,
    PassphraseFileOption,
)

if TYPE_CHECKING:
    from peft_registry.registry.evaluation.lost_quality import LostQuality
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.progress import Observe
    from peft_registry.schemas.run import KeptRun
    from peft_registry.trainer.runs.launch import Launch
    from peft_registry.trainer.use_cases.forgetting import Forgetting
    from peft_registry.trainer.use_cases.train_tasks import TasksOutcome


def add_to(app: typer.Typer) -> None:
    """Enter `registry train`."""
    app.command()(train)


def train(
    config: Annotated[
        str | None, typer.Argument(help="The training file; `registry init` writes one.", show_default=False)
    ] = None,
    overrides: OverridesArgument = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue a stopped run: the one with this id or training file, or else the newest (--resume [RUN_ID]).",
        ),
    ] = False,
    nproc: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Number of processes to train in, through torchrun.")
    ] = None,
    nnodes: Annotated[
        int,
        typer.Option(
            min=1, max=65_536, help="Number of machines; run the command on each, with the same --rdzv-endpoint."
        ),
    ] = 1,
    rdzv_endpoint: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address where the machines meet, as for torchrun.")
    ] = None,
    mirror: MirrorOption = True,
    half: FileHalfOption = None,
    guard_text: GuardTextOption = None,
    guard_sha256: GuardDigestOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train although the result of this very file is registered.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate memory, time and cost; load nothing.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Fine-tune a base and register the result. Check, evaluate, train, evaluate again, sign, log."""
    from peft_registry.cli.commands.estimate import estimate
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.scope import scope_overrides
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.runs.launch import Launch

    words = (*(overrides or ()), *scope_overrides(half, guard_text, guard_sha256))
    if dry_run and config is not None:
        estimate(config=Path(config), overrides=list(words), home=home, output=output)
        return
    target, changes = _target_and_changes(config, words, resume=resume)
    progress = Progress(story_on_stdout=output is Output.text)
    with opened(home, passphrase_file) as registry:
        if config is None and not resume:
            raise typer.BadParameter("a training file is needed; `registry init` writes one", param_hint="CONFIG")
        launch = Launch(nproc or 1, nnodes, rdzv_endpoint) if nproc or nnodes > 1 else None
        tasks = _tasks(target, changes, resume=resume)
        if nnodes == 1:  # of several machines only one signs, and which one is settled when they meet
            registry.unlock()
        if tasks:
            _train_tasks(registry, Path(target or ""), tasks, changes, launch, progress, mirror=mirror, output=output)
        else:
            resumed = _run_to_resume(registry, target) if resume else None
            _train_one(registry, target, changes, resumed, launch, progress, mirror=mirror, again=again, output=output)


def _target_and_changes(
    config: str | None, overrides: Sequence[str], *, resume: bool
) -> tuple[str | None, tuple[str, ...]]:
    """The training file or run that is meant, and the KEY=VALUE words; after --resume the first word may be one of these."""
    changes = tuple(word for word in overrides if word and word != config)
    if config and resume and "=" in config:
        return None, (config, *changes)
    return config, changes


def _tasks(target: str | None, changes: tuple[str, ...], *, resume: bool) -> tuple[str, ...]:
    """The tasks of the training file; none where it has one data set, or where a run is named instead of a file."""
    from peft_registry.trainer.inputs.training_file import load_tasks

    if target is None or (resume and not Path(target).is_file()):
        return ()
    return load_tasks(Path(target), changes)


def _run_to_resume(registry: "Registry", target: str | None) -> "KeptRun":
    from peft_registry.trainer.runs.folder import run_to_resume

    return run_to_resume(registry.files.runs, target)


def _train_one(
    registry: "Registry",
    target: str | None,
    changes: tuple[str, ...],
    resumed: "KeptRun | None",
    launch: "Launch | None",
    observe: "Observe",
    *,
    mirror: bool,
    again: bool,
    output: Output,
) -> None:
    from peft_registry.cli.mirror import push_after
    from peft_registry.cli.wiring import typed_command
    from peft_registry.trainer.runs.launch import RegisteredElsewhere
    from peft_registry.trainer.use_cases.train import train_and_register

    file = Path(target or "") if resumed is None else Path(resumed.config)
    words = changes if resumed is None else (*resumed.overrides, *changes)
    try:
        outcome = train_and_register(
            registry,
            file,
            words,
            resume=resumed,
            launch=launch,
            command=typed_command(),
            again=again,
            observe=observe,
        )
    except RegisteredElsewhere:
        console.note("this machine is done; the machine of process 0 registers the result")
        return
    pushed = push_after(registry, outcome.version.label) if mirror else None
    if output is Output.json:
        console.out_json(outcome.to_json())
        return
    version = outcome.version
    done = "already registered" if outcome.was_there else "registered"
    console.line(
        f"{done} {version.label}  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}{'' if pushed is None else f'  {pushed}'}"
    )
    for lost in outcome.lost:
        console.line(f"lost     {version.label}: {lost.line}")
    _note_what_helps(outcome.lost)
    console.next_step(f"registry verify {version.label}")


def _train_tasks(
    registry: "Registry",
    file: Path,
    tasks: tuple[str, ...],
    changes: tuple[str, ...],
    launch: "Launch | None",
    observe: "Observe",
    *,
    mirror: bool,
    output: Output,
) -> None:
    from peft_registry.cli.mirror import push_after
    from peft_registry.cli.wiring import typed_command
    from peft_registry.trainer.use_cases.train_tasks import train_tasks

    outcome = train_tasks(registry, file, tasks, changes, launch=launch, command=typed_command(), observe=observe)
    labels = [result.version.label for result in outcome.results]
    _show_tasks(outcome, push_after(registry, *labels) if mirror else None, output)


def _show_tasks(outcome: "TasksOutcome", pushed: str | None, output: Output) -> None:
    if output is Output.json:
        console.out_json(outcome.to_json())
        return
    console.out()
    losses = [f"{result.loss_before:.3f} → {result.loss_after:.3f}" for result in outcome.results]
    rows = [[result.task, result.version.label, loss] for result, loss in zip(outcome.results, losses, strict=True)]
    console.table([["task", "version", "held-out loss"], *rows])
    if outcome.forgetting is not None:
        _show_forgetting(outcome.forgetting)
    for result in outcome.results:
        for lost in result.lost:
            console.line(f"lost     {result.version.label}: {lost.line}")
    _note_what_helps([lost for result in outcome.results for lost in result.lost])
    if pushed is not None:
        console.note(pushed)
    console.next_step(f"registry verify {outcome.results[-1].version.label}")


def _note_what_helps(lost: "Sequence[LostQuality]") -> None:
    from peft_registry.registry.gate.reasons import LESS_LOST

    if lost:
        console.note(LESS_LOST)


def _show_forgetting(forgetting: "Forgetting") -> None:
    from peft_registry.registry.evaluation.sentences import loss_line

    tasks = list(forgetting.base)
    rows = [["the base", *(f"{loss:.3f}" for loss in forgetting.base.values())]]
    rows += [[f"after {step.task}", *(f"{step.losses[task]:.3f}" for task in tasks)] for step in forgetting.steps]
    console.out()
    console.table([["held-out loss", *tasks], *rows])
    console.out()
    for change in forgetting.forgotten:
        console.line(f"{change.dataset}, when it was learned → in the end: {loss_line(change)}")

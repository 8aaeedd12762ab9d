"""base, train, methods: bringing a base in and adapting it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption

if TYPE_CHECKING:
    from peft_registry.trainer.use_cases.forgetting import Forgetting
    from peft_registry.trainer.use_cases.train_tasks import TasksOutcome


def add_to(app: typer.Typer) -> None:
    base = typer.Typer(help="Bring in a base model.", no_args_is_help=True)
    base.command("add")(base_add)
    app.add_typer(base, name="base")
    app.command()(train)
    app.command()(methods)


def base_add(
    source: Annotated[str, typer.Argument(help="A folder, a .gguf file, a Hub id (org/name), or `embedded`.")],
    name: Annotated[str | None, typer.Option(help="The name to register it under; default from the source.")] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the Hub; its commit is recorded.")
    ] = None,
    store: Annotated[str, typer.Option(help="reference (leave the bytes), copy, or link (share them).")] = "reference",
    facts: Annotated[Path | None, typer.Option(help="YAML with what is declared: licence, provider, compute …")] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Register a base. It is known by the digests of its weights, tokenizer, config and template."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.use_cases.add_base import intake_base

    progress = Progress(story_on_stdout=output is Output.text)
    with opened(home, passphrase_file) as registry:
        added = intake_base(
            registry, source, name=name, revision=revision, mode=store, facts_file=facts, observe=progress
        )
    version, record = added.version, added.record
    if output is Output.json:
        console.out_json(
            {"version": version.label, "manifest_digest": str(version.manifest_digest), **record.to_json()}
        )
        return
    console.out(
        f"base     {version.label}  weights {record.identity.weights.short}  "
        f"{record.parameters_total / 1e6:.1f} M  {record.facts.licence.value or 'licence unknown'}"
    )
    config = console.path_from_here(registry.folder.parent / "example" / "train.yml")
    console.next_step(f"registry train {config if config.is_file() else 'CONFIG.yml'} base={version.name}")


def train(
    config: Annotated[
        str | None, typer.Argument(help="The training file; `registry init` writes one.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="For example training.seed=8", show_default=False)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a stopped run: of this id or file, else the newest (--resume [RUN_ID])."
        ),
    ] = False,
    nproc: Annotated[int | None, typer.Option(min=1, help="Train in so many processes, through torchrun.")] = None,
    nnodes: Annotated[int, typer.Option(min=1, help="Run this on so many machines, with one --rdzv-endpoint.")] = 1,
    rdzv_endpoint: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where the machines meet, as for torchrun.")
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Bring MLflow up to date afterwards.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it takes, as `registry estimate`; nothing is loaded.")
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Adapt a base and register the result. Check, evaluate, train, evaluate again, sign, log."""
    from peft_registry.cli.commands.choosing import estimate
    from peft_registry.cli.mirror import mirror_after
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened, typed_command
    from peft_registry.trainer.inputs.training_file import load_tasks
    from peft_registry.trainer.runs.folder import run_to_resume
    from peft_registry.trainer.runs.launch import Launch, RegisteredElsewhere
    from peft_registry.trainer.use_cases.train import train_and_register
    from peft_registry.trainer.use_cases.train_tasks import train_tasks

    if dry_run and config is not None:
        estimate(Path(config), overrides, home=home, output=output)
        return
    words = [word for word in (config, *(overrides or ())) if word]
    changes = tuple(word for word in words if word != config or (resume and "=" in word))
    progress = Progress(story_on_stdout=output is Output.text)
    with opened(home, passphrase_file) as registry:
        if config is None and not resume:
            raise typer.BadParameter("name the training file; `registry init` writes one", param_hint="CONFIG")
        launch = Launch(nproc or 1, nnodes, rdzv_endpoint) if nproc or nnodes > 1 else None
        file = Path(config or "")
        tasks = load_tasks(file, changes) if config not in (None, *changes) and (file.is_file() or not resume) else ()
        if tasks:
            several = train_tasks(
                registry, file, tasks, changes, launch=launch, command=typed_command(), observe=progress
            )
            _show_tasks(several, mirror_after(registry) if mirror else "not mirrored", output)
            return
        kept = run_to_resume(registry.folder / "runs", None if config in changes else config) if resume else None
        path = file if kept is None else Path(kept.config)
        asked = changes if kept is None else (*kept.overrides, *changes)
        try:
            outcome = train_and_register(
                registry, path, asked, resume=kept, launch=launch, command=typed_command(), observe=progress
            )
        except RegisteredElsewhere:
            console.note("this machine has done its part; the one of process 0 registers the result")
            return
        mirrored = mirror_after(registry) if mirror else "not mirrored"
    if output is Output.json:
        console.out_json(outcome.to_json())
        return
    version = outcome.version
    done = "was there" if outcome.was_there else "registered"
    console.out(
        f"{done} {version.label}  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}  {mirrored}"
    )
    console.next_step(f"registry verify {version.label}")


def _show_tasks(outcome: "TasksOutcome", mirrored: str, output: Output) -> None:
    if output is Output.json:
        console.out_json(outcome.to_json())
        return
    console.out()
    losses = [f"{one.loss_before:.3f} → {one.loss_after:.3f}" for one in outcome.results]
    rows = [[one.task, one.version.label, loss] for one, loss in zip(outcome.results, losses, strict=True)]
    console.table(["task", "version", "held-out loss"], rows)
    if outcome.forgetting is not None:
        _show_forgetting(outcome.forgetting)
    console.note(mirrored)
    console.next_step(f"registry verify {outcome.results[-1].version.label}")


def _show_forgetting(found: "Forgetting") -> None:
    from peft_registry.trainer.runs.before_after import loss_line

    tasks = list(found.base)
    rows = [["the base", *(f"{loss:.3f}" for loss in found.base.values())]]
    rows += [[f"after {one.task}", *(f"{one.losses[task]:.3f}" for task in tasks)] for one in found.steps]
    console.out()
    console.table(["held-out loss", *tasks], rows)
    console.out()
    for one in found.forgotten:
        console.out(f"{one.dataset}, when it was learnt → in the end: {loss_line(one)}")


def methods(
    goals: Annotated[
        str | None,
        typer.Option("--for", metavar="GOALS", help="latency, bias_mitigation, many_tasks: one or several, by comma."),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """List the adaptation methods, and which of them fit a goal. Whether they can be merged, and what it costs."""
    from peft_registry.trainer.methods import advise, parse_goals

    asked = parse_goals(goals or "")
    found = advise(asked)
    if output is Output.json:
        console.out_json([asdict(row) | {"available": row.available} for row, _ in found])
        return
    if not asked:
        shown = [
            [row.name, "yes" if row.mergeable else "no", "yes" if row.available else "not yet", row.summary]
            for row, _ in found
        ]
        console.table(["method", "mergeable", "available", "what it does"], shown)
        return
    console.table(
        ["method", *asked, "why"],
        [
            [row.name, *("fits" if one.fits else "no" for one in advice), "; ".join(one.why for one in advice)]
            for row, advice in found
        ],
    )

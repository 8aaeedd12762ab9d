"""merge: folding adapters into their base."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.completion import offer_versions
from peft_registry.cli.many import BegunWork, Work, over_many, versions_line
from peft_registry.cli.options import (
    MAX_SEED,
    GuardDigestOption,
    GuardTextOption,
    MergeHalfOption,
    MirrorOption,
    ProjectOption,
    SuiteHalf,
)
from peft_registry.cli.outcome import OVER_MANY, SIGNS, Home, Outcome, command
from peft_registry.cli.wiring import typed_command

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.progress import Observe
    from peft_registry.trainer.merge.request import MergeRequest


class Policy(StrEnum):
    """Which base a QLoRA adapter is folded into."""

    original = "original"
    dequantised = "dequantised"


def add_to(app: typer.Typer) -> None:
    """Enter `registry merge`."""
    app.command()(merge)


@command((*SIGNS, *OVER_MANY))
def merge(
    home: Home,
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF",
            help="Adapters to merge: name, name:3, name@alias or sha256:…; or a list, with the adapters of a merge on each line.",
            show_default=False,
            autocompletion=offer_versions,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name to register it under; default: the first adapter's, with -merged.")
    ] = None,
    project: ProjectOption = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="One weight per adapter, such as 0.7,0.3; default: equal weights."),
    ] = None,
    algorithm: Annotated[
        str, typer.Option(help="linear, ties, dare or dare_ties; concatenate and svd give an adapter, not a model.")
    ] = "linear",
    density: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Share of each difference to keep, such as 0.5 or 0.5,0.2.")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of the adapter that svd gives.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bf16 or fp32; default: that of the base.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Registered base; it must be the one that the adapters were trained on.")
    ] = None,
    base_policy: Annotated[
        Policy | None, typer.Option(help="For QLoRA: merge into the original or the dequantised base.")
    ] = None,
    compare_bases: Annotated[
        bool, typer.Option("--compare-bases", help="Measure the distance of both base policies.")
    ] = False,
    accept_distance: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Accept, for this recorded reason, that the result is not the model that was trained.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random choice of dare.")] = 0,
    facts: Annotated[Path | None, typer.Option(help="YAML file of facts that only people know.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done; write nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Merge and measure; register nothing.")] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate the merged model; otherwise its evaluations are marked stale.")
    ] = False,
    half: MergeHalfOption = SuiteHalf.screen,
    guard_text: GuardTextOption = None,
    guard_sha256: GuardDigestOption = None,
    mirror: MirrorOption = True,
) -> Outcome:
    """Merge adapters into their base and register the result. Plan, merge, measure, document, sign, log."""
    from peft_registry.cli.scope import scope_of_options
    from peft_registry.trainer.merge.request import MergeRequest

    if not references and not home.is_for_many:
        raise typer.BadParameter("name an adapter, or a list with --where or --list", param_hint="REF")
    request = MergeRequest(
        # of a list each item brings its own, as many as there are weights
        references=tuple(references or ()) or ("",) * max(1, len(_numbers(weights))),
        name=name,
        base=base,
        algorithm=algorithm,
        weights=_numbers(weights),
        densities=_numbers(density),
        rank=rank,
        seed=seed,
        dtype=dtype,
        base_policy=None if base_policy is None else base_policy.value,
        compare_bases=compare_bases,
        accept_distance=accept_distance,
        evaluate=evaluate,
        scope=scope_of_options(half, guard_text, guard_sha256),
        facts=facts,
        project=project,
    )
    if home.is_for_many:
        return over_many(home, MergeWork(request, check, mirror), {"REF": references, "--plan": plan})
    if plan:
        return _plan(home, request)
    if not check:
        home.registry.unlock()
    return _merged(home.registry, request, check=check, mirror=mirror, command=typed_command(), observe=home.story)


@dataclass(frozen=True)
class MergeWork(Work):
    """`registry merge` of the adapters of each item."""

    verb = "merge"
    takes = "versions"

    request: "MergeRequest"
    check: bool
    mirror: bool

    @property
    def signs(self) -> bool:
        """Unless it is only checked."""
        return not self.check

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:  # noqa: ARG002  nothing is kept open
        """Merge the adapters of each item."""
        from peft_registry.schemas.progress import ignore
        from peft_registry.trainer.use_cases.merge_inputs import require_options

        require_options(registry, self.request)

        def run_item(item: "ListItem") -> Outcome:
            request = replace(self.request, references=item.parts)
            command = tuple(shlex.split(_command(request))[1:])
            return _merged(registry, request, check=self.check, mirror=self.mirror, command=command, observe=ignore)

        return BegunWork(run_item)

    def summary(self, values: Sequence[Any]) -> str | None:
        """The versions that the merges are; of those that were only checked there are none."""
        return None if self.check else versions_line(values)


def _merged(
    registry: "Registry",
    request: "MergeRequest",
    *,
    check: bool,
    mirror: bool,
    command: tuple[str, ...],
    observe: "Observe",
) -> Outcome:
    from peft_registry.cli.mirror import push_after
    from peft_registry.trainer.use_cases.merge import merge_and_register

    outcome = merge_and_register(registry, request, check_only=check, command=command, observe=observe)
    version = outcome.version
    if version is None:
        lines = ["checked  nothing was registered", *(f"lost     {lost.line}" for lost in outcome.lost)]
        return Outcome(outcome.to_json(), lines, _command(request))
    pushed = push_after(registry, version.label) if mirror else None
    done = "already registered" if outcome.was_there else "registered"
    registered = (
        f"{done} {version.label}  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}{'' if pushed is None else f'  {pushed}'}"
    )
    lines = [registered, *(f"lost     {version.label}: {lost.line}" for lost in outcome.lost)]
    return Outcome(outcome.to_json(), lines, f"registry verify {version.label}")


def _plan(home: Home, request: "MergeRequest") -> Outcome:
    import tempfile

    from peft_registry.trainer.merge.merge_preview import preview_of
    from peft_registry.trainer.use_cases.merge_inputs import checked_facts_of_merge, plan_merge

    progress = home.story
    with tempfile.TemporaryDirectory(prefix="registry-merge-") as scratch:
        checked_facts_of_merge(home.registry, request)
        prepared = plan_merge(home.registry, request, Path(scratch), observe=progress)
        if request.evaluate:
            from peft_registry.trainer.inputs.evaluation import load_suites, report_power
            from peft_registry.trainer.merge.evaluation import suites_of_ingredients

            report_power(suites_of_ingredients(partial(load_suites, home.registry), prepared, progress), progress)
        preview = preview_of(prepared)
    lines = [f"{label:<8} {text}" for label, text in preview.lines()]
    return Outcome(preview.to_json(), lines, _command(request))


def _command(request: "MergeRequest") -> str:
    """The merge that was asked for, as it is typed."""
    options = {
        "--name": request.name,
        "--project": request.project,
        "--weights": ",".join(f"{number:g}" for number in request.weights),
        "--algorithm": request.algorithm if request.algorithm != "linear" else None,
        "--density": ",".join(f"{number:g}" for number in request.densities),
        "--rank": request.rank,
        "--dtype": request.dtype,
        "--base": request.base,
        "--base-policy": request.base_policy,
        "--accept-distance": request.accept_distance,
        "--seed": request.seed or None,
        "--facts": request.facts,
        "--half": None if request.scope.half == SuiteHalf.screen.half else request.scope.half or SuiteHalf.whole.value,
        "--guard-text": request.scope.guard_text,
        "--guard-sha256": request.scope.guard_sha256,
    }
    words = [word for option, value in options.items() if value for word in (option, str(value))]
    flags = {"--compare-bases": request.compare_bases, "--evaluate": request.evaluate}
    words += [flag for flag, value in flags.items() if value]
    return shlex.join(["registry", "merge", *request.references, *words])


def _numbers(text: str | None) -> tuple[float, ...]:
    from peft_registry.trainer.merge.request import WeightsDoNotFit

    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise WeightsDoNotFit(f"{text[:60]!r} is not a list of numbers") from error

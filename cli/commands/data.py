"""data: what is in a data set, before anything is trained on it; and counterparts of its rows."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import OverridesArgument
from peft_registry.cli.outcome import ANSWERS, READS, Home, Line, Note, Outcome, Part, Verbatim, command

if TYPE_CHECKING:
    from peft_registry.schemas.dataset import CounterfactualData
    from peft_registry.trainer.data.inspection import DataPart, Leak
    from peft_registry.trainer.use_cases.inspect_data import Inspection


def add_to(app: typer.Typer) -> None:
    """Enter `registry data` and its commands, in the order of its help."""
    data = typer.Typer(help="Inspect training data, and write counterfactual rows.", no_args_is_help=True)
    data.command("inspect")(data_inspect)
    data.command("counterfactual")(data_counterfactual)
    app.add_typer(data, name="data")


@command(READS)
def data_inspect(
    home: Home,
    file: Annotated[
        str, typer.Argument(help="A data file, a Hub id (owner/name), or a training file.", show_default=False)
    ],
    overrides: OverridesArgument = None,
    base: Annotated[
        str | None, typer.Option(help="Count tokens with this base's tokenizer: name, name:3, name@alias or sha256:…")
    ] = None,
    labels: Annotated[int, typer.Option(min=0, help="Number of rows to show with the tokens that carry loss.")] = 0,
    validation: Annotated[
        str | None, typer.Option(help="Held-out data set to check for rows that are also training rows.")
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", help="Format of the rows; default: recognised from the columns.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Maximum number of tokens per row; default: the training file's, or 512.")
    ] = None,
) -> Outcome:
    """Inspect training data. Rows, tokens and which carry loss, duplicates, leaks between splits."""
    from peft_registry.cli.progress import Progress
    from peft_registry.schemas.config import ROW_FORMATS
    from peft_registry.trainer.use_cases.inspect_data import TRAINING_FILES, inspect_data, inspection_target

    if data_format is not None and data_format not in ROW_FORMATS:
        raise typer.BadParameter(f"one of {', '.join(ROW_FORMATS)}", param_hint="--format")

    target = inspection_target(
        file, overrides or (), validation=validation, base=base, max_length=max_length, data_format=data_format
    )
    progress = Progress(story_on_stdout=False)
    if target.base is None:
        inspected = inspect_data(target, observe=progress)
    else:
        inspected = inspect_data(target, registry=home.registry, show=labels, observe=progress)
    lines: list[Part] = list(_inspected_lines(inspected))
    if target.base is None:
        lines.append(Note("--base REF counts tokens, and --labels N shows them"))
    arguments = ["CONFIG.yml"]
    if file.endswith(TRAINING_FILES):  # its training takes the same KEY=VALUE
        arguments = [file, *(overrides or ())]
    return Outcome(inspected.to_json(), lines, f"registry train {shlex.join(arguments)}", problem=inspected.problem)


def _inspected_lines(inspected: "Inspection") -> Iterator[Part]:
    from peft_registry.trainer.evaluation.quality import SamplesOfOtherRows

    yield from _part_lines(inspected.train)
    if inspected.validation is not None:
        yield from _part_lines(inspected.validation)
    if inspected.leak is not None:
        yield _leak_line(inspected.leak)
    figures = ", ".join(inspected.figures)
    yield Line(f"figures    {figures} (what `evaluation.quality` and `training.early_stopping.metric` may name)", 11)
    if not inspected.has_answers:
        yield Line(f"samples    `evaluation.samples` has none: {SamplesOfOtherRows.why}", 11)


@command(ANSWERS)
def data_counterfactual(
    file: Annotated[Path, typer.Argument(help="A data file of any format that train reads.", show_default=False)],
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS", help="gender, race, religion or nationality; several by repeating the option."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new .jsonl file; default: FILE-counterfactual.jsonl in this folder."),
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", help="Format of the rows; default: recognised from the columns.")
    ] = None,
) -> Outcome:
    """Write rows and their counterfactuals. Swapped by pinned word lists; a row that is not surely a sentence is dropped."""
    from peft_registry.schemas.config import ROW_FORMATS
    from peft_registry.trainer.use_cases.counterfactual_data import write_counterfactual

    if data_format is not None and data_format not in ROW_FORMATS:
        raise typer.BadParameter(f"one of {', '.join(ROW_FORMATS)}", param_hint="--format")
    target = out if out is not None else Path(f"{file.stem}-counterfactual.jsonl")
    written = write_counterfactual(file, target, tuple(axis or ()), row_format=data_format)
    next_step = f"registry data inspect {console.printable(str(target))}"
    return Outcome(written.to_json(), _counterfactual_lines(target, written), next_step)


def _counterfactual_lines(target: Path, written: "CounterfactualData") -> Iterator[Line]:
    yield Line(
        f"written    {target!s}  {written.output_rows} rows  {written.output_sha256.short}",
        11,
    )
    yield Line(
        f"kept       {written.kept_rows} of {written.input_rows} rows, each with its counterparts; "
        f"{written.repeated_rows} were written before",
        11,
    )
    for word_list in written.lists:
        yield Line(f"{word_list.axis:<11}{word_list.swapped} rows swapped by the list {word_list.sha256.short}", 11)
        for reason, count in word_list.dropped.items():
            yield Line(f"dropped    {count}: {reason}", 11)


def _part_lines(part: "DataPart") -> Iterator[Part]:
    from peft_registry.trainer.data.dataset import lonely_classes_sentence

    how = "recognised" if part.detected else "as asked"
    columns = ", ".join(f"{meaning} from `{column}`" for meaning, column in part.columns)
    yield Line(f"data       {part.name}  {part.rows} rows  {part.sha256.short}", 11)
    yield Line(f"format     {part.format} ({how}): {columns}", 11)
    yield Line(
        f"duplicates {part.exact} exact, {part.similar} but for case and space; "
        f"{part.conflicting} same prompt, other answer",
        11,
    )
    if part.empty_answers:
        empty = "1 answer" if part.empty_answers == 1 else f"{part.empty_answers} answers"
        yield Line(f"empty      {empty}: from such a row the model learns to end at once", 11)
    if part.labels:
        more = f", and {len(part.labels) - 20} more" if len(part.labels) > 20 else ""
        yield Line("labels     " + ", ".join(f"{name} {count}" for name, count in part.labels[:20]) + more, 11)
        single = lonely_classes_sentence(sum(count == 1 for _, count in part.labels), len(part.labels))
        if single is not None:
            yield Line(f"single     {single}", 11)
    lengths = part.lengths
    if lengths is not None:
        share = lengths.supervised / max(lengths.tokens, 1)
        yield Line(f"tokens     {lengths.tokens}, {lengths.supervised} of them ({share:.0%}) carry loss", 11)
        cut = f"{lengths.cut} rows are cut at {lengths.limit} tokens (`training.max_length`)"
        yield Line(f"lengths    median {lengths.median}, longest {lengths.longest}; {cut}", 11)
        if lengths.nothing_to_learn:
            yield Line(f"nothing    {lengths.nothing_to_learn} rows have no token to learn, and are left out", 11)
        if lengths.untaught:
            yield Line(f"untaught   {lengths.untaught} answers carry no loss: the template changes them later", 11)
    for row in part.shown:
        yield Verbatim(f"row {row.line}")
        for piece in row.pieces:
            yield Verbatim(f"  {'learnt ' if piece.learnt else 'given  '} {piece.text!r}")


def _leak_line(leak: "Leak") -> Line:
    return Line(
        f"leaks      of {leak.rows} held-out rows {leak.exact} are training rows, {leak.similar} but for case and space; "
        f"{leak.same_prompt} have a training row's prompt",
        11,
    )

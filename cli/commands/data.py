"""data: what is in a data set, before anything is trained on it; and counterparts of its rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption

if TYPE_CHECKING:
    from peft_registry.schemas.dataset import CounterfactualData
    from peft_registry.trainer.data.inspection import DataPart, Leak


def add_to(app: typer.Typer) -> None:
    """Enter `registry data` and its commands, in the order of its help."""
    data = typer.Typer(help="Inspect training data, and write counterfactual rows.", no_args_is_help=True)
    data.command("inspect")(data_inspect)
    data.command("counterfactual")(data_counterfactual)
    app.add_typer(data, name="data")


def data_inspect(
    file: Annotated[
        str, typer.Argument(help="A data file, a Hub id (owner/name), or a training file.", show_default=False)
    ],
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
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Inspect training data. Rows, tokens and which carry loss, duplicates, leaks between splits."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.schemas.config import ROW_FORMATS
    from peft_registry.trainer.use_cases.inspect_data import TRAINING_FILES, inspect_data, inspection_target

    if data_format is not None and data_format not in ROW_FORMATS:
        raise typer.BadParameter(f"one of {', '.join(ROW_FORMATS)}", param_hint="--format")

    target = inspection_target(file, validation=validation, base=base, max_length=max_length, data_format=data_format)
    progress = Progress(story_on_stdout=False)
    if target.base is None:
        inspected = inspect_data(target, observe=progress)
    else:
        with opened(home) as registry:
            inspected = inspect_data(target, registry=registry, show=labels, observe=progress)
    if output is Output.json:
        console.out_json(inspected.to_json())
        return
    _show(inspected.train)
    if inspected.validation is not None:
        _show(inspected.validation)
    if inspected.leak is not None:
        _show_leak(inspected.leak)
    if target.base is None:
        console.note("--base REF counts tokens, and --labels N shows them")
    console.next_step(f"registry train {file if file.endswith(TRAINING_FILES) else 'CONFIG.yml'}")


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
    output: OutputOption = Output.text,
) -> None:
    """Write rows and their counterfactuals. Swapped by pinned word lists; a row that is not surely a sentence is dropped."""
    from peft_registry.schemas.config import ROW_FORMATS
    from peft_registry.trainer.use_cases.counterfactual_data import write_counterfactual

    if data_format is not None and data_format not in ROW_FORMATS:
        raise typer.BadParameter(f"one of {', '.join(ROW_FORMATS)}", param_hint="--format")
    target = out if out is not None else Path(f"{file.stem}-counterfactual.jsonl")
    written = write_counterfactual(file, target, tuple(axis or ()), row_format=data_format)
    if output is Output.json:
        console.out_json(written.to_json())
        return
    _show_counterfactual(target, written)
    console.next_step(f"registry data inspect {console.printable(str(target))}")


def _show_counterfactual(target: Path, written: "CounterfactualData") -> None:
    console.line(
        f"written    {console.printable(str(target))}  {written.output_rows} rows  {written.output_sha256.short}",
        indent=11,
    )
    console.line(
        f"kept       {written.kept_rows} of {written.input_rows} rows, each with its counterparts; "
        f"{written.repeated_rows} were written before",
        indent=11,
    )
    for word_list in written.lists:
        console.line(
            f"{word_list.axis:<11}{word_list.swapped} rows swapped by the list {word_list.sha256.short}", indent=11
        )
        for reason, count in word_list.dropped.items():
            console.line(f"dropped    {count}: {reason}", indent=11)


def _show(part: "DataPart") -> None:
    how = "recognised" if part.detected else "as asked"
    columns = ", ".join(f"{meaning} from `{column}`" for meaning, column in part.columns)
    console.line(f"data       {console.printable(part.name)}  {part.rows} rows  {part.sha256.short}", indent=11)
    console.line(f"format     {part.format} ({how}): {console.printable(columns)}", indent=11)
    console.line(
        f"duplicates {part.exact} exact, {part.similar} but for case and space; "
        f"{part.conflicting} same prompt, other answer",
        indent=11,
    )
    if part.labels:
        console.line(
            "labels     " + ", ".join(f"{console.printable(name)} {count}" for name, count in part.labels[:20]),
            indent=11,
        )
    lengths = part.lengths
    if lengths is not None:
        share = lengths.supervised / max(lengths.tokens, 1)
        console.line(f"tokens     {lengths.tokens}, {lengths.supervised} of them ({share:.0%}) carry loss", indent=11)
        console.line(
            f"lengths    median {lengths.median}, longest {lengths.longest}; {lengths.cut} rows are cut", indent=11
        )
        if lengths.nothing_to_learn:
            console.line(
                f"nothing    {lengths.nothing_to_learn} rows have no token to learn, and are left out", indent=11
            )
        if lengths.untaught:
            console.line(
                f"untaught   {lengths.untaught} answers carry no loss: the template changes them later", indent=11
            )
    for row in part.shown:
        console.out(f"row {row.line}")
        for piece in row.pieces:
            console.out(f"  {'learnt ' if piece.learnt else 'given  '} {piece.text!r}")


def _show_leak(leak: "Leak") -> None:
    console.line(
        f"leaks      of {leak.rows} held-out rows {leak.exact} are training rows, {leak.similar} but for case and space; "
        f"{leak.same_prompt} have a training row's prompt",
        indent=11,
    )

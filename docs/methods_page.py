"""`docs/reference/methods.md`: the table of methods, what each fits, and where each default comes from."""

from collections.abc import Iterator

from docs.tables import table
from peft_registry.schemas.methods import DECLARED, METHODS
from peft_registry.schemas.methods.loaded import NOT_LOADED
from peft_registry.trainer.methods import advice_of

_FITS = {True: "fits", None: "not known", False: "does not"}


def methods_page() -> str:
    """The page, from the declarations of the methods."""
    lines = [
        "# Methods",
        "",
        "`method:` of a training file.",
        "",
        *_trained(),
        "",
        *_advice(),
        "",
        *_defaults(),
        "",
        *_loaded(),
    ]
    return "\n".join(lines) + "\n"


def _trained() -> Iterator[str]:
    """The methods that a training file may name."""
    headings = ("Method", "What it does", "`registry merge` folds it", "On 4 bits", "Memory")
    yield from table(
        headings,
        [
            (f"`{row.name}`", row.summary, _yes_or_no(row.folds), _yes_or_no(row.quantizable), row.memory)
            for row in METHODS.values()
        ],
    )


def _advice() -> Iterator[str]:
    """Which method fits which goal."""
    yield from ("## Goals", "", "`goals:` of a training file, and `registry methods --for latency,many_tasks`.", "")
    yield from table(
        ("Method", "Goal", "Fits", "Why"),
        [
            (f"`{row.name}`", f"`{advice.goal}`", _FITS[advice.fits], advice.why)
            for row in METHODS.values()
            for advice in advice_of(row)
        ],
    )


def _defaults() -> Iterator[str]:
    """The default of each setting, and its source."""
    yield from ("## Defaults", "")
    yield from table(
        ("Method", "Key", "Default", "Source"),
        [
            (f"`{row.name}`", f"`{default.key}`", f"`{default.value}`", default.source)
            for row in METHODS.values()
            for default in row.defaults
        ],
    )


def _loaded() -> Iterator[str]:
    """The methods whose adapters are imported and not trained, and those that are not imported."""
    yield from ("## Loaded and not trained", "")
    yield "Adapters that peft writes and `registry import` takes. Each is verified, loaded, evaluated, gated and recalled."
    yield ""
    yield from table(
        ("Method", "Name", "peft_type", "Changes weights", "`registry merge` folds it"),
        [
            (
                f"`{method.name}`",
                method.title,
                f"`{method.peft_type}`",
                "yes" if method.no_weight is None else f"no: {method.no_weight}",
                _yes_or_no(method.folds),
            )
            for method in DECLARED.values()
            if method.name not in METHODS
        ],
    )
    yield ""
    yield from (f"- `{name}` is not imported: {why}." for name, why in NOT_LOADED.items())


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"

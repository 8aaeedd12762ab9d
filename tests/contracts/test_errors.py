"""Every declared error, rendered from sample facts: its reference, its exit code and its three sentences.

`tests/golden/errors.txt` holds the text of all of them. Look at what changed, then write it anew with `UPDATE_GOLDEN=1`.
"""

import importlib
import inspect
import os
import pkgutil
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command

from docs.errors_page import KnownErrorEntry, known_errors
from docs.generate import commands
from peft_registry.cli.main import app
from peft_registry.registry.evaluation.recheck import Discrepancy
from peft_registry.registry.gate.reasons import Reason
from peft_registry.registry.identity.weights import TensorDifference
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.errors import InputRefused, KnownError, facts_of, reference_of
from peft_registry.schemas.evaluation import Threshold
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.merge import Divergence
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Check, VerifyOutcome, Version
from peft_registry.trainer.merge.adapter import Adapter
from tests.builders.records import a_stored_statement, a_version, an_outcome
from tests.processes.interpreter import ROOT

GOLDEN = ROOT / "tests" / "golden" / "errors.txt"
FAMILY_CODES = {2, 3, 4, 5, 6, 7, 8}
SENTENCES = ("what", "why", "fix")
# a proper name, or a fact
MAY_START_UPPER = ("MLflow ", "<")
FEW, MANY = ("sums", "names"), tuple(f"part-{number}" for number in range(1, 13))

# a valid value of each type that a fact has; `<name>` where it is a text
SAMPLES: dict[Any, Callable[[str], object]] = {
    str: lambda name: f"<{name}>",
    object: lambda name: f"<{name}>",
    int: lambda _: 3,
    float: lambda _: 0.25,
    bool: lambda _: True,
    bytes: str.encode,
    Path: lambda name: Path("folder") / name,
    Digest: lambda name: Digest.of(name.encode()),
    Reference: lambda name: Reference.parse(f"{name}:3"),
    Threshold: lambda _: Threshold(lo=0.5, hi=0.25, source="the policy"),
    Divergence: lambda _: Divergence(
        kl=0.5, largest=2.0, agreement=0.75, positions=64, reference="the base", limit=0.01
    ),
    Discrepancy: lambda name: Discrepancy(f"<{name}>", "0.25", "0.5"),
    StoredStatement: lambda _: a_stored_statement(),
    TensorDifference: lambda name: TensorDifference(name, "bytes"),
    Adapter: lambda name: Adapter(Path("folder") / name, {}, {}),
    KnownError: lambda name: InputRefused.in_words(what=f"what is {name}", why="its reason", fix="its remedy"),
    Version: lambda _: a_version(),
    Edition: lambda _: Edition(name="2026-12", digest=Digest.of(b"an edition")),
    Reason: lambda name: Reason(rule="evaluation", text=f"{name} was not evaluated", remedy="`registry evaluate`"),
    VerifyOutcome: lambda _: an_outcome(
        checks=(
            Check(step="signature", text="it is wrong", status="failed", detail=("by nobody",)),
            Check(step="log", text="no proof", status="unchecked"),
        )
    ),
}
# facts that change more of the words than being absent does
OTHER_FACTS: dict[str, tuple[Mapping[str, object], ...]] = {
    "absent-column": ({"column": "nams", "columns": FEW, "recognised": None},),
    "ambiguous-data-files": ({"groups": MANY},),
    "base-weights-incomplete": ({"names": MANY},),
    "data-without-use": ({"names": ()},),
    "evaluation-altered": ({"discrepancies": (Discrepancy("mean", "1", "2"), Discrepancy("n", "3", "4"))},),
    "name-of-another-kind": ({"kind": "base"},),
    "no-such-data-files": ({"files": ()}, {"files": MANY}),
    "no-such-task": ({"names": ()}, {"task": "sum", "names": FEW}),
    "no-training-file": ({"value": None},),
    "nothing-compared": ({"failures": ()},),
    "nothing-to-resume": ({"stopped": ()},),
    "on-hold": ({"label": "sums:1", "source": "sums:1"},),
    "pattern-unmatched": ({"pattern": "nams", "names": FEW},),
    "schema-mismatch": ({"found": "0001", "expected": "0002"}, {"found": "0009", "expected": "0002"}),
    "suite-not-in-repository": ({"files": ()}, {"files": MANY}),
    "targets-not-found": ({"key": "lora.target_modules"},),
    "unexpected-ignore-paths": ({"found": ()},),
    "unknown-algorithm": ({"word": "tie"},),
    "unknown-document": ({"name": "manifset"},),
    "unknown-goal": ({"word": "latancy"},),
    "unknown-root": ({"signed_by": ()},),
    "unknown-suite": ({"name": "nams", "known": FEW},),
    "version-recalled": ({"label": "sums:1", "source": "sums:1"},),
    "version-unknown": ({"close": ("sums:1",)},),
    "wrong-value": ({"value": "x" * 200}, {"value": ("a", "b")}),
}


def is_family(entry: KnownErrorEntry) -> bool:
    return entry.error.name == entry.family


@cache
def every_error() -> tuple[type[KnownError], ...]:
    """Every declared error, the families apart, by exit code and reference."""
    entries = [entry for entry in known_errors(ROOT) if not is_family(entry)]
    classes = [getattr(importlib.import_module(entry.error.module), entry.error.name) for entry in entries]
    return tuple(sorted(classes, key=lambda error: (error.exit_code, error.reference)))


def sample(annotation: Any, name: str) -> Any:
    """A value that a fact of this type may have."""
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    match get_origin(annotation):
        case None if annotation in SAMPLES:
            return SAMPLES[annotation](name)
        case origin if origin in (Union, UnionType):
            return sample(arguments[0], name)
        case origin if origin is Literal:
            return arguments[0]
        case origin if origin is tuple and arguments[-1] is not Ellipsis:
            return tuple(sample(argument, f"{name}-{place}") for place, argument in enumerate(arguments, start=1))
        case origin if origin in (tuple, Sequence, Collection):
            return tuple(sample(arguments[0], f"{name}-{place}") for place in (1, 2))
        case _:
            raise TypeError(f"a sample of {annotation} is to be written here, for the fact {name}")


def fact_sets(error: type[KnownError]) -> Iterator[dict[str, Any]]:
    """Sample facts: all of them, then without what may be absent, false or a default, then what changes more words."""
    types = get_type_hints(error)
    facts = {name: sample(types[name], name) for name in facts_of(error)}
    yield facts
    yield facts | {name: getattr(error, name) for name in facts if hasattr(error, name)}
    for name in facts:
        if NoneType in get_args(types[name]) and not hasattr(error, name):
            yield facts | {name: None}
        if types[name] is bool:
            yield facts | {name: False}
    for other in OTHER_FACTS.get(error.reference, ()):
        yield facts | other


@cache
def made_from_samples(error: type[KnownError]) -> tuple[KnownError, ...]:
    return tuple(error(**facts) for facts in fact_sets(error))


def renderings(error: type[KnownError]) -> list[str]:
    """The different texts of an error, each three lines."""
    texts = ["\n".join(f"  {name}: {getattr(one, name)}" for name in SENTENCES) for one in made_from_samples(error)]
    return list(dict.fromkeys(texts))


def test_every_error_reads_as_the_golden_file_has_it() -> None:
    text = "\n\n".join(
        f"{error.reference} (exit {error.exit_code})\n" + "\n  --\n".join(renderings(error)) for error in every_error()
    )
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == GOLDEN.read_text(encoding="utf-8"), "errors.txt changed; look at it, then UPDATE_GOLDEN=1"


SIGNED_ACTS = re.compile(
    r"`registry (recall|release|hold|gate approve|gate waive|gate set|gate unset|decide \S+ --on)\b[^`]*`"
)


def test_an_act_that_a_sentence_tells_to_type_comes_with_the_options_that_it_needs() -> None:
    acts = {
        found.group() for error in every_error() for text in renderings(error) for found in SIGNED_ACTS.finditer(text)
    }
    assert len(acts) >= 5
    assert [act for act in acts if not act.endswith(" --reason TEXT --key FILE`")] == []


def test_a_reference_names_one_class() -> None:
    references = Counter(entry.reference for entry in known_errors(ROOT))  # with those of the families
    assert len(references) > len(every_error()) > 250
    assert [reference for reference, classes in references.items() if classes > 1] == []


def test_an_error_is_declared_and_not_programmed() -> None:
    assert [error.__name__ for error in every_error() if "__init__" in vars(error)] == []
    assert [error.__name__ for error in every_error() if set(facts_of(error)) & {*SENTENCES, "reference", "args"}] == []


def test_the_facts_that_change_words_belong_to_errors_that_exist() -> None:
    declared = {error.reference: set(facts_of(error)) for error in every_error()}
    for reference, changes in OTHER_FACTS.items():
        for facts in changes:
            assert facts.keys() <= declared[reference]


# --- four rules for each error: one test a rule, which names all that break it ---


def none_of(violations: Iterable[str]) -> None:
    """Fail once, with a line for each violation."""
    lines = list(dict.fromkeys(violations))
    assert not lines, "\n" + "\n".join(lines)


def test_each_error_has_a_reference_a_family_and_three_sentences() -> None:
    none_of(f"{entry.error.path}: {text}" for entry in known_errors(ROOT) for text in missing_in(entry))


def missing_in(entry: KnownErrorEntry) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|refused|taken|unavailable", entry.reference):
        yield f"{entry.reference!r} is not a reference"
    if entry.error.reference == reference_of(entry.error.name):
        yield f"it states {entry.reference!r}, which its name says already"
    if entry.exit_code not in FAMILY_CODES:
        yield f"{entry.exit_code} is the exit code of no family"
    if is_family(entry):
        if not entry.error.summary:
            yield "a family says what its errors have in common"
        return
    for name in SENTENCES:
        if not getattr(entry, name):
            yield f"it has no {name}"


def test_an_error_points_only_at_commands_that_there_are() -> None:
    known = {" ".join(path) for path, _ in commands(get_command(app))}
    none_of(
        f"{entry.error.path}: there is no `registry {words}`"
        for entry in known_errors(ROOT)
        for words in unknown_in(entry, known)
    )


def unknown_in(entry: KnownErrorEntry, commands_known: Collection[str]) -> Iterator[str]:
    """The words after `registry` in the sentences of an error that are no command, of a group where they name one."""
    groups = {name.partition(" ")[0] for name in commands_known if " " in name}
    for sentence in SENTENCES:
        for found in re.findall(r"`registry ((?:[a-z]+(?:-[a-z]+)* ?)+)", getattr(entry, sentence)):
            words = found.split()
            is_group_alone = len(words) == 1 and words[0] in groups
            name = " ".join(words[:2] if words[0] in groups else words[:1])
            if not is_group_alone and name not in commands_known:
                yield name


def test_a_sentence_is_one_line_without_a_capital_or_a_full_stop() -> None:
    none_of(
        f"{error.__name__}.{name} {objection}: {getattr(made, name)!r}"
        for error in every_error()
        for made in made_from_samples(error)
        for name in SENTENCES
        for objection in objections_to(getattr(made, name))
    )


def objections_to(sentence: str) -> Iterator[str]:
    if not sentence:
        yield "says nothing"
    if sentence.strip() != sentence:
        yield "has a space at an end"
    if "\n" in sentence:
        yield "has several lines"
    if sentence.endswith("."):
        yield "ends with a full stop"
    if sentence[:1].isupper() and not sentence.startswith(MAY_START_UPPER):
        yield "begins with a capital"
    if "  " in sentence:
        yield "has two spaces"
    if "None" in sentence:
        yield "shows an absent fact as None"


def test_each_fact_is_used_in_a_sentence_or_read_by_the_code_that_catches_the_error() -> None:
    none_of(
        f"{error.__name__}: nothing says or reads {fact}" for error in every_error() for fact in unused_facts(error)
    )


def unused_facts(error: type[KnownError]) -> set[str]:
    own = {name for name in facts_of(error) if name in vars(error).get("__annotations__", {})}
    return own - used_in_sentences(error) - READ_BY_CODE.get(error.reference, set())


def used_in_sentences(error: type[KnownError]) -> set[str]:
    """The names that the templates of an error fill in, and those that its properties read for them."""
    named = {
        re.split(r"[.\[]", field)[0]
        for sentence in SENTENCES
        for _, field, _, _ in string.Formatter().parse(getattr(error, sentence))
        if field
    }
    waiting = set(named)
    while waiting:
        computed = inspect.getattr_static(error, waiting.pop(), None)
        if isinstance(computed, property):
            found = set(re.findall(r"\bself\.(\w+)", inspect.getsource(computed.fget)))  # type: ignore[arg-type]
            waiting |= found - named
            named |= found
    return named


READ_BY_CODE: dict[str, set[str]] = {"not-loadable-by-mlflow": {"lines"}}


def every_subclass(of: type[KnownError]) -> Iterator[type[KnownError]]:
    for one in of.__subclasses__():
        yield one
        yield from every_subclass(one)


def test_the_errors_read_from_the_source_are_those_of_the_running_program() -> None:
    without_torch = tuple(f"peft_registry.{layer}" for layer in ("schemas", "registry", "cli"))
    for package in without_torch:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if ".migrations." not in found.name and ".mlflow." not in found.name:
                importlib.import_module(found.name)
    read = {entry.error.path: (entry.reference, entry.exit_code) for entry in known_errors(ROOT)}
    live = {
        f"{one.__module__}.{one.__name__}": (one.reference, one.exit_code)
        for one in every_subclass(KnownError)
        if one.__module__.startswith(without_torch)
    }
    assert live
    assert live.items() <= read.items()


# --- what a declaration must not do ---


class NamesNoFact(KnownError):
    what = "{nothing} is named"
    why = "it is no fact"
    fix = "declare it"

    word: str


def test_a_sentence_that_names_no_fact_cannot_be_rendered() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        NamesNoFact("anything")
    assert used_in_sentences(NamesNoFact) == {"nothing"}


class StatesItsReference(NamesNoFact):
    reference = "of-an-earlier-name"


class DeclaredBelow(StatesItsReference):
    pass


def test_a_reference_is_the_name_of_the_class_unless_this_class_states_another() -> None:
    assert (NamesNoFact.reference, StatesItsReference.reference) == ("names-no-fact", "of-an-earlier-name")
    assert DeclaredBelow.reference == "declared-below"


class Declared(KnownError):
    what = "{word!q} and {path!a}"
    why = "{names!l}, {count:03d}, {mapping[key]}"
    fix = "write {{braces}}{end}"

    word: str
    path: str
    names: Sequence[str]
    count: int
    mapping: Mapping[str, str]
    end: str = "…"


def declared(**facts: Any) -> Declared:
    sound: dict[str, Any] = {"word": "a", "path": "b", "names": ("x", "y"), "count": 7, "mapping": {"key": "value"}}
    return Declared(**(sound | facts))


def test_the_conversions_of_a_sentence() -> None:
    error = declared()
    assert (error.what, error.why, error.fix) == ("'a' and 'b'", "x, y, 007, value", "write {braces}…")
    assert str(error) == "'a' and 'b': x, y, 007, value"
    cut = declared(word="w" * 100, path="é" * 201, names=())
    assert cut.what == f"'{'w' * 79}…' and '{chr(92)}xe9" + f"{chr(92)}xe9" * 199 + "'"
    assert cut.why.startswith("nothing, ")
    assert declared(word="\x1b[31m\u202e").what.startswith(r"'\x1b[31m\u202e'")


def test_facts_are_bound_like_the_parameters_of_a_function() -> None:
    error = Declared("a", "b", ("x",), 7, {"key": "value"}, end="!")
    assert (error.word, error.names, error.end, error.fix) == ("a", ("x",), "!", "write {braces}!")
    for values, named in [
        (("a", "b", (), 7, {}, "!", "more"), {}),  # too many
        (("a",), {}),  # too few
        (("a", "b", (), 7, {"key": "value"}), {"other": 1}),  # unknown
        (("a", "b", (), 7, {"key": "value"}), {"word": "twice"}),
        ((), {"what": "said", "why": "said", "fix": "said"}),
    ]:
        with pytest.raises(TypeError):
            Declared(*values, **named)


def test_a_fact_that_holds_braces_is_shown_as_it_is() -> None:
    assert declared(word="{word}{0}").what == "'{word}{0}' and 'b'"

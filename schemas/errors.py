"""Errors that we foresaw, how one is declared, and the exit code of each family.

KnownError                    the root; anything else that escapes is a bug (exit 1)
├── InputRefused        2     usage, configuration, or input refused at intake
├── Refused             3     a gate, an obligation, a hold or a recall says no
├── RunFailed           4     the work itself failed (diverged, out of memory, over tolerance)
├── NotChecked          5     could not be checked: accuses nobody
├── IntegrityBroken     6     what was presented is not what was signed or recorded
├── NotFound / Taken    7     unknown name, or a name that already means something else
└── Unavailable         8     this machine or a backend cannot

A concrete error lives beside the code that raises it and is declared, not programmed: three sentences (what happened, why, how
to go on), and as annotations the facts that they are about:

    class MalformedRate(InputRefused):
        what = "{word!q} gives no method a learning rate"
        why = "it is a method, an equals sign and a positive number"
        fix = "write it like lora=2e-4"

        word: str

    raise MalformedRate(word)

Its `reference`, by which users and programs know it, is the name of the class in words, here `malformed-rate`; a class whose
reference is another states it above the sentences. References are public: a class that is renamed states its old one.

In a sentence `{word}` is a fact or a property of the error, `{word!q}` is quoted and cut to 80 characters, `{path!a}` is
quoted with what is not ASCII escaped and cut to 200, and `{names!l}` is a list with commas, or "nothing".
`docs/reference/errors.md` lists all errors, and `tests/golden/errors.txt` shows each of them rendered.
"""

import re
import string
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, dataclass_transform, get_origin

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
QUOTED_CHARACTERS = 80  # of what somebody else wrote; the rest would push the sentence off the screen
ESCAPED_CHARACTERS = 200  # of a path or a tensor's name: they are long, and end in what tells them apart


def reference_of(class_name: str) -> str:
    """The reference of a class that states none: `malformed-rate` for `MalformedRate`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", class_name).lower()


@dataclass_transform()
class KnownError(Exception):
    """Something we foresaw: `what` happened, `why`, and how to `fix` it or go on.

    The facts of a class are its annotations that are no `ClassVar`, those of its bases first; they are given in that order or by
    name, and stay readable as attributes.
    """

    exit_code: ClassVar[int] = EXIT_BUG
    reference: ClassVar[str] = "known-error"
    # templates on a class, sentences on an error
    what: ClassVar[str] = ""
    why: ClassVar[str] = ""
    fix: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "reference" not in vars(cls):
            cls.reference = reference_of(cls.__name__)

    @property
    def separate_reasons(self) -> tuple[str, ...]:
        """The reasons of `why` one by one, where it has several and a person reads them better below each other."""
        return ()

    # any facts: the transform above has the type checker see the facts of each class
    def __init__(self, *values: Any, **named: Any) -> None:
        facts = _bind(type(self), values, named)
        # past the descriptors: a fact may hide a default of the class
        self.__dict__.update(facts)
        for sentence in ("what", "why", "fix"):
            self.__dict__[sentence] = _Sentences().vformat(getattr(type(self), sentence), (), _Named(self))
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"

    @classmethod
    def in_words(cls, *, what: str, why: str, fix: str, reference: str | None = None) -> Self:
        """An error of this family whose sentences are known already, such as one that another process reported.

        Without a reference of its own it has that of the family.
        """
        error = cls.__new__(cls)
        Exception.__init__(error, what)
        error.__dict__.update(what=what, why=why, fix=fix, reference=reference or cls.reference)
        return error


def facts_of(error: type[KnownError]) -> dict[str, Any]:
    """The facts that an error takes, with their annotations, in order."""
    values: dict[str, Any] = {}
    for base in reversed(error.__mro__):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            is_class_variable = get_origin(annotation) is ClassVar or str(annotation).startswith(
                ("ClassVar", "typing.ClassVar")
            )
            if issubclass(base, KnownError) and not is_class_variable:
                values[name] = annotation
    return values


def _bind(error: type[KnownError], values: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """Each fact with its value, as a call of a function with these parameters would bind them."""
    names = list(facts_of(error))
    if len(values) > len(names):
        raise TypeError(f"{error.__name__} takes {len(names)} facts, {len(values)} were given")
    facts = dict(zip(names, values, strict=False))
    for name, value in named.items():
        if name not in names or name in facts:
            raise TypeError(
                f"{error.__name__} takes {', '.join(names) or 'no facts'}; {name} is another, or was given twice"
            )
        facts[name] = value
    for name in names:
        if name not in facts:
            if not hasattr(error, name):
                raise TypeError(f"{error.__name__} needs {name}")
            facts[name] = getattr(error, name)
    return facts


class _Sentences(string.Formatter):
    """`str.format` with two more conversions, `!q` quotes and cuts, `!l` lists; and `!a` cuts too."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion == "q":
            text = str(value)
            return repr(text if len(text) <= QUOTED_CHARACTERS else f"{text[: QUOTED_CHARACTERS - 1]}…")
        if conversion == "a":
            return ascii(str(value)[:ESCAPED_CHARACTERS])
        if conversion == "l":
            return listed(value)
        return super().convert_field(value, conversion)


def listed(values: Iterable[object], *, most: int | None = None) -> str:
    """The values with commas between them, or "nothing"; with an ellipsis where there are more than `most`."""
    words = [str(value) for value in values]
    rest = " …" if most is not None and len(words) > most else ""
    return (", ".join(words[:most]) or "nothing") + rest


class _Named(Mapping[str, Any]):
    """The attributes of an error by name, for a template."""

    def __init__(self, error: KnownError) -> None:
        self._error = error

    def __getitem__(self, name: str) -> Any:
        return getattr(self._error, name)

    def __iter__(self) -> Any:
        return iter(facts_of(type(self._error)))

    def __len__(self) -> int:
        return len(facts_of(type(self._error)))


class InputRefused(KnownError):
    """Usage, configuration, or input that intake refuses."""

    exit_code = 2


class SeveralProblems(InputRefused):
    """More than one thing is wrong: `problems` has each of them, with its own what, why and fix."""

    what = "{count} things are wrong with what was given"
    why = "{reasons}"
    fix = "{remedies}"

    problems: tuple[KnownError, ...]

    @property
    def count(self) -> int:
        return len(self.problems)

    @property
    def reasons(self) -> str:
        return "; ".join(
            f"({number}) {problem.what}: {problem.why}" for number, problem in enumerate(self.problems, start=1)
        )

    @property
    def remedies(self) -> str:
        return "; ".join(f"({number}) {problem.fix}" for number, problem in enumerate(self.problems, start=1))


def raise_any(problems: Iterable[KnownError]) -> None:
    """Raise the only problem as it is, several as one error; return where there is none.

    Raises:
        KnownError: the only one.
        SeveralProblems: where there are more.
    """
    several = tuple(problems)
    if len(several) == 1:
        raise several[0]
    if several:
        raise SeveralProblems(several)


class Refused(KnownError):
    """A gate, an obligation, a hold or a recall forbids it."""

    exit_code = 3


class RunFailed(KnownError):
    """The work was started and failed."""

    exit_code = 4


class NotChecked(KnownError):
    """Something required could not be checked; nothing is known to be wrong."""

    exit_code = 5


class IntegrityBroken(KnownError):
    """Bytes, signatures or trust that were presented are not what was recorded."""

    exit_code = 6


class NotFound(KnownError):
    """No such name, version or digest."""

    exit_code = 7


class Taken(KnownError):
    """The name or version exists already with other content."""

    exit_code = 7


class Unavailable(KnownError):
    """This machine or a backend cannot do it: disk full, database down, extra missing."""

    exit_code = 8

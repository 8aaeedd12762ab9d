"""A report on a whole registry: which versions nobody decided about, what is open, what is in use, what falls due. Pure.

It is built version by version, in bounded memory: of each list the first `LISTED` are kept by its order, and the rest is counted.
"""

import heapq
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Generic, TypeVar

from peft_registry.registry.reports.html import template
from peft_registry.registry.reports.pages import style_source
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.values import Timestamp

LISTED = 200
"""Lines of each list that are kept; a person reads a first page, and the rest is found with `registry list`."""


Entry = TypeVar("Entry")


class Due(Frozen):
    """Something that ends, or has ended, on a day: what, of what, and what to do about it."""

    on: str  # YYYY-MM-DD
    kind: str
    about: str
    text: str
    remedy: str


class Undecided(Frozen):
    """A version that no alias was moved to and that nobody approved."""

    version: str
    registered_at: Timestamp
    remedy: str


class OpenQuestions(Frozen):
    """A version whose record leaves something open: what keeps its status open, and how many fields of how many."""

    version: str
    status: tuple[str, ...]
    fields: str
    remedy: str


class InUse(Frozen):
    """An alias and the move that pointed it there; `worry` says what of it does not hold today, empty for nothing.

    `flags` are what is said beside its status, and what licences restrict.
    """

    alias: str
    version: str
    moved: str
    policy: str | None
    bound: str | None
    flags: tuple[str, ...]
    worry: tuple[str, ...]
    remedy: str


class DueCount(Frozen):
    """How much of one kind falls due at all, within the time that was asked, and when next."""

    kind: str
    count: int
    within: int
    next: str | None


class WholeRegistry(Frozen):
    """The report. Of each list `*_count` says how many there are; what is listed comes first by its order."""

    title: str
    made_at: Timestamp
    until: str
    tool_version: str
    covered: int
    pending: int
    versions: int
    bases: int
    undecided: tuple[Undecided, ...]
    undecided_count: int
    open: tuple[OpenQuestions, ...]
    open_count: int
    in_use: tuple[InUse, ...]
    in_use_count: int
    worrying: int  # of those in use
    due: tuple[Due, ...]
    due_count: int
    kinds: tuple[DueCount, ...]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Label and text of each line, for people."""
        yield "registry", self.title
        yield "state", f"{self.made_at}, {self.covered} entries under a checkpoint, {self.pending} pending"
        bases = "1 base" if self.bases == 1 else f"{self.bases} bases"
        yield "versions", f"{self.versions}, and {bases}"
        yield "due", f"{self.due_count} until {self.until}"
        for due in self.due:
            yield due.on, f"{due.kind}: {due.about}: {due.text}"
            yield "", f"→ {due.remedy}"
        yield (
            "in use",
            f"{self.in_use_count} by an alias; {self.worrying} of them with something that does not hold today",
        )
        for used in self.in_use:
            if used.flags:
                yield "", f"{used.alias} → {used.version}: flags {', '.join(used.flags)}"
            if used.worry:
                yield "", f"{used.alias} → {used.version}: {'; '.join(used.worry)}"
                yield "", f"→ {used.remedy}"
        yield "undecided", f"{self.undecided_count} without an alias or an approval"
        for version in self.undecided:
            yield "", f"{version.version}, registered {version.registered_at[:10]} → {version.remedy}"
        yield "open", f"{self.open_count} with open questions"
        for questions in self.open:
            yield "", f"{questions.version}: {questions.fields}{_status(questions)} → {questions.remedy}"

    def html(self) -> str:
        """The page. Equal values give equal text; nothing in it may run or be fetched."""
        page = template("registry.html.jinja").render(report=self, csp="")
        return template("registry.html.jinja").render(report=self, csp=style_source(page))


def _status(questions: OpenQuestions) -> str:
    count = len(questions.status)
    if count == 0:
        return ""
    return f"; {count} question keeps its status open" if count == 1 else f"; {count} questions keep its status open"


class GatheredLists:
    """The lists so far. What does not fit is counted."""

    def __init__(self, *, now: Timestamp, days: int) -> None:
        self.until = (date.fromisoformat(now[:10]) + timedelta(days=days)).isoformat()
        self.versions = self.bases = 0
        self.undecided = _First[Undecided]()
        self.open = _First[OpenQuestions]()
        self.in_use = _First[InUse]()
        self.worrying = 0
        self.due = _First[Due]()
        self._kinds: dict[str, DueCount] = {}
        self.now = now
        self._today = now[:10]

    def add_undecided(self, version: Undecided) -> None:
        """The newest are listed first."""
        self.undecided.add((_descending(version.registered_at), version.version), version)

    def add_open(self, questions: OpenQuestions, *, count: int) -> None:
        """Those whose status is open are listed first, then those with most open fields."""
        self.open.add((not questions.status, -count, questions.version), questions)

    def add_in_use(self, used: InUse) -> None:
        """Those of which something does not hold are listed first."""
        self.worrying += bool(used.worry)
        self.in_use.add((not used.worry, used.alias), used)

    def add_due(self, due: Due) -> None:
        """What lies behind the time that was asked is counted, and not listed."""
        known = self._kinds.get(due.kind, DueCount(kind=due.kind, count=0, within=0, next=None))
        is_within = due.on <= self.until
        later = [day for day in (known.next, due.on if due.on >= self._today else None) if day is not None]
        self._kinds[due.kind] = DueCount(
            kind=due.kind, count=known.count + 1, within=known.within + is_within, next=min(later, default=None)
        )
        if is_within:
            self.due.add((due.on, due.kind, due.about), due)

    @property
    def kinds(self) -> tuple[DueCount, ...]:
        """Of each kind of date how many there are, by its name."""
        return tuple(self._kinds[name] for name in sorted(self._kinds))


class _First(Generic[Entry]):
    """The first entries by an order, in bounded memory, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._heap: list[tuple[_Last, int, Entry]] = []  # the last of the first lies on top

    def add(self, order: tuple[object, ...], entry: Entry) -> None:
        self.count += 1
        item = (_Last(order), self.count, entry)
        if len(self._heap) < LISTED:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    @property
    def listed(self) -> tuple[Entry, ...]:
        """Those that were kept, in order."""
        return tuple(entry for _, _, entry in sorted(self._heap, key=lambda item: (item[0].order, item[1])))


class _Last:
    """An order turned around, so that the heap gives up the last first."""

    __slots__ = ("order",)

    def __init__(self, order: tuple[object, ...]) -> None:
        self.order = order

    def __lt__(self, other: "_Last") -> bool:
        return self.order > other.order

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Last) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.order)


def _descending(text: Timestamp) -> tuple[int, ...]:
    return tuple(-ord(character) for character in text)

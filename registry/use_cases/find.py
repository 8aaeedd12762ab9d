"""`list --where`: the versions that meet a question, page by page, with what was asked for of each.

Which versions are on a page rests on the rows of the catalogue, as every list does. What is said of a version that was found, and
what it was found or sorted by, is held against its signed manifest, the statements about it and the log; what only a row claims
ends the list. What changes from day to day (verdicts with persons' decisions, gates, recalls) is found out of each version that
rows say may be meant.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from peft_registry.registry.compliance.record_verdicts import UNDETERMINED
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.evaluation.leakage import beyond_limit
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.facets import FACETS_FORM, RECALLED, UNKNOWN, facets_form, facets_of, facets_said
from peft_registry.registry.records.lost_rows import require_registrations, require_rows
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import read_statements_ahead, signed_statements
from peft_registry.registry.records.subjects import recalled_once
from peft_registry.registry.records.views import VersionsDiffer, View
from peft_registry.registry.signing.keys import key_id_named
from peft_registry.registry.use_cases.facets_today import facets_today, meets_today
from peft_registry.registry.verification.signed_versions import signed_manifest, signed_versions
from peft_registry.schemas.base_model import LICENCE_FLAGS
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked, NotFound, Unavailable
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.facets import (
    FACETS,
    LONGEST_WORD,
    METRIC,
    OF_TODAY,
    UNSETTLED,
    Condition,
    Facet,
    Order,
    Range,
    Span,
    VersionQuery,
    Words,
    rule_of,
)
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.methods import DECLARED
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.version import Version

FacetValues = dict[str, tuple[str | float, ...]]
_KEY_ID = 64  # hexadecimal digits
MOST_LOOKED_AT = 500  # versions, for one page
_FROM_STATEMENTS = (
    frozenset(rule.name for rule in FACETS if rule.kept in ("words", "numbers")) - catalog.FROM_MANIFEST - OF_TODAY
)


class CursorInvalid(InputRefused):
    what = "{text!q} is not where a page of this list ended"
    why = "{reason}"
    fix = "copy the cursor of the page before, with the same --where and --sort; leave it out for the first page"

    text: str
    reason: str


class FigureUnknown(NotFound):
    what = "no version has {name}"
    why = "no evaluation that is recorded here has a figure of that name for the whole of a data set"
    fix = "{suggestion}"

    name: str
    nearest: str | None = None

    @property
    def suggestion(self) -> str:
        return did_you_mean(
            self.nearest, "`registry evaluate` measures; `registry list --facets` shows which figures there are"
        )


class SignerNotListed(NotFound):
    what = "nobody here is called {name!q}"
    why = "the trust file lists no such person, and no key whose id begins so"
    fix = "{suggestion}"

    name: str
    nearest: str | None = None

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "`registry trust show` lists persons and keys")


class FacetsMissing(Unavailable):
    what = "versions cannot be asked for here yet"
    why = "what they are found by was written by an earlier release, or not at all"
    fix = "run `registry admin upgrade`, which reads it from what was signed"


@dataclass(frozen=True, slots=True)
class Slip:
    """A condition on a word that no version has, as `project=suport-bot`, and the one that was probably meant."""

    condition: str
    nearest: str

    @property
    def text(self) -> str:
        """For people."""
        return f"no version has {self.condition}; did you mean {self.nearest}?"


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Some versions in the order of a question, the facets that were asked for of each, and the cursor to continue with.

    Of what holds today (`OF_TODAY`) a page may have fewer versions than were asked for, and still a cursor. `slips` are said of the
    first page alone. `seen_before` are sentences on versions of which so much of a data set was trained on that a figure that is
    printed does not show what was learnt.
    """

    versions: tuple[Version, ...]
    facets: tuple[FacetValues, ...]
    next: str | None
    slips: tuple[Slip, ...] = ()
    seen_before: tuple[str, ...] = ()


def find_versions(
    registry: Registry,
    query: VersionQuery,
    *,
    columns: Sequence[str] = (),
    cursor: str | None = None,
    limit: int = 100,
) -> FoundPage:
    """At most `limit` versions that meet a question, behind the page that ended at `cursor`.

    Args:
        registry: open.
        query: names of bases and signers as a user gives them; they are looked up here.
        columns: the facets to return of each version.
        cursor: of the page before; None for the first.
        limit: from 1 on.

    Raises:
        CursorInvalid: it is not of this question.
        FacetsMissing, SchemaMismatch: the database is of an earlier release.
        FigureUnknown, SignerNotListed, VersionUnknown, MalformedReference: something that the question names is not here.
        VersionsDiffer: a row of a version that was found is not what was signed or logged, or the log registers one without a row.
        RowsMissing: rows of a facet that the question names are gone.
        StatementAltered: a statement about such a version is not what was signed.
        IntegrityBroken, ObjectMissing: as `facets_today`.
    """
    after = None if cursor is None else _read_cursor(cursor, query)
    registry.database.require_current()
    bases = {word: _weights(registry, word) for word in _words(query, "base")}
    signers = {word: _key_ids(registry, word) for word in _words(query, "signer")}
    with registry.database.read() as tx:
        if catalog.meta(tx, FACETS_FORM) not in (None, facets_form()):
            raise FacetsMissing
        _require_all_rows(View(registry, tx), query, columns, is_first=cursor is None)
        _require_figures(tx, [condition.facet for condition in query.conditions], query.order, columns)
        slips = tuple(_slips(tx, query)) if cursor is None else ()
    resolved = replace(query, conditions=tuple(_resolved(condition, bases | signers) for condition in query.conditions))
    found: list[tuple[Version, FacetValues]] = []
    looked_at = 0
    while True:
        page = _candidates(registry, resolved, columns, after=after, limit=limit - len(found))
        found += page.found
        looked_at += page.looked_at
        after = page.next
        # what holds today is found out of each version that may be meant: a page that is not full costs no more than a full one
        if after is None or len(found) == limit or looked_at >= max(limit, MOST_LOOKED_AT):
            break
    return FoundPage(
        versions=tuple(version for version, _ in found),
        facets=tuple(facets for _, facets in found),
        next=None if after is None else _cursor(query, after),
        slips=slips,
        seen_before=tuple(_seen_before(registry, [version for version, _ in found], columns)),
    )


def _seen_before(registry: Registry, versions: Iterable[Version], columns: Sequence[str]) -> Iterator[str]:
    """Of each version the data sets whose figures are printed and of which it was trained on too much, in a sentence."""
    for version in versions:
        for dataset in datasets_seen_before(registry, version, columns):
            yield seen_before_text(version, dataset)


def seen_before_text(version: Version, dataset: str) -> str:
    """What is said beside a figure of a data set that its version was trained on."""
    return f"{version.label} was trained on rows of {dataset}: its figure shows what was seen before"


def datasets_seen_before(registry: Registry, version: Version, columns: Iterable[str]) -> tuple[str, ...]:
    """The data sets of the figures among the facets, of which the version was trained on so much that they show what was seen.

    Sorted by name.
    """
    figures = [name for name in columns if rule_of(name).name == METRIC]
    if not figures:  # nothing is read for it then
        return ()
    statements = signed_statements(registry, version.manifest_digest)
    evaluations = (entry.statement for entry in statements if entry.kind == "bias-evaluation")
    checks = [evaluation.read_by(EvaluationRecord.from_json).leakage_check for evaluation in evaluations]
    beyond = {entry.dataset for check in checks for entry, _ in beyond_limit(check)}
    return tuple(sorted(name for name in beyond if any(figure.startswith(f"{METRIC}[{name}.") for figure in figures)))


def facets_of_versions(
    registry: Registry, versions: Sequence[Version], columns: Sequence[str]
) -> tuple[FacetValues, ...]:
    """Some facets of each version, held against what was signed about it; those of today as they are today.

    Rows of an earlier release say nothing, because they were made by other rules.

    Raises:
        VersionsDiffer: a row says something else.
        StatementAltered: a statement about a version is not what was signed.
        IntegrityBroken, ObjectMissing: as `facets_today`.
    """
    if not registry.database.is_current:
        return tuple({} for _ in versions)
    with registry.database.read() as tx:
        if catalog.meta(tx, FACETS_FORM) not in (None, facets_form()):
            return tuple({} for _ in versions)
    with registry.database.reading():
        today = facets_today(registry, versions, columns)
        recorded = _held_against_signed(registry, VersionQuery(), columns, versions)
    shown = [{**values, **words} for values, words in zip(recorded, today, strict=True)]
    return tuple({name: values[name] for name in columns if values.get(name)} for values in shown)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Of the versions that rows gave, those that meet the question, and the key to continue after; None at the end."""

    found: tuple[tuple[Version, FacetValues], ...]
    looked_at: int
    next: catalog.SearchKey | None


def _candidates(
    registry: Registry,
    query: VersionQuery,
    columns: Sequence[str],
    *,
    after: catalog.SearchKey | None,
    limit: int,
) -> _Candidates:
    # in one transaction, so that what proves a version is read once
    with registry.database.reading():
        with registry.database.read() as tx:
            page = catalog.search_versions(tx, _by_rows(query), after=after, limit=limit)
        listed = [version for version in signed_versions(registry, page.versions) if _has_aliases(query, version)]
        of_today = tuple(part for part in query.conditions if isinstance(part, Words) and part.facet in OF_TODAY)
        today = facets_today(registry, listed, (*(condition.facet for condition in of_today), *columns))
        meant = [(version, words) for version, words in zip(listed, today, strict=True) if meets_today(of_today, words)]
        recorded = _held_against_signed(registry, query, columns, [version for version, _ in meant])
        found = []
        for (version, words), values in zip(meant, recorded, strict=True):
            shown = {**values, **words}
            found.append((version, {name: shown[name] for name in columns if shown.get(name)}))
        return _Candidates(tuple(found), len(page.versions), page.next)


def _by_rows(query: VersionQuery) -> VersionQuery:
    """The question that rows answer: it has every version that may meet `query`."""
    return replace(query, conditions=tuple(filter(None, map(_condition_by_rows, query.conditions))))


def _condition_by_rows(condition: Condition) -> Condition | None:
    """None where rows leave out no version."""
    match condition:
        case Words(facet="gate", excluded=True):
            return None
        case Words(facet="recalled", words=words, excluded=excluded):
            # rows have what was recalled once, which may be taken back
            return None if ("no" in words) != excluded else Words("recalled", ("yes",))
        case _:
            return condition


def all_found(registry: Registry, query: VersionQuery) -> Iterator[Version]:
    """Every version that meets a question, read in pages.

    Raises:
        As `find_versions`.
    """
    cursor: str | None = None
    while True:
        page = find_versions(registry, query, cursor=cursor, limit=1000)
        yield from page.versions
        cursor = page.next
        if cursor is None:
            return


def _require_all_rows(view: View, query: VersionQuery, columns: Sequence[str], *, is_first: bool) -> None:
    """Raise unless no row is gone that the answer is read from; that the log registers no other version is asked once a list."""
    if is_first:
        require_registrations(view)
    asked = {condition.facet for condition in query.conditions} | {query.order.facet, *columns}
    # of what holds today rows choose too; this one says of which versions they do not hold all
    require_rows(view, "facet", [*asked, UNSETTLED] if asked & OF_TODAY else asked)
    require_rows(view, "alias", _words(query, "alias"))
    if is_first and RECALLED.name in {condition.facet for condition in _by_rows(query).conditions}:
        _require_recalled_found(view)


def _require_recalled_found(view: View) -> None:
    """Raise unless every version that a recall reached is among those that rows choose: an edited row would hide it from whoever
    asks what is recalled, and from what an import is compared with."""
    chosen = catalog.keys_with(view.tx, RECALLED)
    for version in recalled_once(view):
        if (version.name, version.number) not in chosen:
            was = f"{version.label} is recalled, or was, by the log, and no row lets it be found by that"
            raise VersionsDiffer(version.name, was)


def known_figures(registry: Registry) -> tuple[str, ...]:
    """The figures that versions are found by, as `metric[data set.metric]`."""
    registry.database.require_current()
    with registry.database.read() as tx:
        return catalog.figures(tx)


def cursor_after(query: VersionQuery, name: str, number: int) -> str:
    """The cursor behind a version, in the order by name.

    Raises:
        CursorInvalid: the question has another order.
    """
    if query.order.facet != "name":
        raise CursorInvalid(f"{name}:{number}", "a version says where to continue in the order by name alone")
    return _cursor(query, (name, number))


def _words(query: VersionQuery, facet: str) -> tuple[str, ...]:
    return tuple(
        word
        for condition in query.conditions
        if isinstance(condition, Words) and condition.facet == facet
        for word in condition.words
    )


def _resolved(condition: Condition, meant: dict[str, tuple[str, ...]]) -> Condition:
    """A condition with digests and key ids in the place of names."""
    match condition:
        case Words(facet="base" | "signer", words=words):
            return replace(condition, words=tuple(dict.fromkeys(value for word in words for value in meant[word])))
        case Words(words=words):
            return replace(condition, words=tuple(dict.fromkeys(words)))
        case Range() | Span():
            return condition


def _weights(registry: Registry, word: str) -> tuple[str, ...]:
    """The digests of the weights of a base: of every version of a name, of one version, or of what a digest names."""
    try:
        digest = Digest.parse(word)
    except MalformedDigest:
        version = version_named(registry, word)  # says what is close where there is none
        if word != version.name:
            return (str(version.weights_digest),)
        with registry.database.read() as tx:
            return tuple(dict.fromkeys(str(one.weights_digest) for one in catalog.versions_of(tx, word)))
    with registry.database.read() as tx:
        versions = catalog.version_by_digest(tx, digest)
    return (str(versions[0].weights_digest) if versions else str(digest),)


def _key_ids(registry: Registry, word: str) -> tuple[str, ...]:
    """The ids of the keys of a person, or of the one key that a word begins; a whole id may be of a key that nobody lists."""
    try:
        listed = registry.trust_chain.newest.policy.keys
    except (NotChecked, IntegrityBroken):  # whoever checks trust says so
        listed = ()
    of_person = tuple(sorted(key.key_id for key in listed if key.person == word))
    if of_person:
        return of_person
    start = word.removeprefix("sha256:")
    if len(start) == _KEY_ID and all(character in "0123456789abcdef" for character in start):
        return (start,)
    key_id = key_id_named(word, {key.key_id for key in listed})
    if key_id is None:
        raise SignerNotListed(word, closest(word, {key.person for key in listed}))
    return (key_id,)


def _require_figures(tx: Transaction, facets: Sequence[str], order: Order, columns: Sequence[str]) -> None:
    for name in dict.fromkeys((*facets, order.facet, *columns)):
        if name.startswith(METRIC) and not catalog.has_figure(tx, name):
            raise FigureUnknown(name, closest(name, catalog.figures(tx)))


def _slips(tx: Transaction, query: VersionQuery) -> Iterator[Slip]:
    """Words that no version has and that are like one that a version has, or may have.

    `project!=` such a word leaves out nothing, and says nothing of it either.
    """
    for condition in query.conditions:
        valid = _words_it_may_have().get(condition.facet)
        if not isinstance(condition, Words) or valid is None:
            continue
        operator = "!=" if condition.excluded else "="
        for word in condition.words:
            if word in valid or catalog.is_known_word(tx, condition.facet, word):
                continue
            nearest = closest(word, (*valid, *catalog.known_words(tx, condition.facet)))
            if nearest is not None:
                asked, meant = (f"{condition.facet}{operator}{_as_typed(text)}" for text in (word, nearest))
                yield Slip(asked, meant)


@cache
def _words_it_may_have() -> dict[str, tuple[str, ...]]:
    """The facets whose words somebody spells, each with those that it may have though no version has them."""
    statuses = dict.fromkeys(row.status for row in shipped_rules().rows)
    return {
        "project": (),
        "method": tuple(DECLARED),
        "licence": (*LICENCE_FLAGS, UNKNOWN),
        "verdict": (*statuses, UNDETERMINED),
        "alias": (),
    }


def _as_typed(word: str) -> str:
    """A word as a condition takes it, on one line; between quotation marks where it needs them."""
    text = " ".join(word[:LONGEST_WORD].split())
    return text if re.fullmatch(r"[\x21-\x7e]+", text) and not set(text) & set("\"',=<>![]") else f'"{text}"'


def _has_aliases(query: VersionQuery, version: Version) -> bool:
    """Whether the aliases that the log gives a version meet the conditions: a move that is pending counts for nobody yet."""
    for condition in query.conditions:
        if isinstance(condition, Words) and condition.facet == "alias":
            has = not set(condition.words).isdisjoint(version.aliases)
            if has == condition.excluded:
                return False
    return True


def _held_against_signed(
    registry: Registry, query: VersionQuery, columns: Sequence[str], versions: Sequence[Version]
) -> list[FacetValues]:
    """Of each version what rows say of the facets that are asked for or printed, if that is what was signed about it.

    Beside these is compared whatever costs nothing more: what manifests say, and words of statements where these are read anyway.
    An exchanged word hides a version from whoever asks for it by that. Of what today decides nothing is said.

    Raises:
        VersionsDiffer: a row says something else.
        StatementAltered: a statement about a version is not what was signed.
    """
    asked = {condition.facet for condition in query.conditions} | {query.order.facet, *columns}
    with_statements = any(rule_of(name).name in _FROM_STATEMENTS for name in asked)
    besides = catalog.FROM_MANIFEST | (_FROM_STATEMENTS - {METRIC} if with_statements else frozenset())
    names = sorted({name for name in asked if rule_of(name).name in _FROM_STATEMENTS} | besides)
    if with_statements:
        read_statements_ahead(registry, {version.manifest_digest for version in versions})
    with registry.database.read() as tx:
        rows = catalog.facets_of_versions(tx, [(version.name, version.number) for version in versions], names)
    found = []
    for version in versions:
        recorded = rows.get((version.name, version.number), {})
        signed = _signed_facets(registry, version, with_statements=with_statements)
        for name in names:
            of_row = set(recorded.get(name, ()))
            of_signed = {facet.value for facet in signed if facet.name == name}
            if of_row != of_signed:
                raise VersionsDiffer(
                    version.name,
                    f"{version.label}, {name}: {_listed(of_row)} in the catalogue, {_listed(of_signed)} signed",
                )
        found.append(recorded)
    return found


def _signed_facets(registry: Registry, version: Version, *, with_statements: bool) -> tuple[Facet, ...]:
    """What a version is found by, as it was signed; without its statements what the manifest and the registration say."""
    manifest = signed_manifest(registry, version)
    if not with_statements:
        return facets_of(manifest, key_id=version.key_id)
    statements = signed_statements(registry, version.manifest_digest)
    return facets_said(manifest, name=version.name, key_id=version.key_id, statements=statements)


def _listed(values: Collection[str | float]) -> str:
    return ", ".join(sorted(map(str, values))) or "nothing"


def _cursor(query: VersionQuery, key: catalog.SearchKey) -> str:
    """The key of a row as text that says of which question it is; URL-safe base64 of JSON."""
    text = json.dumps([_question(query), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str, query: VersionQuery) -> catalog.SearchKey:
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = json.loads(data)
    except (ValueError, UnicodeError, binascii.Error, RecursionError) as error:
        raise CursorInvalid(text, "it cannot be read") from error
    form: tuple[type, ...] = (str, str, int)
    if query.order.facet == "registered":
        form = (str, str, str, int)
    elif query.order.facet != "name":
        form = (str, float, str, int)
    if not isinstance(parts, list) or tuple(map(type, parts)) != form:
        raise CursorInvalid(text, "it is of a list in another order")
    if parts[0] != _question(query):
        raise CursorInvalid(text, "it is of another question")
    is_text = all(part.isascii() and part.isprintable() for part in parts if isinstance(part, str))
    if not is_text or not 0 <= parts[-1] < 2**31:
        raise CursorInvalid(text, "it cannot be read")
    return tuple(parts[1:])


def _question(query: VersionQuery) -> str:
    """What tells one question from another; the order of its conditions does not."""
    conditions = sorted(repr(condition) for condition in query.conditions)
    return hashlib.sha256(f"{conditions} {query.order.text}".encode()).hexdigest()[:16]

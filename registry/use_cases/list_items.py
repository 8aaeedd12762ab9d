"""Which items a command over many is run for: found by a question or named in a file, each by the digest that it has now."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from peft_registry.registry.bulk.lists import ListItem, NothingListed, WorkList, read_lines
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import read_offered, unwritable, write_new
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.find import all_found
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest, MalformedDigest

LIST_MAX_BYTES = 256 * 2**20  # two million digests with their names


class EverythingFound(InputRefused):
    what = "--where {where!q} finds all {count} versions of this registry"
    why = "a command over the whole registry has to be confirmed"
    fix = "add --yes, or another condition; nothing was done"

    where: str
    count: int


class LineRefused(InputRefused):
    what = "{line!q} is not one version"
    why = "each line of this list names one, as name:3, name@alias or sha256:…"
    fix = "write the others on lines of their own"

    line: str


def listed_versions(
    registry: Registry, *, where: str | None, file: Path | None, accepts_everything: bool = False, several: bool = False
) -> WorkList:
    """The versions of a list, by their manifest digests.

    Args:
        registry: where they are registered.
        where: conditions that versions have to meet; None where a file names the items.
        file: a list. Where there is none yet, it is written from what `where` finds: so that shards which begin at different times
            take the same one, whatever is registered meanwhile.
        accepts_everything: `where` may find every version.
        several: a line may name several versions, for what is made of them together.

    Raises:
        NothingListed: nothing is found, or the file names nothing.
        EverythingFound: `where` finds every version, and nobody said that it may.
        LineRefused: a line names several versions, and one is meant.
        NotFound, MalformedReference: a line names none that is registered.
        NotWritable, DiskFull, FileMissing, OfferedFileRefused: the file.
        KnownError: as `find_versions`.
    """
    if file is None:
        return _found(registry, where or "", accepts_everything=accepts_everything)
    if where is not None and not file.exists():
        _keep(file, _found(registry, where, accepts_everything=accepts_everything).text.encode())
    return WorkList.of(_resolved(registry, item, several=several) for item in read_list(file).items)


def read_list(file: Path) -> WorkList:
    """The items that a file names, each as it stands there.

    Raises:
        NothingListed: it names nothing.
        FileMissing, OfferedFileRefused: it cannot be read.
    """
    items = read_lines(read_offered(file, max_bytes=LIST_MAX_BYTES).decode("utf-8", "replace"))
    if not items:
        raise NothingListed(f"{file}", "no line of it is an item")
    return WorkList.of(items)


def _keep(file: Path, data: bytes) -> None:
    """Put a list where none is, unless another shard was first; whoever reads it finds all of it.

    Raises:
        NotWritable, DiskFull: it cannot be written.
    """
    try:
        with TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as scratch, suppress(FileExistsError):
            written = Path(scratch) / file.name
            write_new(written, data, mode=0o644)
            file.hardlink_to(written)  # in one step, and only where there is none
    except OSError as error:
        raise unwritable(file, error) from error


def _found(registry: Registry, where: str, *, accepts_everything: bool) -> WorkList:
    found = tuple(all_found(registry, read_query(where)))
    if not found:
        raise NothingListed(f"--where {where!r}", "no registered version meets these conditions")
    with registry.database.read() as tx:
        total = sum(span.versions for span in catalog.name_spans(tx))
    if len(found) == total > 1 and not accepts_everything:
        raise EverythingFound(where, total)
    return WorkList.of(ListItem((str(version.manifest_digest),), version.label) for version in found)


def _resolved(registry: Registry, item: ListItem, *, several: bool) -> ListItem:
    words = item.parts[0].split()
    if len(words) > 1 and not several:
        raise LineRefused(item.parts[0])
    digests = tuple(_digest(registry, word) for word in words)
    return ListItem(digests, item.label or item.parts[0])


def _digest(registry: Registry, word: str) -> str:
    """The manifest digest that a reference means; one that is written out is not looked up, because its turn comes."""
    try:
        return str(Digest.parse(word))
    except MalformedDigest:
        return str(version_named(registry, word).manifest_digest)

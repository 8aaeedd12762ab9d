"""Assemble `changelog.d` into `CHANGELOG.md`: `python -m docs.changelog [--release X.Y.Z --date YYYY-MM-DD]`.

A fragment is a file `<short-name>.<kind>.md` that holds the entry as a user reads it. Without options the fragments become entries
of the Unreleased section and their files are removed; with `--release` that section then gets the version and the date, and an
empty Unreleased section stands above it. `--check` only says whether every fragment can be used.

The functions on text are pure; `main` alone reads and writes files.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# the order of Keep a Changelog 1.1.0
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
COLUMNS = 120
UNRELEASED = "## [Unreleased]"

_FRAGMENT_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\.(?P<kind>[a-z]+)\.md")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


@dataclass(frozen=True)
class Fragment:
    """One entry: its file's name, its kind and its text on one line."""

    name: str
    kind: str
    text: str


class UnusableFragments(ValueError):
    """Fragments that cannot become entries, one reason a line."""


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Do what the arguments say; 0 when done, 1 when a fragment cannot be used, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.changelog", description="Assemble changelog.d into CHANGELOG.md."
    )
    parser.add_argument("--check", action="store_true", help="only say whether every fragment can be used")
    parser.add_argument("--release", metavar="X.Y.Z", help="close the Unreleased section as this version")
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="the day of that release")
    options = parser.parse_args(arguments)
    if bool(options.release) != bool(options.date):
        parser.error("--release and --date belong together")
    if options.check and options.release:
        parser.error("--check writes nothing, so it takes no --release")

    folder = root / "changelog.d"
    files = sorted(path for path in folder.glob("*") if path.name != "README.md")
    try:
        fragments = read_fragments({path.name: path.read_text("utf-8") for path in files})
    except UnusableFragments as error:
        sys.stderr.write(f"error: {error}\n  fix: changelog.d/README.md has the form\n")
        return 1
    if options.check:
        sys.stdout.write(f"{len(fragments)} fragments can be used\n")
        return 0

    changelog = root / "CHANGELOG.md"
    text = with_fragments(changelog.read_text("utf-8"), fragments)
    if options.release:
        try:
            text = released(text, version=options.release, on=date.fromisoformat(options.date))
        except ValueError as error:
            parser.error(str(error))
    # entries first, then the fragments go: a crash in between repeats an entry and loses none
    changelog.write_text(text, "utf-8")
    for path in files:
        path.unlink()
    sys.stdout.write(f"{len(fragments)} fragments are entries of CHANGELOG.md\n")
    return 0


def read_fragments(files: Mapping[str, str]) -> tuple[Fragment, ...]:
    """The fragments of these files, by name and content, ordered by name.

    Raises:
        UnusableFragments: a name is not `<short-name>.<kind>.md`, or a text is empty, begins with a mark, or has no full stop.
    """
    fragments = []
    reasons = []
    for name, content in sorted(files.items()):
        match = _FRAGMENT_NAME.fullmatch(name)
        text = " ".join(content.split())
        if match is None or match["kind"] not in KINDS:
            reasons.append(
                f"{name}: a name is <short-name>.<kind>.md in lower case, the kind one of {', '.join(KINDS)}"
            )
        elif not text:
            reasons.append(f"{name}: it is empty")
        elif text.startswith(("- ", "* ", "#")):
            reasons.append(f"{name}: write the sentence alone; list marks and headings are added")
        elif not text.endswith((".", ".)", ".`")):
            reasons.append(f"{name}: write whole sentences, the last one with its full stop")
        else:
            fragments.append(Fragment(name, match["kind"], text))
    if reasons:
        raise UnusableFragments("\n".join(reasons))
    return tuple(fragments)


def with_fragments(changelog: str, fragments: Sequence[Fragment]) -> str:
    """The changelog with each fragment as the last entry of its kind in the Unreleased section."""
    before, section, after = _split(changelog)
    entries = _entries_by_kind(section)
    for fragment in fragments:
        entry = textwrap.fill(
            fragment.text,
            COLUMNS,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        known = entries.get(fragment.kind, "")
        entries[fragment.kind] = f"{known}\n{entry}" if known else entry
    return before + _section(UNRELEASED, entries) + after


def released(changelog: str, *, version: str, on: date) -> str:
    """The changelog with its Unreleased section closed as this version, and an empty one above it.

    Raises:
        ValueError: the version is not of the form X.Y.Z, stands in the changelog already, or nothing is unreleased.
    """
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version} is not a version of the form X.Y.Z")
    if f"## [{version}]" in changelog:
        raise ValueError(f"{version} stands in CHANGELOG.md already")
    before, section, after = _split(changelog)
    entries = _entries_by_kind(section)
    if not entries:
        raise ValueError("nothing is unreleased")
    return before + f"{UNRELEASED}\n\n" + _section(f"## [{version}] - {on.isoformat()}", entries) + after


def _split(changelog: str) -> tuple[str, str, str]:
    """What stands before the Unreleased section, its body, and the rest from the next version on."""
    before, heading, rest = changelog.partition(f"{UNRELEASED}\n")
    if not heading:
        raise ValueError(f"CHANGELOG.md has no section {UNRELEASED}")
    next_version = re.search(r"^## \[", rest, re.MULTILINE)
    end = next_version.start() if next_version else len(rest)
    return before, rest[:end], rest[end:]


def _entries_by_kind(section: str) -> dict[str, str]:
    """The list below each `### Kind`, without surrounding blank lines."""
    parts = re.split(r"^### (\w+)\n", section, flags=re.MULTILINE)
    if parts[0].strip():
        raise ValueError("the Unreleased section has text above its first kind of change")
    entries = {}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if heading.lower() not in KINDS:
            raise ValueError(f"the Unreleased section has an unknown kind of change: {heading}")
        entries[heading.lower()] = body.strip("\n")
    return entries


def _section(heading: str, entries: Mapping[str, str]) -> str:
    lists = [f"### {kind.capitalize()}\n\n{entries[kind]}\n\n" for kind in KINDS if kind in entries]
    return f"{heading}\n\n" + "".join(lists)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

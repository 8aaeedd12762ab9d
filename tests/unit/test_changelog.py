"""Changelog fragments: which are usable, where their entries go, and what closing a release does."""

import re
from datetime import date
from pathlib import Path

import pytest

from docs.changelog import KINDS, UnusableFragments, main, read_fragments, released, with_fragments
from tests.processes.interpreter import ROOT

CHANGELOG = """# Changelog

Preamble.

## [Unreleased]

### Added

- An old entry,
  on two lines.

### Fixed

- A mended thing.

## [0.1.0]

### Added

- The beginning.
"""


def files(root: Path) -> set[str]:
    return {path.name for path in (root / "changelog.d").iterdir()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "README.md").write_text("how to\n")
    (folder / "new-thing.added.md").write_text("A new thing\nis there.\n")
    (folder / "old-thing.removed.md").write_text("The old thing is gone.\n")
    return tmp_path


def test_every_fragment_of_this_repository_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_the_changelog_of_this_repository_can_take_entries() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    fragments = read_fragments({"a.added.md": "Something new.", "b.security.md": "A hole is closed."})
    after = with_fragments(text, fragments)
    assert "\n- Something new.\n" in after
    assert "### Security\n\n- A hole is closed.\n" in after
    assert set(text.splitlines()) <= set(after.splitlines())


def test_an_entry_goes_below_its_kind_and_a_new_kind_to_its_place() -> None:
    fragments = read_fragments({"b.added.md": "Something new.", "a.removed.md": "Something gone."})
    after = with_fragments(CHANGELOG, fragments)
    assert after == CHANGELOG.replace(
        "  on two lines.\n", "  on two lines.\n- Something new.\n\n### Removed\n\n- Something gone.\n"
    )


def test_nothing_changes_without_fragments() -> None:
    assert with_fragments(CHANGELOG, ()) == CHANGELOG


def test_a_long_entry_is_wrapped_and_keeps_its_words() -> None:
    text = "word " * 60 + "end."
    after = with_fragments(CHANGELOG, read_fragments({"long.changed.md": text}))
    entry = after.partition("### Changed\n\n")[2].partition("\n\n")[0]
    assert max(map(len, entry.splitlines())) <= 120
    assert " ".join(entry.removeprefix("- ").split()) == " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thing.md", "Text."),
        ("thing.better.md", "Text."),
        ("Thing.added.md", "Text."),
        ("thing.added.txt", "Text."),
        ("thing.added.md", " \n"),
        ("thing.added.md", "- Text."),
        ("thing.added.md", "# Text."),
        ("thing.added.md", "Text"),
    ],
)
def test_a_fragment_of_another_form_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(UnusableFragments, match=re.escape(name)):
        read_fragments({"good.added.md": "Good.", name: text})


def test_a_release_closes_the_section_and_opens_an_empty_one() -> None:
    after = released(CHANGELOG, version="0.2.0", on=date(2027, 1, 31))
    assert after == CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n")
    with pytest.raises(ValueError, match="nothing is unreleased"):
        released(after, version="0.3.0", on=date(2027, 2, 1))


@pytest.mark.parametrize("version", ["0.1.0", "next", "1.0"])
def test_a_version_that_is_taken_or_malformed_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=re.escape(version)):
        released(CHANGELOG, version=version, on=date(2027, 1, 31))


def test_the_command_writes_entries_and_removes_the_fragments(repository: Path) -> None:
    assert main([], repository) == 0
    assert files(repository) == {"README.md"}
    assert "- A new thing is there.\n" in (repository / "CHANGELOG.md").read_text()
    assert main(["--release", "0.2.0", "--date", "2027-01-31"], repository) == 0
    assert "## [0.2.0] - 2027-01-31\n\n### Added\n" in (repository / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [["--release", "0.2.0"], ["--release", "0.1.0", "--date", "2027-01-31"], ["--release", "0.2.0", "--date", "soon"]],
)
def test_a_release_that_cannot_be_made_changes_nothing(repository: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments, repository)
    assert (repository / "CHANGELOG.md").read_text() == CHANGELOG
    assert "new-thing.added.md" in files(repository)


def test_an_unusable_fragment_changes_nothing(repository: Path) -> None:
    (repository / "changelog.d" / "bad.added.md").write_text("no full stop")
    assert main([], repository) == 1
    assert (repository / "CHANGELOG.md").read_text() == CHANGELOG
    assert len(files(repository)) == 4


def test_the_readme_of_the_folder_names_every_kind() -> None:
    text = (ROOT / "changelog.d" / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(KINDS)

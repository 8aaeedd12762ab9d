"""Paths that somebody else chose: what is safe is returned as it is, everything else is refused by name."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.intake.paths import (
    FileFound,
    FolderMissing,
    NotAFolder,
    UnsafeInputPath,
    UnsafePath,
    safe_relative_path,
    scan_folder,
)

UNSAFE = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "../x",
    "parent inside": "a/../b",
    "current": "./a",
    "empty component": "a//b",
    "trailing slash": "a/",
    "backslash": "a\\b",
    "newline": "a\nb",
    "escape": "a\x1b[31m",
    "null": "a\0b",
    "delete": "a\x7f",
    "C1 control": "a\x9b",
    "right-to-left override": "a\u202egpj.exe",
    "not UTF-8": "a\udcff",
    "too long": "a/" * 2500 + "b",
}


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE.keys())
def test_an_unsafe_path_is_refused_in_both_families(text: str) -> None:
    with pytest.raises(UnsafePath) as presented:
        safe_relative_path(text)
    with pytest.raises(UnsafeInputPath) as offered:
        safe_relative_path(text, family="intake")
    assert (presented.value.exit_code, offered.value.exit_code) == (6, 2)
    assert str(presented.value).isprintable()


@pytest.mark.parametrize("text", ["a", "a/b.c", ".hidden/x", "a..b", "...", "é/日本", "a b", "C:x", "~"])
def test_a_safe_path_is_returned_unchanged(text: str) -> None:
    assert safe_relative_path(text) == text


@given(st.text())
def test_a_path_that_passes_stays_below_its_folder(text: str) -> None:
    try:
        path = safe_relative_path(text)
    except UnsafePath:
        return
    assert os.path.normpath(f"/root/{path}") == f"/root/{path}"


def test_a_folder_is_listed_by_code_points_of_the_whole_path(tmp_path: Path) -> None:
    for name in ("adapter/x", "adapter-x/y", "Z", "é", "empty.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder without files").mkdir()
    found = scan_folder(tmp_path)
    # '-' sorts before '/': by path component it would be the other way round
    assert [file.path for file in found] == ["Z", "adapter-x/y", "adapter/x", "empty.bin", "é"]
    assert found[0] == FileFound("Z", 1)


def test_excluded_paths_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "link").symlink_to("/etc")
    (tmp_path / "evidence-2").write_text("b")
    assert [file.path for file in scan_folder(tmp_path, exclude={"evidence"})] == ["a", "evidence-2"]


def _link_to_a_file(root: Path) -> None:
    (root / "target").write_text("x")
    (root / "odd").symlink_to("target")


def _link_to_a_folder(root: Path) -> None:
    (root / "odd").symlink_to("/")


def _fifo(root: Path) -> None:
    os.mkfifo(root / "odd")


def _socket(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("odd")
    finally:
        os.chdir(here)


def _name_not_utf8(root: Path) -> None:
    (root / os.fsdecode(b"odd\xff")).write_text("x")


def _control_character(root: Path) -> None:
    (root / "odd\n").write_text("x")


def _two_cases(root: Path) -> None:
    (root / "odd").write_text("x")
    (root / "ODD").write_text("x")


def _two_unicode_forms(root: Path) -> None:
    (root / "odd\u00e9").write_text("x")
    (root / "odde\u0301").write_text("x")


def _two_folders_of_one_name(root: Path) -> None:
    for name in ("odd", "Odd"):
        (root / name).mkdir()
        (root / name / name).write_text("x")


@pytest.mark.parametrize("below", ["", "sub/folder"])
@pytest.mark.parametrize(
    "make",
    [
        _link_to_a_file,
        _link_to_a_folder,
        _fifo,
        _socket,
        _name_not_utf8,
        _control_character,
        _two_cases,
        _two_unicode_forms,
        _two_folders_of_one_name,
    ],
)
def test_what_two_systems_read_differently_is_refused(make: object, below: str, tmp_path: Path) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    make(folder)
    with pytest.raises(UnsafePath, match=r"(?i)odd"):
        scan_folder(tmp_path)
    with pytest.raises(UnsafeInputPath):
        scan_folder(tmp_path, family="intake")


def test_more_files_than_allowed_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    assert len(scan_folder(tmp_path, max_files=3)) == 3
    with pytest.raises(UnsafePath, match="more than 2 files"):
        scan_folder(tmp_path, max_files=2)


def test_a_folder_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "/".join("a" * 70)).mkdir(parents=True)
    with pytest.raises(UnsafePath, match="64 levels"):
        scan_folder(tmp_path)


def test_a_missing_folder_and_a_file_in_its_place_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderMissing):
        scan_folder(tmp_path / "none")
    with pytest.raises(NotAFolder):
        scan_folder(tmp_path / "file")


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "link").symlink_to("real")
    assert scan_folder(tmp_path / "link") == (FileFound("a", 0),)

"""What may be relied on from outside (docs/adr/0012): the names of `peft_registry.__all__`, loaded on first use, and no others."""

import ast
from pathlib import Path

import peft_registry
from tests.processes.interpreter import ROOT, modules_after

LAYERS = ("schemas", "registry", "trainer", "cli")
PROMISED = (
    "InputRefused",
    "IntegrityBroken",
    "KnownError",
    "NotChecked",
    "NotFound",
    "OpenRegistry",
    "Refused",
    "RegistryCallback",
    "RunFailed",
    "Taken",
    "Unavailable",
    "Versions",
    "evaluate",
    "load",
    "load_tokenizer",
    "merge",
    "open_registry",
    "pull",
    "record",
    "report",
    "train",
    "verify",
    "versions",
)
# they import a function only for others to import it from here, and `__all__` says so to the linter
HANDED_ON = {
    "registry/database/catalog/__init__.py",
    "registry/disk/hashing.py",
    "registry/identity/weights.py",
    "registry/storage/__init__.py",
    "schemas/codes/__init__.py",
}


def python_files() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def declares_all(path: Path) -> bool:
    text = path.read_text("utf-8")
    if "__all__" not in text:  # what has it is few, and is parsed: a comment or a text may have it, too
        return False
    names = [
        target.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    return "__all__" in names


def test_the_face_promises_what_the_decision_lists_and_nothing_else() -> None:
    assert tuple(peft_registry.__all__) == PROMISED
    assert len(PROMISED) <= 25
    for name in PROMISED:
        assert (getattr(peft_registry, name).__doc__ or "").strip()


def test_the_face_has_no_public_name_that_it_does_not_promise(tmp_path: Path) -> None:
    shown = (
        "import peft_registry\nassert [name for name in dir(peft_registry) if name[0] != '_'] == peft_registry.__all__"
    )
    modules_after(shown, cwd=tmp_path)


def test_importing_the_face_loads_no_layer(tmp_path: Path) -> None:
    before = modules_after("", cwd=tmp_path)
    loaded = {
        name
        for name in modules_after("import peft_registry", cwd=tmp_path) - before
        if name.startswith("peft_registry")
    }
    assert loaded <= {"peft_registry"}


def test_a_private_module_promises_nothing_but_what_it_hands_on_for_others() -> None:
    promising = {path.relative_to(ROOT).as_posix() for path in python_files() if declares_all(path)}
    assert promising == HANDED_ON

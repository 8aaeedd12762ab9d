"""The house: who may import whom and when, names, and links between pages."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, register_adapter
from tests.processes.interpreter import ROOT, modules_after, packages

SOURCE = ("schemas", "registry", "trainer", "cli")
NAMES_WITHOUT_AN_IDEA = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base_classes"}
SLOW_TO_IMPORT = {"torch", "transformers", "peft", "mlflow", "alembic", "numpy", "scipy", "datasets", "accelerate"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def markdown_files() -> list[Path]:
    folders = ("docs", *SOURCE, "tests")
    return sorted({*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))})


# --- who may import whom ---


def contracts() -> dict[str, dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert settings["root_packages"] == ["peft_registry"]
    return {contract["name"]: contract for contract in settings["contracts"]}


def test_the_layers_are_declared_from_cli_down_to_schemas() -> None:
    layers = contracts()["layers point downwards"]["layers"]
    assert layers == [f"peft_registry.{layer}" for layer in ("cli", "trainer", "registry", "schemas")]


@pytest.mark.parametrize("layer", ["registry", "trainer"])
def test_every_room_has_its_place_in_a_contract_and_none_stands_loose(layer: str) -> None:
    contract = next(one for name, one in contracts().items() if name.startswith(f"the rooms of the {layer}"))
    assert contract["exhaustive"] is True
    declared = {name.strip() for line in contract["layers"] for name in re.split("[:|]", line)}  # type: ignore[attr-defined]
    rooms = {path.stem for path in (ROOT / layer).iterdir() if path.is_dir() or path.suffix == ".py"}
    rooms -= {"__init__", "__pycache__"}
    assert {name for name in declared if not name.startswith("(")} == rooms  # in brackets: announced, not built yet
    loose = {path.name for path in (ROOT / layer).glob("*.py")} - {"__init__.py"}
    assert loose == {"registry": {"extras.py"}, "trainer": {"example.py"}}[layer]


@dataclass(frozen=True, slots=True)
class Read:
    """What a file of code imports, on which lines it copies a value unchecked, and whether it reads the command line."""

    imports: tuple[str, ...]
    unchecked_copies: tuple[int, ...]
    reads_command_line: bool


@cache
def read(path: Path) -> Read:
    """A file, parsed once for all tests; a program of its own may read its arguments where it starts."""
    tree = ast.parse(path.read_text("utf-8"))
    started = [one for one in tree.body if isinstance(one, ast.If) and "__name__" in ast.unparse(one.test)]
    own = {id(node) for one in started for node in ast.walk(one)}
    imports: list[str] = []
    copies: list[int] = []
    reads_command_line = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports.append(node.module)
            named = node.module == "sys" and any(alias.name == "argv" for alias in node.names)
            reads_command_line |= named and id(node) not in own
        elif isinstance(node, ast.Attribute):
            if node.attr in ("model_copy", "model_construct"):
                copies.append(node.lineno)
            is_argv = node.attr == "argv" and ast.unparse(node) == "sys.argv"
            reads_command_line |= is_argv and id(node) not in own
    return Read(tuple(imports), tuple(copies), reads_command_line)


def test_the_command_line_is_read_in_cli_alone() -> None:
    """Elsewhere it is a value that is handed in."""
    readers = [
        str(path.relative_to(ROOT))
        for path in python_files("schemas", "registry", "trainer")
        if read(path).reads_command_line
    ]
    assert readers == []


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in python_files(*SOURCE)}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_folder_says_in_a_sentence_what_lives_there(folder: Path) -> None:
    if folder.name == "versions":  # Alembic's own
        return
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert text and ". " in f"{text} "


@pytest.mark.parametrize(
    ("source", "forbidden"),
    [
        ("peft_registry.registry", {"torch", "transformers", "peft", "bitsandbytes"}),
        ("peft_registry.schemas", {"sqlalchemy", "cryptography", "numpy", "torch", "yaml"}),
        ("peft_registry.trainer", {"mlflow"}),
        ("peft_registry.cli", {"mlflow"}),
        ("peft_registry.trainer.methods", {"peft_registry.registry.database", "peft_registry.registry.use_cases"}),
        ("peft_registry.registry.verification", {"peft_registry.registry.use_cases"}),
    ],
)
def test_an_import_contract_forbids(source: str, forbidden: set[str]) -> None:
    declared: set[str] = set()
    for contract in contracts().values():
        if contract["type"] == "forbidden" and source in contract["source_modules"]:  # type: ignore[operator]
            declared |= set(contract["forbidden_modules"])  # type: ignore[call-overload]
    assert forbidden <= declared


def test_schemas_import_pydantic_the_canonical_form_and_the_standard_library_only() -> None:
    allowed = {"peft_registry", "pydantic", "pydantic_core", "rfc8785", *sys.stdlib_module_names}
    found = {name.partition(".")[0] for path in python_files("schemas") for name in read(path).imports}
    assert found <= allowed


def test_only_one_package_imports_mlflow() -> None:
    importing = {
        str(path.parent.relative_to(ROOT))
        for path in python_files(*SOURCE)
        if any(name.partition(".")[0] == "mlflow" for name in read(path).imports)
    }
    assert importing == {"registry/mlflow"}


# --- and when: fresh interpreters ---


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry without versions."""
    folder = tmp_path_factory.mktemp("registry") / "home"
    assert run(["init", "--unencrypted", "--no-example", "--home", str(folder)]) == 0
    return folder


def test_importing_the_schemas_loads_no_other_package(tmp_path: Path) -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in python_files("schemas")]
    names = [".".join(("peft_registry", *path.parts)).removesuffix(".__init__") for path in paths]
    before = packages(modules_after("", cwd=tmp_path))
    after = packages(modules_after(f"import {', '.join(names)}", cwd=tmp_path))
    found = after - before - set(sys.stdlib_module_names)
    assert {name for name in found if not name.startswith("_sysconfigdata")} <= {
        "peft_registry",
        "rfc8785",
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "typing_inspection",
    }


def test_help_loads_no_command_and_nothing_that_one_needs(tmp_path: Path) -> None:
    loaded = modules_after("from peft_registry.cli.main import run\nassert run(['--help']) == 0", cwd=tmp_path)
    assert not {name for name in loaded if name.startswith(("peft_registry.cli.commands.", "peft_registry.registry"))}
    needed = {"pydantic", "sqlalchemy", "sqlmodel", "cryptography", "fsspec", "yaml", "jinja2"}
    assert not packages(loaded) & {*SLOW_TO_IMPORT, *needed}


def test_listing_loads_nothing_that_trains_browses_or_migrates(tmp_path: Path, home: Path) -> None:
    loaded = packages(
        modules_after("from peft_registry.cli.main import run\nassert run(['list']) == 0", cwd=tmp_path, home=home)
    )
    assert "sqlalchemy" in loaded
    assert not loaded & SLOW_TO_IMPORT


def test_listing_loads_nothing_that_is_only_asked_before_a_checkpoint_is_signed(tmp_path: Path) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        register_adapter(registry, tmp_path)
    words = ["list", "--home", str(tmp_path / "home")]
    loaded = modules_after(f"from peft_registry.cli.main import run\nassert run({words}) == 0", cwd=tmp_path)
    assert "peft_registry.registry.verification.signed_versions" in loaded
    rooms = {".".join(name.split(".")[1:3]) for name in loaded if name.startswith("peft_registry.")}
    assert not rooms & {"registry.compliance", "registry.gate", "registry.evaluation", "registry.use_cases"}
    assert not packages(loaded) & {*SLOW_TO_IMPORT, "yaml", "fsspec", "jinja2"}


def test_verifying_loads_no_deep_learning_stack(tmp_path: Path) -> None:
    loaded = packages(
        modules_after(
            "from peft_registry.registry.use_cases import verify, pull\n"
            "from peft_registry.registry.mlflow import listed_versions, shown_registry",
            cwd=tmp_path,
        )
    )
    assert not loaded & (SLOW_TO_IMPORT - {"numpy"})


def test_verifying_what_has_no_evaluation_loads_nothing_that_computes_figures_or_writes(tmp_path: Path) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        pull_version(registry, register_adapter(registry, tmp_path), tmp_path / "pulled")
    words = ["verify", str(tmp_path / "pulled"), "--trust", str(tmp_path / "home" / "trust.json")]
    loaded = modules_after(f"from peft_registry.cli.main import run\nassert run({words}) == 0", cwd=tmp_path)
    assert not packages(loaded) & {*SLOW_TO_IMPORT, "numpy", "alembic", "psycopg", "fsspec", "jinja2"}
    rooms = {".".join(name.split(".")[1:3]) for name in loaded if name.startswith("peft_registry.registry.")}
    assert not rooms & {"registry.mlflow", "registry.reports", "registry.exports"}
    assert not {name for name in loaded if name.startswith("peft_registry.registry.evaluation.")} - {
        "peft_registry.registry.evaluation.staleness"
    }
    use_cases = {name for name in loaded if name.startswith("peft_registry.registry.use_cases.")}
    assert use_cases == {"peft_registry.registry.use_cases.verify"}


# --- names ---


def test_no_value_is_copied_with_changes_that_nobody_checks() -> None:
    """`model_copy(update=…)` takes a misspelt name and a value of any type, and both would be signed; `revised` refuses them."""
    patched = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(*SOURCE, "docs")
        for line in read(path).unchecked_copies
    ]
    assert patched == []


def test_every_module_is_named_after_its_idea() -> None:
    names = {
        part for path in python_files(*SOURCE, "docs", "tests") for part in path.relative_to(ROOT).with_suffix("").parts
    }
    assert not names & NAMES_WITHOUT_AN_IDEA


# --- what runs before a change enters ---


def test_the_public_ci_runs_what_runs_everywhere() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert re.findall(r"^\s+run: (.*)$", text, re.MULTILINE) == [".ci/run"]


def test_the_hooks_before_a_commit_are_local_and_part_of_make_check() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    check = (ROOT / "Makefile").read_text("utf-8").partition("\ncheck:")[2].partition("\n## ")[0]
    tools = set(re.findall(r"entry: \.venv/bin/(ruff \w+|lint-imports)", text))
    assert tools == {"ruff format", "ruff check", "lint-imports"}
    assert {tool for tool in tools if f"/{tool}" not in check} == set()


# --- pages ---

_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)


def links(path: Path) -> Iterator[str]:
    text = _FENCE.sub("", path.read_text("utf-8"))
    for target in _LINK.findall(text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(path: Path) -> set[str]:
    """The fragments that a heading gives: lower case, punctuation dropped, spaces as hyphens."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, target: str) -> bool:
    file, _, fragment = target.partition("#")
    found = (page.parent / file).resolve() if file else page
    if not found.exists() or not found.is_relative_to(ROOT):
        return False
    return not fragment or found.suffix != ".md" or fragment in anchors(found)


def test_every_link_of_every_page_leads_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in markdown_files()
        for target in links(page)
        if not leads_somewhere(page, target)
    ]
    assert dead == []


# a path of this repository between backticks: a folder ends with a slash
_PATH = re.compile(r"`((?:schemas|registry|trainer|cli|tests|docs|src|changelog\.d|\.ci)/[\w./-]*)`")


@pytest.mark.parametrize(
    "page",
    ["CONTRIBUTING.md", "SECURITY.md", "REVIEWERS.md", "docs/explanation/architecture.md", "docs/experiments.md"],
)
def test_every_path_that_a_page_for_developers_names_exists(page: str) -> None:
    named = set(_PATH.findall((ROOT / page).read_text("utf-8")))
    assert named
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("layer", ["registry", "trainer"])
def test_the_plan_of_the_house_shows_every_room(layer: str) -> None:
    rooms = {path.parent.name for path in (ROOT / layer).glob("*/__init__.py")}
    tables = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert {room for room in rooms if f"`{layer}/{room}/`" not in tables} == set()
    drawing = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8").partition("## The rooms")[2]
    assert {
        room for room in rooms if not re.search(rf"\b{room}\b", drawing.partition("```text")[2].partition("```")[0])
    } == set()


@pytest.mark.parametrize("kind", ["tutorials", "how-to", "reference", "explanation", "adr", "compliance"])
def test_every_page_is_reached_from_the_index(kind: str) -> None:
    index = ROOT / "docs" / "README.md"
    pages = {index}
    waiting = [index]
    while waiting:
        page = waiting.pop()
        for target in links(page):
            found = (page.parent / target.partition("#")[0]).resolve()
            if found.suffix == ".md" and found.exists() and found not in pages:
                pages.add(found)
                waiting.append(found)
    lost = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / kind).rglob("*.md")} - {
        str(path.relative_to(ROOT)) for path in pages if path.is_relative_to(ROOT)
    }
    assert lost == set()

"""What is signed says why and how by codes: each that is written is known, and no record and no evaluation has prose."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.schemas.codes import CODES, RETIRED

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("cli", "registry", "schemas", "trainer")
COMPLIANCE = sorted((ROOT / "registry" / "compliance").rglob("*.py"))
EVALUATION = sorted(
    file for package in ("registry", "trainer") for file in (ROOT / package / "evaluation").rglob("*.py")
)
# what an evaluation is made of, and where each takes why or how
_PARTS = (
    "Comparison", "ComparedTexts", "EvaluationRecord", "Interval", "ItemTable", "LeakageCheck", "Limit",
    "LimitVerdict", "LossComparison", "McNemar", "NoInterval", "Result", "Test", "Threshold",
)  # fmt: skip
_WORDS = frozenset(
    (
        "ci_null_reason",
        "conclusion_reason",
        "float_format",
        "limitations",
        "method",
        "name",
        "null_reason",
        "reason",
        "source",
    )
)
# how the values of a record are made, and where each takes why or how
_MAKERS = ("measured", "derived", "imported", "unknown", "not_derived", "Value")


def _calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def _writes_codes(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "peft_registry.schemas.codes"
        and any(alias.name == "code" for alias in node.names)
        for node in tree.body
    ) or any(isinstance(node, ast.FunctionDef) and node.name == "code" for node in tree.body)


def _code_calls() -> Iterator[tuple[str, ast.Call]]:
    """Each `code(…)` of the product, with its place."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            if _writes_codes(tree):
                for call in _calls(tree, "code"):
                    yield f"{file.relative_to(ROOT)}:{call.lineno}", call


def _name_of(call: ast.Call) -> object:
    return call.args[0].value if len(call.args) == 1 and isinstance(call.args[0], ast.Constant) else None


def test_every_code_that_is_written_is_known_and_has_its_parameters() -> None:
    wrong = []
    for place, call in _code_calls():
        name = _name_of(call)
        given = [keyword.arg for keyword in call.keywords]
        if not isinstance(name, str):
            wrong.append(f"{place}: its name is not written out")
        elif name not in CODES:
            wrong.append(f"{place}: there is no code {name}")
        elif sorted(map(str, given)) != sorted(CODES[name].parameters):
            wrong.append(f"{place}: {name} takes {', '.join(CODES[name].parameters) or 'nothing'}")
    assert not wrong, "\n".join(wrong)


def test_every_known_code_is_written_somewhere_or_retired() -> None:
    written = {_name_of(call) for _, call in _code_calls()}
    assert not written & RETIRED, "what is retired is written no more"
    assert CODES.keys() - written == RETIRED


def _prose(node: ast.expr, known: dict[str, list[ast.expr]], seen: frozenset[str] = frozenset()) -> Iterator[ast.expr]:
    """The texts of an expression that stand outside of codes; a name is looked up where it is assigned in the same file."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "code":
        return
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
    elif isinstance(node, ast.Name) and node.id not in seen:
        for value in known.get(node.id, ()):
            yield from _prose(value, known, seen | {node.id})
    elif isinstance(node, ast.Subscript):
        yield from _prose(node.value, known, seen)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _prose(value, known, seen)
    elif isinstance(node, ast.IfExp):
        yield from _prose(node.body, known, seen)
        yield from _prose(node.orelse, known, seen)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("together", "in_turn"):
        for argument in node.args:
            yield from _prose(argument, known, seen)
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.List | ast.Tuple):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _prose(child, known, seen)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _prose(node.func.value, known, seen)  # `"; ".join(…)`, `how.format(…)`


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What is assigned to each name in a module or a function."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                assert isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
                assert node.value is not None
                values.setdefault(target.id, []).append(node.value)
    return values


def prose_of(source: str) -> list[int]:
    """The lines of a file where a value gets its method or reason as a text."""
    tree = ast.parse(source)
    module = _assigned(
        ast.Module(body=[node for node in tree.body if not isinstance(node, ast.FunctionDef)], type_ignores=[])
    )
    lines = []
    scopes: list[ast.AST] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for scope in [*scopes, tree]:
        known = {**module, **(_assigned(scope) if isinstance(scope, ast.FunctionDef) else {})}
        for call in _calls(scope, *_MAKERS):
            assert isinstance(call.func, ast.Name)
            given = [keyword.value for keyword in call.keywords if keyword.arg in ("method", "reason")]
            given += call.args[:1] if call.func.id in ("unknown", "not_derived") else []
            if any(True for value in given for _ in _prose(value, known)):
                lines.append(call.lineno)
    return sorted(set(lines))


@pytest.mark.parametrize("file", COMPLIANCE, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_value_of_a_record_says_how_or_why_in_prose(file: Path) -> None:
    lines = prose_of(file.read_text("utf-8"))
    assert not lines, f"lines {lines}: a value says why and how by a code of schemas/codes/records.py"


def prose_of_evaluation(source: str) -> list[int]:
    """The lines of a file where a part of an evaluation gets a text for why or how."""
    tree = ast.parse(source)
    known = _assigned(tree)
    lines = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = [keyword.value for keyword in call.keywords if keyword.arg in _WORDS]
        given += call.args if name in ("NoInterval", "McNemar") else []
        if name in (*_PARTS, "revised") and any(True for value in given for _ in _prose(value, known)):
            lines.append(call.lineno)
    return sorted(lines)


@pytest.mark.parametrize("file", EVALUATION, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_part_of_an_evaluation_says_how_or_why_in_prose(file: Path) -> None:
    lines = prose_of_evaluation(file.read_text("utf-8"))
    assert not lines, f"lines {lines}: an evaluation says why and how by a code of schemas/codes/evaluations.py"


def test_prose_of_an_evaluation_is_seen() -> None:
    written = """
_WHY = "no items"
a = NoInterval(f"{3} clusters")
b = NoInterval(_WHY)
c = Interval(method="wilson", low=0, high=1)
d = comparison.revised(conclusion_reason=f"{1} fixed")
e = Result(null_reason=code("no_items"), dataset="house", metric="loss")
f = EvaluationRecord(limitations=(code("no_claim"), "and more"))
g = Threshold(lo=0, hi=1, source=_WHY)
"""
    assert [number - 2 for number in prose_of_evaluation(written)] == [1, 2, 3, 4, 6, 7]


def test_prose_is_seen_wherever_it_is_put_together() -> None:
    written = """
_WHY = "no meter"
_HOW = {"a": "counted"}


def values(count, reason):
    how = f"counted {count}"
    how += "; " + reason
    a = measured(1, method="counted")
    b = measured(1, method=_HOW["a"])
    c = derived(1, method=how)
    d = unknown(_WHY)
    e = unknown("; ".join(reason))
    f = unknown(code("not_derived", because="text of a person") if count else _WHY)
    g = Value(source="unknown", reason=f"{reason} (stated)")
    h = measured("a value", method=code("counted"))
    i = unknown(reason)
    return a, b, c, d, e, f, g, h, i
"""
    assert [number - 8 for number in prose_of(written)] == [1, 2, 3, 4, 5, 6, 7]

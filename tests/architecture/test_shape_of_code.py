"""File and function lengths, empty packages, no gin package, no machine paths."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p for folder in ("xlingual", "tasks", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1 - _docstring_lines(node)
            assert lines <= MAX_FUNCTION_LINES, f"{path.name}:{node.name} has {lines} lines"


def _docstring_lines(node):
    """Counts the lines of a function's docstring: what must be said does not count as code."""
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def test_test_files_are_short():
    long = [p for p in (ROOT / "tests").rglob("*.py") if len(p.read_text().splitlines()) > 400]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_package_markers_are_empty_and_modules_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py":
        assert not text
    else:
        assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_gin_is_no_package():
    assert not list((ROOT / "gin").rglob("*.py"))


def test_no_file_is_called_utils():
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "misc", "common")]


def test_no_path_of_a_machine():
    pattern = re.compile(r"(?<![\w.])/(work|root|home|farm)/\w")
    folders = ("xlingual", "tasks", "gin", "tests", "benchmarks", "docs", "tpu")
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".gin", ".md", ".sh", ".json") and path.is_file():
                found = pattern.search(path.read_text(encoding="utf-8"))
                assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"

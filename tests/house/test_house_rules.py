"""The rules of the house that a program can keep."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCES = sorted((PROJECT / "src" / "micscreen").rglob("*.py"))
TESTS = sorted((PROJECT / "tests").rglob("test_*.py"))
HEAVY = ("mrcfile", "tifffile", "imagecodecs", "gemmi", "onnxruntime", "onnx", "torch", "cv2")
HEAVY += ("dask", "starlette", "rich", "yaml", "numpy")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_the_floors_hold() -> None:
    """Imports go down the house, never up and never sideways (import-linter's contracts)."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_a_module_fits_into_one_head(path: Path) -> None:
    """A module has at most 420 lines, a body at most 55, a function at most 9 parameters."""
    assert path.read_text().count("\n") <= 420
    for function in functions(path):
        arguments = function.args
        count = len(arguments.args) + len(arguments.kwonlyargs) + len(arguments.posonlyargs)
        assert body_lines(function) <= 55, function.name
        assert count <= 9 or "cli" in path.parts, function.name


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(PROJECT)))
def test_every_test_says_what_it_proves(path: Path) -> None:
    """Every test has a sentence that says what it proves."""
    silent = [
        f.name
        for f in functions(path)
        if f.name.startswith("test_") and not (ast.get_docstring(f) or "").strip()
    ]
    assert silent == []


@pytest.mark.parametrize("arguments", [["-c", "import micscreen"], ["-m", "micscreen", "--help"]])
def test_the_door_opens_without_heavy_imports(arguments: list[str]) -> None:
    """`import micscreen` and `micscreen --help` load no heavy dependency."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert loaded.isdisjoint(HEAVY), sorted(loaded & set(HEAVY))

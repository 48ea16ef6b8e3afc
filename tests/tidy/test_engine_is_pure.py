"""The engine is a pure function of its commands (R1-R3): what its source may not contain."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from .source import python_files, tree_of, where

ENGINE = python_files("engine")
ALLOWED_IMPORTS = {
    "__future__", "bisect", "collections",
    "dataclasses", "enum", "functools", "hashlib", "heapq", "itertools",
    "json", "operator", "types", "typing", "typing_extensions",
}  # fmt: skip
DIVISIONS = (ast.Div, ast.FloorDiv, ast.Mod)
FLOATING = {"float", "round", "complex"}


def _violations(check: str, path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree_of(path)):
        if check == "division" and path.name not in {"fixed.py", "screen.py"}:
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, DIVISIONS):
                is_text = isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant | ast.JoinedStr)
                if not (is_text and isinstance(getattr(node.left, "value", ""), str)):
                    found.append(
                        f"{where(path, node)}: division belongs in fixed.py, which names its rounding"
                    )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "divmod":
                found.append(f"{where(path, node)}: divmod belongs in fixed.py")
        if check == "float" and path.name != "screen.py":
            if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
                found.append(f"{where(path, node)}: float literal {node.value!r}")
            if isinstance(node, ast.Name) and node.id in FLOATING and isinstance(node.ctx, ast.Load):
                found.append(f"{where(path, node)}: {node.id}")
        if check == "imports":
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                head = name.split(".")[0]
                excused = (head, path.name) in {("numpy", "screen.py"), ("math", "fixed.py")}
                if head not in ALLOWED_IMPORTS | {"engine"} and not excused:
                    found.append(f"{where(path, node)}: import of {name}")
        if check == "set order":
            iterated: list[ast.expr] = []
            if isinstance(node, ast.For | ast.comprehension):
                iterated = [node.iter]
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"list", "tuple"}
            ):
                iterated = node.args
            for expression in iterated:
                is_call = isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name)
                if isinstance(expression, ast.Set | ast.SetComp) or (
                    is_call and expression.func.id in {"set", "frozenset"}  # type: ignore[attr-defined]
                ):
                    found.append(f"{where(path, node)}: iterates over a set, whose order is not defined")
        if check == "print or assert":
            if isinstance(node, ast.Assert):
                found.append(f"{where(path, node)}: assert vanishes under -O; return a rejection or raise")
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"print", "open", "hash", "id", "input"}
            ):
                found.append(f"{where(path, node)}: {node.func.id}() is I/O or differs between runs")
    return found


@pytest.mark.parametrize("check", ["division", "float", "imports", "set order", "print or assert"])
def test_engine_source(check: str) -> None:
    assert ENGINE, "no engine sources found"
    found = [line for path in ENGINE for line in _violations(check, path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ("division", "x = a // b"),
        ("division", "x = a % b"),
        ("float", "x = 1.5"),
        ("float", "x = float(y)"),
        ("imports", "import time"),
        ("imports", "from random import choice"),
        ("set order", "for x in {1, 2}: pass"),
        ("set order", "y = [x for x in set(z)]"),
        ("print or assert", "assert x"),
    ],
)
def test_the_checks_can_fail(check: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "sample.py"
    source.write_text(line, encoding="utf-8")
    monkeypatch.setattr(sys.modules[where.__module__], "ROOT", tmp_path)
    assert _violations(check, source)

"""What the tidy tests look at: the files that git would commit, and their syntax trees."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def committed_files() -> tuple[Path, ...]:
    """Every file git tracks or would add, so that a fresh export and a work tree give the same answer."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return tuple(path for name in sorted(set(names)) if (path := ROOT / name).is_file())
    hidden = {".git", ".venv", ".venv-anchor", "node_modules", "__pycache__"}
    return tuple(sorted(p for p in ROOT.rglob("*") if p.is_file() and not hidden & set(p.parts)))


def python_files(*folders: str) -> tuple[Path, ...]:
    roots = [ROOT / folder for folder in folders]
    return tuple(
        path
        for path in committed_files()
        if path.suffix == ".py" and any(root in path.parents for root in roots)
    )


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"

"""`makewhole demo` is the first thing anybody sees: it must hold, and fail when a claim does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from daemon.demo.checks import Checks

from .harness import ROOT


def test_the_demo_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "demo", "--keep", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") >= 40
    for part in ("All of it held", "is killed without warning", "1.619433199 SOL", "Ben is made whole"):
        assert part in done.stdout
    assert done.stderr == ""
    assert (tmp_path / "data" / "makewhole.sqlite").exists()


def test_one_claim_that_does_not_hold_fails_the_whole() -> None:
    checks = Checks(Console(quiet=True))
    assert not checks.all_held  # nothing claimed is nothing shown
    checks.equal("one is one", 1, 1)
    assert checks.all_held
    checks.equal("one is two", 1, 2)
    checks.equal("two is two", 2, 2)
    assert not checks.all_held
    assert [good for _, good, _ in checks.held] == [True, False, True]

"""The command: scenario in, folder out, a progress bar between.

Rules: the folder is made if it is missing and files of an earlier run are replaced; nothing else in it is
touched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from daemon.crash.population import engine_params
from daemon.crash.replay import Crash, without_collector
from daemon.crash.report import page
from daemon.crash.results import results_of
from daemon.crash.scenario import Scenario, parsed_scenario, read_scenario
from daemon.crash.summary import show, show_sweep
from daemon.crash.sweep import folder_of, override, parse_sweep, sweep_page, sweep_results
from daemon.errors import DaemonError


def crash(scenario: str, accounts: int, seed: int, out: Path, sweep: str, quiet: bool) -> int:
    """Run a scenario, or one run per value of a sweep; returns the exit status."""
    console = Console(highlight=False, quiet=quiet)
    source, plain = parsed_scenario(scenario)
    if not sweep:
        one = read_scenario(source, plain)
        _prepare(out, [one])
        results = _run(one, accounts, seed, console, "")
        _write(out, results)
        show(results, console)
        console.print(f"[bold]{out / 'report.html'}[/] and {out / 'results.json'}")
        return _status(results)
    param, values = parse_sweep(sweep)
    # All values are checked before the first run begins.
    scenarios = [(value, read_scenario(source, override(plain, param, value))) for value in values]
    _prepare(out, [one for _, one in scenarios])
    # An interrupted sweep leaves no older comparison beside its newer runs.
    for name in ("sweep.json", "sweep.html"):
        (out / name).unlink(missing_ok=True)
    runs = []
    for value, one in scenarios:
        results = _run(one, accounts, seed, console, f"{param} = {value}")
        _write(out / folder_of(value), results)
        runs.append((value, results))
    swept = sweep_results(param, runs)
    _put(out / "sweep.json", _encode(swept))
    _put(out / "sweep.html", sweep_page(runs[0][1], swept).encode())
    show_sweep(swept, console)
    console.print(f"[bold]{out / 'sweep.html'}[/], and a report for each value beside it")
    return max(_status(results) for _, results in runs)


def _prepare(out: Path, scenarios: list[Scenario]) -> None:
    """Find what would stop a long run at its end, before it begins: engine parameters and the folder."""
    for one in scenarios:
        engine_params(one)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DaemonError(f"{out} cannot be written: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise DaemonError(f"{out} cannot be written: no permission")


def _run(scenario: Scenario, accounts: int, seed: int, console: Console, what: str) -> dict[str, Any]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=console.quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task(what or scenario.title, total=scenario.duration_s)
        crash = Crash(scenario, accounts, seed)
        replay = without_collector(lambda: crash.run(lambda second: progress.update(task, completed=second)))
    return results_of(replay)


def _write(out: Path, results: dict[str, Any]) -> None:
    _put(out / "results.json", _encode(results))
    _put(out / "report.html", page(results).encode())


def _encode(results: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=0) + b"\n"


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DaemonError(f"{path} cannot be written: {error.strerror}") from None


def _status(results: dict[str, Any]) -> int:
    """Give 0, or 1 when events and engine do not agree."""
    agree = all(one["agree"] for one in results["checks"])
    return 0 if agree and not results["summary"]["previews_wrong"] else 1

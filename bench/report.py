"""What a benchmark says: a figure on a stated workload, and its ratio to a named alternative of the same run.

Figures are medians over several passes. Nothing here passes or fails: machines differ and are noisy, so
an aim is printed beside the figure and left to the reader.
"""

from __future__ import annotations

import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

from rich.console import Console

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Row:
    """One answered question. `ratio` is this figure against `alternative`, better is greater."""

    question: str
    workload: str
    figure: float
    unit: str
    alternative: str = ""
    alternative_figure: float | None = None
    ratio: float | None = None
    aim: str = ""


def median_seconds(work: Callable[[], object], passes: int = 5) -> float:
    """Return the median wall time of `work()` over `passes` calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(passes):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def apart(work: Callable[[int], Answer], size: int) -> Answer:
    """Run in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, size).result()


def readable(value: float) -> str:
    """Write a figure with three significant digits, or whole with thousands separated when it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(rows: list[Row], console: Console) -> None:
    """Print each question with its figure, its ratio, its aim and its workload, in the order asked."""
    console.rule(f"Makewhole benchmarks, {platform.machine()}, Python {platform.python_version()}")
    for row in rows:
        ratio = ""
        if row.ratio is not None:
            other = row.alternative
            if row.alternative_figure is not None:
                other += f" ({readable(row.alternative_figure)} {row.unit})"
            ratio = f", [bold cyan]{row.ratio:.2f}x[/] {other}"
        console.print(f"[bold]{row.question}[/]: [bold green]{readable(row.figure)} {row.unit}[/]{ratio}")
        if row.aim:
            console.print(f"    aim       {row.aim}", highlight=False)
        console.print(f"    workload  {row.workload}", highlight=False)


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """Return the rows as plain objects for --json."""
    return [asdict(row) for row in rows]

"""Small crashes for the tests: a packaged scenario in a fraction of its time."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

from daemon.crash.replay import Crash, Replay
from daemon.crash.scenario import Scenario, parsed_scenario, read_scenario


def compressed(name: str, factor: int, **tables: dict[str, Any]) -> Scenario:
    """Give a packaged scenario with every second divided by `factor`, and some keys replaced."""
    source, plain = parsed_scenario(name)
    squeezed = _squeezed(plain, factor)
    squeezed["duration_s"] = plain["duration_s"] // factor
    for table, keys in tables.items():
        squeezed[table] = {**squeezed.get(table, {}), **keys}
    return read_scenario(source, squeezed)


def _squeezed(table: dict[str, Any], factor: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found[name] = _squeezed(value, factor)
        elif isinstance(value, list) and name in (
            "change",
            "noise",
            "lag_s",
            "depth",
            "reach",
            "half_spread",
            "per_minute",
        ):
            found[name] = _rising([[second // factor, one] for second, one in value])
        elif name == "delay_s":
            found[name] = [[max(1, second // factor), weight] for second, weight in value]
        else:
            found[name] = value
    # A minute is shorter too.
    if "per_minute" in found and isinstance(found["per_minute"], list):
        found["per_minute"] = [[second, one * Decimal(factor)] for second, one in found["per_minute"]]
    return found


def _rising(points: list[list[Any]]) -> list[list[Any]]:
    """Keep seconds apart that the division has put together."""
    for before, after in pairwise(points):
        after[0] = max(after[0], before[0] + 1)
    return points


def replayed(scenario: Scenario, accounts: int, seed: int = 1) -> Replay:
    """Run a crash."""
    return Crash(scenario, accounts, seed).run()

"""Curves and random choices in whole numbers, the same on every machine.

Rules: no float, no libm; randomness is `random.Random` through `randrange` only, whose bits are specified.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over time: (second, value) points, linear in between (rounded down), level outside."""

    points: tuple[tuple[int, int], ...]

    def at(self, second: int) -> int:
        """Give the value at a second."""
        points = self.points
        index = bisect_right(points, second, key=lambda point: point[0])
        if index == 0:
            return points[0][1]
        if index == len(points):
            return points[-1][1]
        (since, before), (until, after) = points[index - 1], points[index]
        return before + (after - before) * (second - since) // (until - since)


def pick(rng: Random, pairs: Sequence[tuple[T, int]]) -> T:
    """Choose by whole weights."""
    left = rng.randrange(sum(weight for _, weight in pairs))
    for value, weight in pairs:
        left -= weight
        if left < 0:
            return value
    raise AssertionError("unreachable: the weights were summed")


def happens(rng: Random, ppm: int) -> bool:
    """Tell whether something of this chance happens."""
    return rng.randrange(1_000_000) < ppm


def bell(rng: Random, width: int) -> int:
    """Draw from a bell of standard deviation about `width`: twelve even draws, less six (Irwin-Hall)."""
    if width <= 0:
        return 0
    return sum(rng.randrange(width) for _ in range(12)) - 6 * width


def spread(rng: Random, value: int) -> int:
    """Draw between half and one and a half of a value, so that no two customers are alike."""
    return value // 2 + rng.randrange(max(1, value))

"""How one value of a scenario file is read: exact numbers, curves over time, weighted choices.

Rules: a number becomes a whole number of its smallest unit without passing through a float; digits beyond
that unit are refused rather than rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

from daemon.config_reading import Wrong, nearest, whole
from daemon.crash.curve import Curve

PPM: Final = 1_000_000


def exact(value: object) -> Decimal:
    """Read a number exactly; a float of the file was kept as decimal text."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise Wrong("a number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise Wrong("a number") from None
    if not number.is_finite():
        raise Wrong("a finite number")
    return number


def scaled(scale: int, least: Decimal, most: Decimal, what: str) -> Callable[[object], int]:
    """Return a reader of a number that becomes an integer times `scale`; further digits are refused."""

    def parse(value: object) -> int:
        number = exact(value)
        product = number * scale
        if not least <= number <= most or product != product.to_integral_value():
            digits = f", {len(str(scale)) - 1} decimals at most" if scale > 1 else ""
            raise Wrong(f"{what} from {least:f} to {most:f}{digits}")
        return int(product)

    return parse


percent = scaled(PPM // 100, Decimal(0), Decimal(1_000), "percent")
signed_percent = scaled(PPM // 100, Decimal(-99), Decimal(1_000), "percent")
usd_price = scaled(10**8, Decimal("0.00000001"), Decimal(10**9), "a price in dollars")
dollars = scaled(1, Decimal(1), Decimal(10**9), "whole dollars")
count = scaled(1, Decimal(0), Decimal(10**9), "a whole number")


def curve(item: Callable[[object], int]) -> Callable[[object], Curve]:
    """Return a reader of a curve: one value for ever, or [second, value] pairs with rising seconds."""

    def parse(value: object) -> Curve:
        if not isinstance(value, list):
            return Curve(((0, item(value)),))
        points: list[tuple[int, int]] = []
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2:
                raise Wrong("a number, or a list of [second, value] pairs")
            points.append((whole(0, 10**7)(pair[0]), item(pair[1])))
        if not points or any(a[0] >= b[0] for a, b in pairwise(points)):
            raise Wrong("a list of [second, value] pairs, seconds rising")
        return Curve(tuple(points))

    return parse


def weighted(item: Callable[[object], Any]) -> Callable[[object], tuple[tuple[Any, int], ...]]:
    """Return a reader of [value, weight] pairs with whole weights above zero."""

    def parse(value: object) -> tuple[tuple[Any, int], ...]:
        if not isinstance(value, list) or not value:
            raise Wrong("a list of [value, weight] pairs")
        pairs = []
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2:
                raise Wrong("a list of [value, weight] pairs")
            pairs.append((item(pair[0]), whole(1, 10**6)(pair[1])))
        return tuple(pairs)

    return parse


def weights(value: object) -> tuple[tuple[str, int], ...]:
    """Read a table of name = weight; zero weights drop out."""
    if not isinstance(value, Mapping) or not value:
        raise Wrong("a table of name = weight")
    pairs = tuple((str(name), whole(0, 10**6)(weight)) for name, weight in value.items())
    chosen = tuple(pair for pair in pairs if pair[1])
    if not chosen:
        raise Wrong("a table with at least one weight above zero")
    return chosen


KINDS: Final = ("long", "short", "hedger", "lender", "borrower")


def kinds(value: object) -> tuple[tuple[str, int], ...]:
    """Read the weights of the ways to take part."""
    pairs = weights(value)
    for name, _ in pairs:
        if name not in KINDS:
            raise Wrong(f"weights of {', '.join(KINDS)} (`{name}`: {nearest(name, KINDS)})")
    return pairs

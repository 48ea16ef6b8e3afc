"""Which fields may hold what (R3): the auditor's own statement of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from engine import commands as c
from engine.units import MAX_TIME_NS, MAX_UNITS, order_key

MAY_BE_EMPTY = {"sender", "destination_fault", "client_order_id"}
# R3: fields with a spelling, or a flag, of their own.
CHOICES: dict[str, tuple[str | int, ...]] = {
    "on_debt": ("apply", "hold"),
    "side": ("buy", "sell"),
    "kind": ("limit", "market", "post_only", "ioc", "fok"),
    "market_state": ("open", "post_only", "reduce_only", "closed"),
    "reduce_only": (0, 1),
    "auto_lend": (0, 1),
    "auto_borrow": (0, 1),
    "auto_repay": (0, 1),
}
BEYOND_ANY_FIELD = 2**127


def is_malformed(command: c.Command) -> bool:
    """Tell whether a field holds what it may not: see the statement of each kind below."""
    for one in fields(command):
        value = getattr(command, one.name)
        if one.name == "time_ns":
            if not 0 <= value <= MAX_TIME_NS:
                return True
        elif isinstance(value, str):
            may_be_empty = one.name in MAY_BE_EMPTY or (type(command), one.name) == (
                c.CancelAllOrders,
                "market",
            )
            if not _is_plain_text(value, may_be_empty=may_be_empty):
                return True
        elif (isinstance(value, tuple) and not _is_plain_tuple(value)) or (
            isinstance(value, int) and abs(value) > BEYOND_ANY_FIELD
        ):
            return True
    for name, choices in CHOICES.items():
        if getattr(command, name, choices[0]) not in choices:
            return True
    u64 = (getattr(command, "network_fee_units", 0), getattr(command, "slot", 0))
    if not all(0 <= one <= MAX_UNITS for one in u64):
        return True
    if isinstance(command, c.AttestReserves):
        return any(not units >= 0 for _, units in command.holdings)
    return isinstance(command, c.OpenSubaccount) and order_key(command.subaccount) is None


def _is_plain_text(text: str, *, may_be_empty: bool = False) -> bool:
    """Printable ASCII of 1 to 256 characters."""
    return (
        all(32 <= ord(letter) <= 126 for letter in text) and len(text) <= 256 and (may_be_empty or text != "")
    )


def _is_plain_tuple(values: tuple[object, ...]) -> bool:
    """Good names, none of them twice."""
    if any(isinstance(one, tuple) and len(one) == 4 for one in values):
        return _are_plain_quotes(values)
    numbers = [one[1] for one in values if isinstance(one, tuple)]
    if any(abs(one) > BEYOND_ANY_FIELD for one in numbers):
        return False
    names = [one[0] if isinstance(one, tuple) else one for one in values]
    twice = len(set(names)) != len(names)
    pairs = any(isinstance(one, tuple) for one in values)
    return not (twice and pairs) and all(isinstance(one, str) and _is_plain_text(one) for one in names)


def _are_plain_quotes(quotes: tuple[Any, ...]) -> bool:
    """(feed, source, price_e8, time_ns): plain texts, bounded numbers, no source of a feed twice."""
    named = [(feed, source) for feed, source, _, _ in quotes]
    plain = all(_is_plain_text(text) for pair in named for text in pair)
    bounded = all(abs(price) <= BEYOND_ANY_FIELD and 0 <= time <= MAX_TIME_NS for _, _, price, time in quotes)
    return plain and bounded and len(set(named)) == len(named)

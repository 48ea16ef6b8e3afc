"""Whether a command's fields hold what they may (R3): the check every command passes first.

Rules: texts are printable ASCII of bounded length, integers are bounded, choices are spelled as listed, no
key stands twice in a list. Anything else that passes for an int or a str (a bool, an enum member) is refused:
it would be journaled as what it is not. Must not know what a command does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, get_origin, get_type_hints

from engine import commands as cm
from engine.units import MAX_TEXT_LENGTH, MAX_TIME_NS, MAX_UNITS, is_text, order_key

# Far above every limit that has a reason of its own, far below what would slow arithmetic or break JSON.
_MAX_INTEGER = 2**127
_MAY_BE_EMPTY = ("sender", "destination_fault", "client_order_id")
# A wrong slot would lock out every later attestation; a fee beyond all lamports cannot have been paid.
_UNSIGNED_64 = ("network_fee_units", "slot")
CHOICES: dict[str, tuple[str, ...]] = {
    "on_debt": ("apply", "hold"),
    "side": ("buy", "sell"),
    "kind": ("limit", "market", "post_only", "ioc", "fok"),
    "market_state": ("open", "post_only", "reduce_only", "closed"),
}
_FLAGS = ("reduce_only", "auto_lend", "auto_borrow", "auto_repay")


def malformed_field(command: cm.Command) -> str:
    """Name the first field that holds what it may not; "" when all are good."""
    kind: type[Any] = type(command)
    if type(command.time_ns) is not int or not 0 <= command.time_ns <= MAX_TIME_NS:
        return "time_ns"
    for (name, wanted, low, high, choices, shortest), value in zip(
        _SHAPES[kind], _VALUES[kind](command), strict=False
    ):
        found: type[Any] = type(value)
        if found is not wanted:
            return name
        if wanted is str:
            if choices:
                if value not in choices:
                    return name
            # As `is_text`, which a call per field would make the dearest part of an order.
            elif not (shortest <= len(value) <= MAX_TEXT_LENGTH and value.isascii() and value.isprintable()):
                return name
        elif wanted is int:
            if not low <= value <= high:
                return name
        elif not _good_tuple(value, name):
            return name
    if isinstance(command, cm.OpenSubaccount) and order_key(command.subaccount) is None:
        return "subaccount"
    return ""


def _good_tuple(values: Any, name: str) -> bool:
    """Check quotes, consents (texts), prices and holdings (text, integer): well-formed, no key twice."""
    if name == "quotes":
        return _good_quotes(values)
    if name == "consents":
        return all(type(value) is str and is_text(value) for value in values)
    if not all(type(value) is tuple and len(value) == 2 for value in values):
        return False
    keys = [key for key, _ in values]
    if not all(type(key) is str and is_text(key) for key in keys) or len(set(keys)) != len(keys):
        return False
    lowest = 0 if name == "holdings" else -_MAX_INTEGER
    return all(type(value) is int and lowest <= value <= _MAX_INTEGER for _, value in values)


def _good_quotes(values: tuple[Any, ...]) -> bool:
    """Check quotes: (feed, source, price_e8, time_ns), no source of a feed twice."""
    for value in values:
        if type(value) is not tuple or [type(one) for one in value] != [str, str, int, int]:
            return False
        feed, source, price_e8, time_ns = value
        if not (is_text(feed) and is_text(source)):
            return False
        if abs(price_e8) > _MAX_INTEGER or abs(time_ns) > _MAX_INTEGER:
            return False
    return len({value[:2] for value in values}) == len(values)


def _shape(kind: type[Any], name: str) -> tuple[str, type, int, int, tuple[str, ...], int]:
    """Give (field, type, lowest and highest integer, choices, shortest text) of a field of a command."""
    hint = get_type_hints(kind)[name]
    low, high = -_MAX_INTEGER, _MAX_INTEGER
    if name in _UNSIGNED_64:
        low, high = 0, MAX_UNITS
    elif name in _FLAGS:
        low, high = 0, 1
    may_be_empty = name in _MAY_BE_EMPTY or (kind is cm.CancelAllOrders and name == "market")
    return name, get_origin(hint) or hint, low, high, CHOICES.get(name, ()), 0 if may_be_empty else 1


_SHAPES = {kind: tuple([_shape(kind, one.name) for one in fields(kind)]) for kind in cm.COMMAND_TYPES}
_VALUES: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter(*[one.name for one in fields(kind)]) for kind in cm.COMMAND_TYPES
}

"""The table of JSON-RPC methods and what they share.

Owns: `METHODS` (name -> how many parameters, which function) and `Node`, what a method works on. Rules: a
method is a plain function of the node and its parameters; it returns JSON or raises `RpcError`. Must not
know: HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..errors import RpcError, invalid_params, min_context_slot_not_reached
from ..ledger import Ledger
from ..params import Config, Params
from ..views import View

# The release whose answers are given here; clients read it from getVersion and from every context.
API_VERSION: Final = "4.2.0"
FEATURE_SET: Final = 3_640_012_085


@dataclass(slots=True)
class Node:
    """What answers: a ledger, and how many slots the node is behind the cluster (None: it does not know)."""

    ledger: Ledger
    slots_behind: int | None = 0


MethodFunction: TypeAlias = Callable[[Node, Params], object]


@dataclass(frozen=True, slots=True)
class Method:
    """A method: it takes from `required` to `total` parameters."""

    required: int
    total: int
    function: MethodFunction


METHODS: Final[dict[str, Method]] = {}


def method(name: str, required: int, total: int) -> Callable[[MethodFunction], MethodFunction]:
    """Put a function into the table."""

    def register(function: MethodFunction) -> MethodFunction:
        METHODS[name] = Method(required, total, function)
        return function

    return register


def view_of(node: Node, config: Config, commitment: str | None = None) -> View:
    """The view that a configuration object asks for. Raises -32016 below its minContextSlot."""
    view = node.ledger.view(config.commitment() if commitment is None else commitment)
    minimum = config.min_context_slot()
    if minimum is not None and view.slot < minimum:
        raise min_context_slot_not_reached(view.slot)
    return view


def with_context(view: View, value: object) -> dict[str, object]:
    """A value and the slot that it is true for."""
    return {"context": {"apiVersion": API_VERSION, "slot": view.slot}, "value": value}


def at_least_confirmed(config: Config) -> str:
    """The commitment of a configuration object. Raises -32602 on `processed`: history starts above it."""
    commitment = config.commitment()
    if commitment == "processed":
        raise invalid_params("Method does not support commitment below `confirmed`")
    return commitment


def too_many(limit: int) -> RpcError:
    """The refusal of a list that is too long."""
    return invalid_params(f"Too many inputs provided; max {limit}")

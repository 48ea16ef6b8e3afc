"""Who is endangered now (R20): the screen names candidates if there is one, the exact integers decide (R33).

Rules: `endangered` gives the same list with and without a screen, so that a screen can never change an
outcome; it is derived, in no dump and in no hash, and may be dropped or rebuilt at any time. Imports no
numpy: without a screen everybody who could be in danger is checked. Must not know what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.margin import margin_with, meets_maintenance_margin
from engine.state import State, Subaccount
from engine.units import SubaccountId


def endangered(state: State) -> list[Subaccount]:
    """List every customer that fails R20 at the present prices and is not bankrupt, in canonical order.

    Fails: maintenance margin > 0 and >= net equity, or account value < 0 (`meets_maintenance_margin`).
    """
    named = exact_candidates(state) if state.screen is None else state.screen.candidates(state)
    return [one for one in _looked_at(state, named) if not meets_maintenance_margin(margin_with(state, one))]


def exact_candidates(state: State) -> list[SubaccountId]:
    """List everyone who could fail R20 at any price: position holders, borrowers, realized losers."""
    ids = dict.fromkeys(state.unsettled_holders)
    ids.update(state.borrowers)
    for market in state.markets:
        ids.update(state.holders[market])
    return list(ids)


def _looked_at(state: State, named: Iterable[SubaccountId]) -> list[Subaccount]:
    customers = {one: None for one in named if one not in state.debts}
    return [one for one in state.ordered(customers) if not one.is_system]

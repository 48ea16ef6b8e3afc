"""Changes to the input that may not change the result, or must change it in a known way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.apply import apply
from engine.commands import Command, Deposit, Tick, UpdateQuotes
from engine.outcome import Accepted
from engine.snapshot import dump_state, load_state
from engine.state import State
from tests.sim.generator import CUSTOMERS
from tests.sim.run import new_run, state_balances

from .worlds import in_debt, world_after, world_in_debt


def _balances(state: State) -> dict[str, Mapping[Any, int]]:
    return state_balances(state)


@given(st.data())
def test_r28_a_usdc_deposit_in_two_parts_ends_the_same(data: st.DataObject) -> None:
    """R28: a USDC deposit split in two gives the same balances, before and after the next tick."""
    world = world_in_debt(data)
    state = world.run.state
    known = [name for name in CUSTOMERS if name in state.subaccounts]
    debtors = [name for name in known if in_debt(world, name)]
    subaccount = data.draw(st.sampled_from(debtors or known))
    least = state.assets["USDC"].minimum_deposit_units
    first, second = data.draw(st.integers(least, 10**11)), data.draw(st.integers(least, 10**11))
    now_ns = state.last_time_ns
    whole, parts = load_state(dump_state(state)), load_state(dump_state(state))
    assert isinstance(apply(whole, Deposit("w", now_ns, subaccount, "USDC", first + second, "s")), Accepted)
    assert isinstance(apply(parts, Deposit("p1", now_ns, subaccount, "USDC", first, "s")), Accepted)
    assert isinstance(apply(parts, Deposit("p2", now_ns, subaccount, "USDC", second, "s")), Accepted)
    assert _balances(parts) == _balances(whole)
    for one in (whole, parts):
        apply(one, Tick("t", now_ns + 10**10))
    assert _balances(parts) == _balances(whole)


@given(st.data())
def test_r28_deposits_of_two_customers_commute(data: st.DataObject) -> None:
    """R28: USDC deposits to two subaccounts in either order give the same balances."""
    world = world_in_debt(data)
    state = world.run.state
    known = [name for name in CUSTOMERS if name in state.subaccounts]
    one, two = data.draw(st.sampled_from(known)), data.draw(st.sampled_from(known))
    assume(one != two)
    now_ns = state.last_time_ns
    deposits = [
        Deposit("d1", now_ns, one, "USDC", data.draw(st.integers(10**6, 10**11)), "s"),
        Deposit("d2", now_ns, two, "USDC", data.draw(st.integers(10**6, 10**11)), "s"),
    ]
    ended = []
    for order in (deposits, deposits[::-1]):
        trial = load_state(dump_state(state))
        for deposit in order:
            apply(trial, deposit)
        apply(trial, Tick("t", now_ns + 10**10))
        ended.append(_balances(trial))
    assert ended[0] == ended[1]


@given(st.data())
@settings(max_examples=40)
def test_r6_names_of_accounts_do_not_matter(data: st.DataObject) -> None:
    """R6: renaming accounts in an order-keeping way renames the balances and changes nothing else.

    Order-keeping, because ties are broken by canonical id (R20, R26); account numbers and widths all change.
    """
    world = world_after(data, 50, crashes=True)
    renamed = new_run(world.run.params)
    for command in world.run.commands:
        renamed.apply(_rename(command))
    assert _rename_keys(_balances(world.run.state)) == _balances(renamed.state)


NEW_NAMES = {
    name: f"{int(name.split('/')[0]) * 7 + 90}/{int(name.split('/')[1]) * 2 + 1}" for name in CUSTOMERS
}


def _rename(command: Command) -> Command:
    changes: dict[str, Any] = {}
    for one in fields(command):
        value = getattr(command, one.name)
        if one.name == "consents":
            changes[one.name] = tuple(NEW_NAMES.get(name, name) for name in value)
        elif one.name in ("subaccount", "buyer", "seller", "source", "target"):
            changes[one.name] = NEW_NAMES.get(value, value)
    return replace(command, **changes)


def _rename_keys(balances: dict[str, Mapping[Any, int]]) -> dict[str, Mapping[Any, int]]:
    def new(key: Any) -> Any:
        return (NEW_NAMES.get(key[0], key[0]), key[1]) if isinstance(key, tuple) else NEW_NAMES.get(key, key)

    return {kind: {new(key): value for key, value in held.items()} for kind, held in balances.items()}


@given(st.data(), st.integers(2, 20))
@settings(max_examples=40)
def test_r26_the_time_of_day_does_not_matter(data: st.DataObject, days: int) -> None:
    """R3: the same commands, all later by the same time, post the same units."""
    world = world_after(data, 50, crashes=True, strange_percent=0)
    later = new_run(world.run.params)
    shift_ns = days * 86_400 * 10**9
    for command in world.run.commands:
        shifted = replace(command, time_ns=command.time_ns + shift_ns)
        if isinstance(shifted, UpdateQuotes):
            shifted = replace(
                shifted, quotes=tuple([(*quote[:3], quote[3] + shift_ns) for quote in shifted.quotes])
            )
        later.apply(shifted)
    assert _balances(later.state) == _balances(world.run.state)

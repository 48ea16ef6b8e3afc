"""Whatever comes in, `apply` answers, breaks no invariant, posts what its events say (R3, R5, I1-I10)."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.apply import apply
from engine.invariants import check, check_totals, expected_holdings_units, liabilities_units
from engine.journal import encode_outcome
from engine.outcome import Accepted, Rejected
from engine.rejects import PRECEDENCE
from engine.snapshot import dump_state, state_hash
from tests.sim.generator import STRANGE_INTEGERS
from tests.sim.run import quick_params

from .worlds import draw_world, world_after

# What a refusal may change: that it was asked, and when.
MAY_CHANGE = {"sequence", "last_time_ns", "answers", "recent_answers", "clockwork_answers"}


@given(st.data())
def test_r3_nonsense_gets_an_answer_and_breaks_no_invariant(data: st.DataObject) -> None:
    """R3: total on any well-typed command; I1-I10 hold after each of them."""
    world = draw_world(data, strange_percent=45, opened=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(1, 40))):
        _, outcome = world.step()
        assert isinstance(outcome, Accepted | Rejected)
        assert check(world.run.state) == []
        assert check_totals(world.run.state) == []


@given(st.data())
def test_r5_folding_the_events_gives_every_balance(data: st.DataObject) -> None:
    """R5: the books kept from events alone equal the state after every command; so do the liabilities."""
    world = draw_world(data, params=quick_params())
    for _ in range(data.draw(st.integers(1, 60))):
        world.step()
        world.run.assert_sound()
    books = world.run.books
    owed = {
        asset: sum(units for (_, held), units in books.cash.items() if held == asset)
        + books.pending[asset]
        + books.held[asset]
        for asset in world.run.state.assets
    }
    on_chain = {asset: books.arrived[asset] - books.left[asset] for asset in owed}
    assert liabilities_units(world.run.state) == owed
    assert expected_holdings_units(world.run.state) == on_chain
    # I1: network fees that the operator could not pay yet were paid out of what belongs to others.
    owed["SOL"] -= books.network_fees_owed_units
    assert owed == on_chain


@given(st.data())
def test_r3_a_refusal_changes_nothing(data: st.DataObject) -> None:
    """R3: nothing is written before the last check; an unrecorded answer leaves no trace at all."""
    world = world_after(data, 30, strange_percent=10)
    for _ in range(15):
        before = dump_state(world.run.state)
        _, outcome = world.step()
        after = dump_state(world.run.state)
        if not outcome.recorded:
            assert after == before
        elif isinstance(outcome, Rejected):
            assert _substance(after) == _substance(before)


def _substance(dump: bytes) -> dict[str, Any]:
    return {key: value for key, value in json.loads(dump).items() if key not in MAY_CHANGE}


@given(st.data())
@settings(max_examples=30)
def test_r3_the_same_commands_give_the_same_bytes(data: st.DataObject) -> None:
    """R3: two exchanges fed the same commands answer with the same bytes and end in the same hash."""
    first = world_after(data, 40, strange_percent=10)
    second = draw_world(data, opened=False).run
    for command in first.run.commands:
        second.apply(command)
    assert second.entries == first.run.entries
    assert state_hash(second.state) == state_hash(first.run.state)


@given(st.data(), st.sampled_from(STRANGE_INTEGERS))
def test_r3_every_integer_field_may_hold_any_integer(data: st.DataObject, strange: int) -> None:
    """R3: each integer of a plausible command replaced by an extreme one is answered, and invariants hold."""
    world = world_after(data, 10)
    command = world.generator.next()
    names = [one.name for one in fields(command) if isinstance(getattr(command, one.name), int)]
    for name in names:
        change: dict[str, Any] = {name: strange}
        spoilt = replace(command, id=f"{name}-{strange}", **change)
        outcome = apply(world.run.state, spoilt)
        encode_outcome(outcome)
        if isinstance(outcome, Rejected):
            assert outcome.reason in PRECEDENCE
        assert check(world.run.state) == []

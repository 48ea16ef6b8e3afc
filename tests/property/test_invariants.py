"""The checker itself: any single balance that is off by one unit is named (I1-I10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, note, settings
from hypothesis import strategies as st

from engine.invariants import check, check_totals
from engine.snapshot import dump_state, load_state
from engine.state import Position, State

from .worlds import world_after


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to falsify a state and what a breach must mention."""

    what: str
    corrupt: Callable[[State], None]


def _corruptions(state: State, by: int) -> list[Corruption]:
    """List a falsification of every single balance of a state, each by the same small amount."""
    made: list[Corruption] = []
    for name, one in state.subaccounts.items():
        for asset in state.assets:
            made.append(Corruption(f"cash of {name} in {asset}", _add_cash(name, asset, by)))
        made.append(Corruption(f"unsettled of {name}", _add_unsettled(name, by)))
        for market in one.positions:
            made.append(Corruption(f"base of {name} in {market}", _add_position(name, market, by, 0)))
            made.append(Corruption(f"quote of {name} in {market}", _add_position(name, market, 0, by)))
    for asset in state.assets:
        made.append(Corruption(f"deposited {asset}", _add_total("deposited_units", asset, by)))
        made.append(Corruption(f"withdrawn {asset}", _add_total("withdrawn_units", asset, by)))
    for withdrawal_id, withdrawal in state.withdrawals.items():
        if withdrawal.status in ("queued", "reserved"):
            made.append(Corruption(f"payout {withdrawal_id}", _add_payout(withdrawal_id, by)))
    for deposit_id in state.held:
        made.append(Corruption(f"held {deposit_id}", _add_held(deposit_id, by)))
    made.append(Corruption("network fees owed", _add_plain("network_fees_owed_units", by)))
    made.append(Corruption("network fees paid", _add_plain("network_fees_paid_units", by)))
    return made


def _add_cash(name: str, asset: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        cash = state.subaccounts[name].cash
        cash[asset] = cash.get(asset, 0) + by

    return corrupt


def _add_unsettled(name: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        state.subaccounts[name].unsettled_usd6 += by

    return corrupt


def _add_position(name: str, market: str, base: int, quote: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        position = state.subaccounts[name].positions.setdefault(market, Position())
        position.base_units += base
        position.quote_usd6 += quote

    return corrupt


def _add_total(total: str, asset: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        getattr(state, total)[asset] += by

    return corrupt


def _add_payout(withdrawal_id: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        state.withdrawals[withdrawal_id].units += by

    return corrupt


def _add_held(deposit_id: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        state.held[deposit_id].units += by

    return corrupt


def _add_plain(name: str, by: int) -> Callable[[State], None]:
    def corrupt(state: State) -> None:
        setattr(state, name, getattr(state, name) + by)

    return corrupt


@given(st.data(), st.sampled_from([-1, 1]))
@settings(max_examples=25)
def test_i1_to_i5_every_balance_off_by_one_unit_is_noticed(data: st.DataObject, by: int) -> None:
    """I1, I2, I3: corrupt each balance in turn; the check notices, on the reloaded state too."""
    state = world_after(data, 40).run.state
    honest = dump_state(state)
    assert check(load_state(honest)) == []
    for corruption in _corruptions(state, by):
        note(corruption.what)
        spoilt = load_state(honest)
        corruption.corrupt(spoilt)
        assert check(spoilt) != [], corruption.what
        # Read again from disk, the running totals agree with the lie; the sums must still show it.
        reread = load_state(dump_state(spoilt))
        assert check(reread) != [], corruption.what
        assert check_totals(reread) != [], corruption.what


@given(st.data(), st.sampled_from([-1, 1]))
@settings(max_examples=25)
def test_i1_to_i3_running_totals_off_by_one_are_noticed(data: st.DataObject, by: int) -> None:
    """I1, I2, I3: each running total off by one unit is a breach of both checks."""
    honest = dump_state(world_after(data, 40).run.state)
    for name in ("cash_units", "pending_units", "held_units", "base_units", "quote_usd6"):
        for key in getattr(load_state(honest).totals, name):
            spoilt = load_state(honest)
            getattr(spoilt.totals, name)[key] += by
            assert check(spoilt) != [], (name, key)
            assert check_totals(spoilt) != [], (name, key)
    spoilt = load_state(honest)
    spoilt.totals.unsettled_usd6 += by
    assert check(spoilt) != []
    assert check_totals(spoilt) != []


@given(st.data())
@settings(max_examples=25)
def test_i5_moving_money_into_a_negative_is_noticed(data: st.DataObject) -> None:
    """I5, R7: a sum that still adds up hides no negative cash, in the fund or anywhere."""
    honest = dump_state(world_after(data, 20).run.state)
    for poor, rich in (("insurance_fund", "1/0"), ("1/0", "2/0"), ("settlement_pool", "fees")):
        for asset in ("USDC", "SOL"):
            spoilt = load_state(honest)
            deficit = spoilt.subaccounts[poor].cash.get(asset, 0) + 1
            _add_cash(poor, asset, -deficit)(spoilt)
            _add_cash(rich, asset, deficit)(spoilt)
            assert check(spoilt) != [], (poor, asset)

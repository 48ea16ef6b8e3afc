"""What is announced is what happens, to the unit (R28, R29, R30, I7, I8)."""

from __future__ import annotations

from hypothesis import assume, given, note
from hypothesis import strategies as st

from engine.apply import apply
from engine.commands import AttestReserves, Deposit, RequestWithdrawal, Tick
from engine.deposits import preview_deposit
from engine.events import DepositApplied, DepositHeld, WithdrawalQueued, WithdrawalReserved
from engine.margin import margin_of, outstanding_negative_equity_usd6
from engine.outcome import Accepted, Rejected
from engine.rejects import RejectReason
from engine.snapshot import dump_state, load_state, state_hash
from engine.withdrawals import withdrawable_units
from tests.engine.conftest import SOL, USDC, Exchange
from tests.sim.generator import CUSTOMERS

from .worlds import World, in_debt, world_after, world_in_debt

RECEIPT = (
    "applied_units",
    "applied_usd6",
    "rate_e8",
    "credited_units",
    "outstanding_before_usd6",
    "outstanding_after_usd6",
)


def _draw_subaccount(data: st.DataObject, world: World) -> str:
    """Choose a subaccount, rather one in debt if there is one."""
    debtors = [name for name in CUSTOMERS if name in world.run.state.subaccounts and in_debt(world, name)]
    known = [name for name in CUSTOMERS if name in world.run.state.subaccounts]
    return data.draw(st.sampled_from(debtors or known), label="subaccount")


def _draw_units(data: st.DataObject, near: int) -> int:
    amounts = st.integers(1, 10**12) | st.integers(max(1, near - 3), near + 3) | st.integers(1, 10**19)
    return data.draw(amounts, label="units")


def _attest(world: World) -> None:
    """Attest ample reserves, so that only the subaccount's own condition and the queues speak (R33a)."""
    state = world.run.state
    holdings = tuple((asset, 2**64 - 1) for asset in state.assets)
    slot = state.attestation.slot if state.attestation else 0
    answer = world.run.apply(AttestReserves("ample", state.last_time_ns, holdings, slot))
    assert isinstance(answer, Accepted)


@given(st.data())
def test_r29_the_preview_is_the_deposit_that_follows(data: st.DataObject) -> None:
    """R29: applied, rate, credited, outstanding before and after, held or not: all as previewed, and pure."""
    world = world_in_debt(data)
    state = world.run.state
    subaccount = _draw_subaccount(data, world)
    asset = data.draw(st.sampled_from(list(state.assets)), label="asset")
    outstanding = outstanding_negative_equity_usd6(state, subaccount)
    units = _draw_units(data, outstanding)

    before = state_hash(state)
    preview = preview_deposit(state, subaccount, asset, units)
    note(repr(preview))
    assert state_hash(state) == before
    outcome = world.run.apply(Deposit("the one", state.last_time_ns, subaccount, asset, units, "wallet"))
    assume(isinstance(outcome, Accepted))  # an amount nobody can send is refused, not previewed
    assert isinstance(outcome, Accepted)
    receipt = outcome.events[0]
    if preview.held:
        assert isinstance(receipt, DepositHeld)
        assert (receipt.units, receipt.outstanding_usd6) == (units, preview.outstanding_before_usd6)
        return
    assert isinstance(receipt, DepositApplied)
    assert {name: getattr(receipt, name) for name in RECEIPT} == {
        name: getattr(preview, name) for name in RECEIPT
    }
    assert preview.applied_units + preview.credited_units == units
    # Units too few for one more usd6 at the conversion rate are credited; at index they may be worth one.
    after = outstanding_negative_equity_usd6(state, subaccount)
    assert preview.outstanding_after_usd6 - 1 <= after <= preview.outstanding_after_usd6
    if asset == "USDC":
        assert after == preview.outstanding_after_usd6


@given(st.data())
def test_i7_a_deposit_is_never_applied_beyond_what_is_outstanding(data: st.DataObject) -> None:
    """I7, R28: applied <= min(value of the deposit, outstanding); nobody else's balances move."""
    world = world_in_debt(data)
    state = world.run.state
    subaccount = _draw_subaccount(data, world)
    asset = data.draw(st.sampled_from(list(state.assets)), label="asset")
    outstanding = outstanding_negative_equity_usd6(state, subaccount)
    units = _draw_units(data, outstanding)
    price_e8 = 10**8 if asset == "USDC" else state.index_prices[asset].price_e8
    others = {name: _everything(world, name) for name in CUSTOMERS if name != subaccount}
    outcome = world.run.apply(Deposit("the one", state.last_time_ns, subaccount, asset, units, "wallet"))
    assume(isinstance(outcome, Accepted))
    assert isinstance(outcome, Accepted)
    for event in outcome.events:
        if isinstance(event, DepositApplied):
            assert event.outstanding_before_usd6 == outstanding
            assert 0 <= event.applied_usd6 <= outstanding
            decimals = state.assets[asset].decimals
            assert event.applied_usd6 * 10 ** (decimals + 2) <= event.applied_units * price_e8
            assert event.applied_units <= units
    assert outstanding_negative_equity_usd6(state, subaccount) <= outstanding
    assert {name: _everything(world, name) for name in others} == others


def _everything(world: World, name: str) -> tuple[object, ...]:
    one = world.run.state.subaccounts.get(name)
    return (
        ()
        if one is None
        else (one.unsettled_usd6, dict(one.cash), {k: v.quote_usd6 for k, v in one.positions.items()})
    )


@given(st.data())
def test_r30_exactly_the_withdrawable_units_pass_and_not_one_more(data: st.DataObject) -> None:
    """R30: withdrawable_units passes (or is queued), one unit more is refused, asking changes nothing."""
    world = world_after(data, 60)
    state = world.run.state
    subaccount = _draw_subaccount(data, world)
    asset = data.draw(st.sampled_from(list(state.assets)), label="asset")
    _attest(world)
    before = state_hash(state)
    most = withdrawable_units(state, subaccount, asset)
    note(f"withdrawable {most}")
    assert state_hash(state) == before
    assert 0 <= most <= state.subaccounts[subaccount].cash.get(asset, 0)
    minimum = state.assets[asset].minimum_withdrawal_units
    for units in sorted({most, most + 1, max(1, most - 1), data.draw(st.integers(1, most + 1))}):
        trial = load_state(dump_state(state))
        outcome = apply(
            trial, RequestWithdrawal("ask", state.last_time_ns, subaccount, asset, units, "their wallet")
        )
        if units > most and units >= minimum and state.assets[asset].weight_penalty_ppm:
            continue  # a little more may pass: the weight moves in steps with the amount (R16)
        if units > most or units < minimum:
            assert isinstance(outcome, Rejected), (units, outcome)
        else:
            assert isinstance(outcome, Accepted), (units, outcome)
            assert isinstance(outcome.events[0], WithdrawalReserved | WithdrawalQueued)
            assert outcome.events[0].units == units


@given(st.data())
def test_r30_a_refusal_that_names_an_amount_is_right(data: st.DataObject) -> None:
    """R30: where a refusal says how much would pass, that passes and one unit more does not."""
    world = world_after(data, 50)
    state = world.run.state
    subaccount = _draw_subaccount(data, world)
    asset = data.draw(st.sampled_from(list(state.assets)), label="asset")
    _attest(world)
    cash = state.subaccounts[subaccount].cash.get(asset, 0)
    minimum = state.assets[asset].minimum_withdrawal_units
    units = data.draw(st.integers(minimum, 2 * cash + 10 * minimum))

    def ask(amount: int) -> Accepted | Rejected:
        trial = load_state(dump_state(state))
        return apply(
            trial, RequestWithdrawal("ask", state.last_time_ns, subaccount, asset, amount, "their wallet")
        )

    outcome = ask(units)
    assume(isinstance(outcome, Rejected) and outcome.would_pass_units is not None)
    assert isinstance(outcome, Rejected)
    assert outcome.would_pass_units is not None
    note(repr(outcome))
    assert 0 <= outcome.would_pass_units < units
    if outcome.would_pass_units >= minimum:
        assert isinstance(ask(outcome.would_pass_units), Accepted)
    # A weight with a penalty moves in steps of 1 ppm with the amount: a little more may pass (R16).
    if not state.assets[asset].weight_penalty_ppm:
        assert isinstance(ask(outcome.would_pass_units + 1), Rejected)


def test_r30_a_refusal_names_no_amount_that_a_stale_price_would_stop() -> None:
    """R30: 61 s after the last prices a holder can withdraw nothing, and no refusal may say otherwise."""
    exchange = Exchange()
    exchange.prices(150)
    for name in ("1/0", "2/0"):
        exchange.open(name)
        exchange.deposit(name, 10_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 10 * SOL, 150), Accepted)
    exchange.wait(61)
    refused = exchange.withdraw("1/0", 20_000 * USDC)
    assert isinstance(refused, Rejected)
    assert refused.would_pass_units is None
    assert withdrawable_units(exchange.state, "1/0", "USDC") == 0


@given(st.data())
def test_i8_nobody_with_outstanding_negative_equity_withdraws(data: st.DataObject) -> None:
    """I8: while account value is below zero every withdrawal is refused."""
    world = world_in_debt(data)
    state = world.run.state
    debtors = [name for name in CUSTOMERS if name in state.subaccounts and in_debt(world, name)]
    subaccount = data.draw(st.sampled_from(debtors))
    asset = data.draw(st.sampled_from(list(state.assets)))
    least = state.assets[asset].minimum_withdrawal_units
    units = data.draw(st.integers(least, least * 10**6))
    assert margin_of(state, subaccount).account_value_usd6 < 0
    assert withdrawable_units(state, subaccount, asset) == 0
    outcome = world.run.apply(
        RequestWithdrawal("ask", state.last_time_ns, subaccount, asset, units, "their wallet")
    )
    assert isinstance(outcome, Rejected)
    assert outcome.reason in (RejectReason.IN_LIQUIDATION, RejectReason.OUTSTANDING_NEGATIVE_EQUITY)


@given(st.data())
def test_r28_debt_does_not_grow_by_itself(data: st.DataObject) -> None:
    """R28, I7: with prices unchanged no tick, deposit or passing time makes anybody's outstanding larger."""
    world = world_in_debt(data)
    state = world.run.state

    def outstanding() -> dict[str, int]:
        return {
            name: outstanding_negative_equity_usd6(state, name)
            for name in CUSTOMERS
            if name in state.subaccounts
        }

    for number in range(3):
        before = outstanding()
        later_ns = state.last_time_ns + data.draw(st.integers(0, 3 * 86_400 * 10**9))
        if data.draw(st.booleans()):
            subaccount = _draw_subaccount(data, world)
            world.run.apply(
                Deposit(
                    f"d{number}", later_ns, subaccount, "USDC", _draw_units(data, before[subaccount]), "w"
                )
            )
            after = outstanding()
            assert all(after[name] <= before[name] for name in before), (before, after)
        world.run.apply(Tick(f"t{number}", later_ns))
        after = outstanding()
        # A settlement values each position once, rounded down: at most one micro-dollar per market (I7, R2).
        assert all(after[name] <= before[name] + len(state.markets) for name in before), (before, after)

"""The auditor: says beforehand what a command must answer and post, from the rules alone, and compares.

Its verdict on a refusal is made by listing every check that fails and taking the first in the published
precedence; the engine stops at its first. What it expects to be posted it computes in exact fractions. It
imports the engine's vocabulary (params, commands, events, rejects, units) and nothing that computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import singledispatchmethod
from math import ceil, floor

from engine import commands as c
from engine import events as e
from engine.outcome import Accepted, Outcome, Rejected
from engine.params import Params
from engine.rejects import PRECEDENCE
from engine.rejects import RejectReason as R
from engine.units import (
    FEES,
    INSURANCE_FUND,
    MAX_PRICE_E8,
    NETWORK_FEE_ASSET,
    OPERATOR_ACCOUNTS,
    ROUNDING,
    SETTLEMENT_ASSET,
    SYSTEM_ACCOUNTS,
)

from . import formulas as f
from . import settling
from .books import Resting
from .conditions import Lending
from .gates import Gates
from .ledger import Change, Ledger
from .liquidating import Liquidator
from .matching import Matcher
from .memory import Memory
from .pricing import Pricer
from .wellformed import is_malformed

# Commands whose verdict and events are not said beforehand (yet), with the rules that are missing. Their
# events are folded and judged one by one (tests/sim/conditions.py), and the invariants hold after them.
NOT_PREDICTED: dict[type[c.Command], str] = {
    c.SetLending: "R10, R11",
    c.Lend: "R10",
    c.Redeem: "R10",
    c.Borrow: "R10, R11, R19",
    c.Repay: "R11",
}


class AuditFailed(AssertionError):
    """The engine and the auditor disagree; the message says about what."""


@dataclass(slots=True)
class Auditor:
    """Follows a run command by command."""

    params: Params
    # With borrow-lend in play whole answers are not said beforehand: events are judged one by one.
    follow_only: bool = False
    ledger: Ledger = field(init=False)
    lending: Lending = field(init=False)
    gates: Gates = field(init=False)
    memory: Memory = field(init=False)
    matcher: Matcher = field(init=False)
    liquidator: Liquidator = field(init=False)
    pricer: Pricer = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.params)
        self.gates = Gates(self.ledger)
        self.lending = Lending(self.ledger)
        self.matcher = Matcher(self.ledger)
        self.liquidator = Liquidator(self.ledger, self.matcher)
        self.pricer = Pricer(self.ledger)
        self.memory = Memory(self.params.remembered_commands)

    def judge(self, command: c.Command, outcome: Outcome) -> None:
        """Compare the engine's answer with what the rules say; raises AuditFailed."""
        unrecorded = self._without_trace(command, outcome)
        if unrecorded:
            return
        if not outcome.recorded:
            raise AuditFailed(f"an answer that had to be recorded was not: {outcome}")
        self.ledger.now_ns = command.time_ns
        self.ledger.expected = []
        if self.follow_only or type(command) in NOT_PREDICTED:
            assert self.follow_only, f"{type(command).__name__} has to be followed, with everything after it"
            self._follow(outcome)
            self.memory.keep(command, outcome)
            return
        failing = list(self.faults(command))
        reason = min(failing, key=PRECEDENCE.index, default=None)
        self._compare_verdict(command, outcome, reason, failing)
        if isinstance(outcome, Accepted):
            self.post(command)
            self._compare_events(command, outcome)
        self.memory.keep(command, outcome)

    def _follow(self, outcome: Outcome) -> None:
        """Fold what was posted without having said it beforehand; each event answers for itself."""
        if not isinstance(outcome, Accepted):
            return
        before = {one.symbol: self.lending.surplus_e18(one.symbol) for one in self.params.assets}
        for event in outcome.events:
            try:
                self.lending.judge(event)
                self.ledger.emit(event)
            except (AssertionError, KeyError) as error:
                raise AuditFailed(f"{event} contradicts what came before: {error}") from error
        for asset, surplus in before.items():
            after = self.lending.surplus_e18(asset)
            if not after >= 0 or after < min(surplus, 0):
                raise AuditFailed(f"I6: the pool of {asset} lacks {-after} x 10^-18 units")

    def _without_trace(self, command: c.Command, outcome: Outcome) -> bool:
        """R4: malformed, id reused, time going back, the same id again: all unrecorded."""
        known = self.memory.find(command)
        expected: Outcome | R | None = None
        if is_malformed(command):
            expected = R.MALFORMED_COMMAND
        elif known is not None:
            same = replace(known[0], time_ns=0) == replace(command, time_ns=0)
            expected = known[1] if same else R.ID_REUSED_WITH_DIFFERENT_BODY
        elif command.time_ns < self.ledger.now_ns:
            expected = R.TIME_WENT_BACK
        if expected is None:
            return False
        found = outcome.reason if isinstance(expected, R) and isinstance(outcome, Rejected) else outcome
        if found != expected or outcome.recorded:
            raise AuditFailed(f"expected {expected} without a trace, found {outcome}")
        return True

    def _compare_verdict(
        self, command: c.Command, outcome: Outcome, reason: R | None, failing: list[R]
    ) -> None:
        found = outcome.reason if isinstance(outcome, Rejected) else None
        if found is not reason:
            said = found.value if found else "accepted"
            due = reason.value if reason else "accepted"
            every = ", ".join(one.value for one in failing)
            raise AuditFailed(f"{type(command).__name__}: {said}, but the rules say {due} (failing: {every})")

    def _compare_events(self, command: c.Command, outcome: Accepted) -> None:
        missing = Counter(self.ledger.expected) - Counter(outcome.events)
        extra = Counter(outcome.events) - Counter(self.ledger.expected)
        if missing or extra:
            lines = [f"  expected {one}" for one in missing] + [f"  found    {one}" for one in extra]
            raise AuditFailed(f"{type(command).__name__} posted otherwise:\n" + "\n".join(lines))

    # -- every check that fails, in any order

    @singledispatchmethod
    def faults(self, command: c.Command) -> Iterator[R]:
        """List every reason to refuse a command."""
        raise AssertionError(f"no rule for {command!r}")

    @faults.register
    def _(self, command: c.OpenSubaccount) -> Iterator[R]:
        if command.subaccount in SYSTEM_ACCOUNTS:
            yield R.SYSTEM_ACCOUNT_NOT_ALLOWED
        elif self.ledger.is_open(command.subaccount):
            yield R.SUBACCOUNT_ALREADY_OPEN

    @faults.register
    def _(self, command: c.SetOnDebt) -> Iterator[R]:
        yield from self._who(command.subaccount)

    @faults.register
    def _(self, command: c.UpdatePrices) -> Iterator[R]:
        listed = {one.symbol for one in self.params.assets} - {SETTLEMENT_ASSET}
        if any(asset not in listed for asset, _ in command.index_prices):
            yield R.UNKNOWN_ASSET
        markets = {one.symbol for one in self.ledger.perpetuals()}
        if any(market not in markets for market, _ in command.mark_prices):
            yield R.UNKNOWN_MARKET
        if any(not 0 < price <= MAX_PRICE_E8 for _, price in command.index_prices + command.mark_prices):
            yield R.PRICE_OUT_OF_RANGE

    @faults.register
    def _(self, command: c.Tick) -> Iterator[R]:
        yield from ()

    @faults.register
    def _(self, command: c.UpdateQuotes) -> Iterator[R]:
        yield from self._asset(command.asset)
        if command.asset == SETTLEMENT_ASSET:
            yield R.UNKNOWN_ASSET

    @faults.register
    def _(self, command: c.PlaceOrder) -> Iterator[R]:
        yield from self._who(command.subaccount)
        yield from self.matcher.faults(command)

    @faults.register
    def _(self, command: c.CancelOrder) -> Iterator[R]:
        if not self.ledger.is_open(command.subaccount):
            yield R.UNKNOWN_SUBACCOUNT
        yield from self._market(command.market)
        if self._resting(command) is None:
            yield R.UNKNOWN_ORDER

    @faults.register
    def _(self, command: c.CancelAllOrders) -> Iterator[R]:
        if not self.ledger.is_open(command.subaccount):
            yield R.UNKNOWN_SUBACCOUNT
        if command.market:
            yield from self._market(command.market)

    @faults.register
    def _(self, command: c.SetMarketState) -> Iterator[R]:
        yield from self._market(command.market)

    def _market(self, market: str) -> Iterator[R]:
        if market not in {one.symbol for one in self.params.markets}:
            yield R.UNKNOWN_MARKET

    @faults.register
    def _(self, command: c.RegisterBackstop) -> Iterator[R]:
        yield from self._who(command.subaccount)
        if command.subaccount in self.ledger.books.backstops:
            yield R.ALREADY_BACKSTOP_PROVIDER

    @faults.register
    def _(self, command: c.SetBackstopCapacity) -> Iterator[R]:
        yield from self._who(command.subaccount)
        if command.market not in {one.symbol for one in self.ledger.perpetuals()}:
            yield R.UNKNOWN_MARKET
        if command.subaccount not in self.ledger.books.backstops:
            yield R.NOT_BACKSTOP_PROVIDER
        for usd6 in (command.per_minute_usd6, command.per_hour_usd6):
            if usd6 < 0:
                yield R.AMOUNT_NEGATIVE

    @faults.register
    def _(self, command: c.LeaveBackstop) -> Iterator[R]:
        yield from self._who(command.subaccount)
        if command.subaccount not in self.ledger.books.backstops:
            yield R.NOT_BACKSTOP_PROVIDER

    @faults.register
    def _(self, command: c.BlockTrade) -> Iterator[R]:
        yield from self._who(command.buyer)
        yield from self._who(command.seller)
        known = {one.symbol: one for one in self.ledger.perpetuals()}
        market = known.get(command.market)
        mark = self.ledger.books.mark_prices.get(command.market, 0)
        if market is None:
            yield R.UNKNOWN_MARKET
        elif mark == 0:
            yield R.PRICE_UNAVAILABLE
        elif abs(Fraction(command.price_e8, mark) - 1) > Fraction(market.block_trade_band_ppm, f.PPM):
            yield R.PRICE_OUTSIDE_BAND
        if command.buyer == command.seller:
            yield R.SAME_SUBACCOUNT
        if not {command.buyer, command.seller} <= set(command.consents):
            yield R.CONSENT_MISSING
        yield from f.amount_faults(command.base_units)
        if not 0 < command.price_e8 <= MAX_PRICE_E8:
            yield R.PRICE_OUT_OF_RANGE
        sides = [command.buyer, command.seller]
        if market is None or mark == 0 or command.base_units <= 0:
            return
        if not all(one in self.ledger.books.on_debt for one in sides):
            return
        if any(one in self.ledger.books.liquidations for one in sides):
            yield R.IN_LIQUIDATION
        if any(self.ledger.outstanding(one) or one in self.ledger.books.bankrupt for one in sides):
            yield R.OUTSTANDING_NEGATIVE_EQUITY
        if self.ledger.now_ns - self.ledger.mark_time_ns[command.market] > self.params.stale_after_ns:
            yield R.STALE_PRICE
        notional = f.value(command.base_units, command.price_e8, self.ledger.decimals(market.asset))
        changes = [(command.base_units, -ceil(notional)), (-command.base_units, floor(notional))]
        for one, (base, quote) in zip(sides, changes, strict=True):
            change = Change(trades={command.market: (base, quote)})
            if not self.matcher.may_become(one, change):
                yield R.INSUFFICIENT_INITIAL_MARGIN

    @faults.register
    def _(self, command: c.Deposit) -> Iterator[R]:
        if not self.ledger.is_open(command.subaccount):
            yield R.UNKNOWN_SUBACCOUNT
        if command.subaccount in set(SYSTEM_ACCOUNTS) - set(OPERATOR_ACCOUNTS):
            yield R.SYSTEM_ACCOUNT_NOT_ALLOWED
        yield from self._asset(command.asset)
        yield from f.amount_faults(command.units)
        least = {one.symbol: one.minimum_deposit_units for one in self.params.assets}
        if command.units < least.get(command.asset, 0):
            yield R.BELOW_MINIMUM

    @faults.register
    def _(self, command: c.AcceptHeldDeposit) -> Iterator[R]:
        if command.deposit_id not in self.ledger.books.held_deposits:
            yield R.UNKNOWN_DEPOSIT

    @faults.register
    def _(self, command: c.ReturnHeldDeposit) -> Iterator[R]:
        held = self.ledger.books.held_deposits.get(command.deposit_id)
        if held is None:
            yield R.UNKNOWN_DEPOSIT
            return
        if not held.sender:
            yield R.DESTINATION_INVALID
        charged = self._charge(held.asset, command.network_fee_units)
        if charged is None:
            yield R.PRICE_UNAVAILABLE
        elif charged >= held.units:
            yield R.AMOUNT_BELOW_NETWORK_FEE
        needed = {held.asset, NETWORK_FEE_ASSET} - {SETTLEMENT_ASSET}
        if held.asset != NETWORK_FEE_ASSET and any(self._old_index(one) for one in needed):
            yield R.STALE_PRICE

    def _charge(self, asset: str, fee_units: int) -> int | None:
        """R29: the network fee in units of the returned asset, in dollars upward, then in units upward."""
        if asset == NETWORK_FEE_ASSET:
            return fee_units
        fee_price, price = self.ledger.index(NETWORK_FEE_ASSET), self.ledger.index(asset)
        if not fee_price or not price:
            return None
        usd6 = ceil(f.value(fee_units, fee_price, self.ledger.decimals(NETWORK_FEE_ASSET)))
        return ceil(Fraction(usd6 * 10 ** (self.ledger.decimals(asset) + 2), price))

    @faults.register
    def _(self, command: c.Transfer) -> Iterator[R]:
        yield from self._who(command.source)
        yield from self._who(command.target)
        yield from self._asset(command.asset)
        if command.source == command.target:
            yield R.SAME_SUBACCOUNT
        if command.source.split("/")[0] != command.target.split("/")[0]:
            yield R.DIFFERENT_ACCOUNTS
        yield from f.amount_faults(command.units)
        yield from self._cash_out(command.source, command.asset, command.units)

    @faults.register
    def _(self, command: c.RequestWithdrawal) -> Iterator[R]:
        yield from self._who(command.subaccount)
        yield from self._asset(command.asset)
        yield from f.amount_faults(command.units)
        least = {one.symbol: one.minimum_withdrawal_units for one in self.params.assets}
        if command.units < least.get(command.asset, 0):
            yield R.BELOW_MINIMUM
        if command.destination_fault:
            yield R.DESTINATION_INVALID
        yield from self._cash_out(command.subaccount, command.asset, command.units)
        # Who is queued is asked about reserves when he leaves the queue (R33a), not when he enters it.
        if not self.gates.queue_for(command.asset, command.units)[0]:
            yield from self.gates.reserves_faults(command.asset)

    def _cash_out(self, name: str, asset: str, units: int) -> Iterator[R]:
        """R30, the part about the subaccount's own condition."""
        books = self.ledger.books
        if name not in books.on_debt or asset not in {one.symbol for one in self.params.assets} or units <= 0:
            return
        risk = self.ledger.risk(name)
        if name in self.ledger.books.liquidations or 0 < risk.maintenance >= risk.net_equity:
            yield R.IN_LIQUIDATION
        if risk.account_value < 0:
            yield R.OUTSTANDING_NEGATIVE_EQUITY
        if books.unsettled[name] < 0:
            yield R.UNCOLLECTED_LOSS
        if units > self.ledger.free(name, asset):
            yield R.INSUFFICIENT_SETTLED_CASH
        else:
            after = self.ledger.risk(name, less=(asset, units))
            if after.withdrawal_equity < after.initial:
                yield R.INSUFFICIENT_INITIAL_MARGIN
        if self._stale(name):
            yield R.STALE_PRICE

    @faults.register
    def _(self, command: c.ConfirmWithdrawal) -> Iterator[R]:
        yield from self._payout(command.withdrawal_id)

    @faults.register
    def _(self, command: c.ReturnWithdrawal) -> Iterator[R]:
        yield from self._payout(command.withdrawal_id)

    def _payout(self, withdrawal_id: str) -> Iterator[R]:
        payout = self.ledger.books.payouts.get(withdrawal_id)
        if payout is None:
            yield R.UNKNOWN_WITHDRAWAL
        elif payout.status != "reserved":
            yield {
                "queued": R.WITHDRAWAL_QUEUED,
                "paid": R.WITHDRAWAL_ALREADY_PAID,
                "returned": R.WITHDRAWAL_ALREADY_RETURNED,
            }[payout.status]

    @faults.register
    def _(self, command: c.PayNetworkFee) -> Iterator[R]:
        yield from ()

    @faults.register
    def _(self, command: c.AttestReserves) -> Iterator[R]:
        for asset, _ in command.holdings:
            yield from self._asset(asset)
        if command.slot < self.gates.attested_slot:
            yield R.ATTESTATION_OUT_OF_ORDER

    def _who(self, name: str) -> Iterator[R]:
        if not self.ledger.is_open(name):
            yield R.UNKNOWN_SUBACCOUNT
        elif name in SYSTEM_ACCOUNTS:
            yield R.SYSTEM_ACCOUNT_NOT_ALLOWED

    def _asset(self, asset: str) -> Iterator[R]:
        if asset not in {one.symbol for one in self.params.assets}:
            yield R.UNKNOWN_ASSET

    def _old_index(self, asset: str) -> bool:
        return self.ledger.is_index_stale(asset)

    def _stale(self, name: str) -> bool:
        """R13, R30: with positions, the margin rests on their marks and on the index of every asset held."""
        books = self.ledger.books
        # A position that was closed rests on its mark until what it left in quote is settled.
        markets = [
            m.symbol
            for m in self.ledger.perpetuals()
            if books.base[name, m.symbol] or books.quote[name, m.symbol]
        ]
        if not markets:
            return False
        held = [a.symbol for a in self.params.assets if books.cash[name, a.symbol]]
        if any(self._old_index(asset) for asset in held if asset != SETTLEMENT_ASSET):
            return True
        oldest = min(self.ledger.mark_time_ns[market] for market in markets)
        return self.ledger.now_ns - oldest > self.params.stale_after_ns

    # -- what an accepted command posts

    @singledispatchmethod
    def post(self, command: c.Command) -> None:
        """Expect what an accepted command posts."""
        raise AssertionError(f"no rule for {command!r}")

    @post.register
    def _(self, command: c.OpenSubaccount) -> None:
        self.ledger.emit(e.SubaccountOpened(command.subaccount, command.on_debt))

    @post.register
    def _(self, command: c.SetOnDebt) -> None:
        self.ledger.emit(e.OnDebtSet(command.subaccount, command.on_debt))

    @post.register
    def _(self, command: c.UpdatePrices) -> None:
        self.pricer.set_prices(command.index_prices, command.mark_prices)
        self._after_prices()

    def _after_prices(self) -> None:
        self.liquidator.run()
        self.liquidator.sell_inventory()
        settling.end_debts(self.ledger)
        self._release_held()

    @post.register
    def _(self, command: c.UpdateQuotes) -> None:
        self.pricer.take_quotes(command)
        self._after_prices()

    @post.register
    def _(self, command: c.PlaceOrder) -> None:
        self.matcher.post(command)

    @post.register
    def _(self, command: c.CancelOrder) -> None:
        order = self._resting(command)
        assert order is not None
        self._cancelled(order)

    @post.register
    def _(self, command: c.CancelAllOrders) -> None:
        for order in list(self.ledger.books.resting.values()):
            if order.subaccount == command.subaccount and command.market in ("", order.market):
                self._cancelled(order)

    def _cancelled(self, order: Resting) -> None:
        cancelled = e.OrderCancelled(order.market, order.order_id, order.subaccount, order.units, "requested")
        self.ledger.emit(cancelled)

    def _resting(self, command: c.CancelOrder) -> Resting | None:
        """R12: an order by its id, or by its client's id when the order id is 0."""
        for order in self.ledger.books.resting.values():
            if (order.subaccount, order.market) == (command.subaccount, command.market) and (
                order.order_id == command.order_id
                if command.order_id
                else command.client_order_id and order.client_order_id == command.client_order_id
            ):
                return order
        return None

    @post.register
    def _(self, command: c.SetMarketState) -> None:
        self.ledger.emit(e.MarketStateSet(command.market, command.market_state))

    @post.register
    def _(self, command: c.RegisterBackstop) -> None:
        self.ledger.emit(e.BackstopRegistered(command.subaccount))

    @post.register
    def _(self, command: c.SetBackstopCapacity) -> None:
        name, limits = command.subaccount, (command.per_minute_usd6, command.per_hour_usd6)
        self.ledger.emit(e.BackstopCapacitySet(name, command.market, *limits))

    @post.register
    def _(self, command: c.LeaveBackstop) -> None:
        self.ledger.emit(e.BackstopLeft(command.subaccount))

    @post.register
    def _(self, command: c.Tick) -> None:
        self._settle()
        self._release_held()
        self.gates.sample()
        self.gates.release_queued()

    def _settle(self) -> None:
        """R26, R27 in the order of a tick."""
        ledger = self.ledger
        self.pricer.fund()
        self.liquidator.run()
        self.liquidator.sell_inventory()
        for name in [FEES, *ledger.customers()]:
            settling.realize(ledger, name)
        settling.realize_rounding(ledger)
        settling.collect_dollars(ledger, INSURANCE_FUND)
        settling.collect_dollars(ledger, ROUNDING)
        for name in ledger.customers():
            settling.collect(ledger, self.matcher, name)
        for name in ledger.customers():
            settling.declare_bankrupt(ledger, name)
        settling.cover(ledger)
        settling.pay_claims(ledger)
        settling.write_off(ledger)
        settling.end_debts(ledger)

    @post.register
    def _(self, command: c.BlockTrade) -> None:
        asset = next(one.asset for one in self.params.markets if one.symbol == command.market)
        notional = f.value(command.base_units, command.price_e8, self.ledger.decimals(asset))
        paid, given = ceil(notional), floor(notional)
        self.ledger.emit(
            e.BlockTraded(
                command.market,
                command.buyer,
                command.seller,
                command.base_units,
                command.price_e8,
                -paid,
                given,
                paid - given,
            )
        )

    @post.register
    def _(self, command: c.Deposit) -> None:
        books = self.ledger.books
        owed = self._asked_of(command.subaccount, command.asset)
        if owed and books.on_debt.get(command.subaccount) == "hold":
            self.ledger.emit(
                e.DepositHeld(
                    command.id, command.subaccount, command.asset, command.units, command.sender, owed
                )
            )
            return
        self._apply_deposit(
            command.id, command.subaccount, command.asset, command.units, command.sender, was_held=False
        )
        self._release_held()

    @post.register
    def _(self, command: c.AcceptHeldDeposit) -> None:
        held = self.ledger.books.held_deposits[command.deposit_id]
        self._apply_deposit(
            command.deposit_id, held.subaccount, held.asset, held.units, held.sender, was_held=True
        )
        self._release_held()

    def _asked_of(self, name: str, asset: str) -> int:
        """R28: outstanding negative equity; of the fund, in dollars, what it owes the pool for assets."""
        if name == INSURANCE_FUND:
            return max(0, -self.ledger.books.unsettled[name]) if asset == SETTLEMENT_ASSET else 0
        return 0 if name in SYSTEM_ACCOUNTS else self.ledger.outstanding(name)

    def _apply_deposit(
        self, deposit_id: str, name: str, asset: str, units: int, sender: str, *, was_held: bool
    ) -> None:
        owed = self._asked_of(name, asset)
        params = next(one for one in self.params.assets if one.symbol == asset)
        rate = self.ledger.conversion_rate(asset)
        applied_units, applied = f.conversion(params, units, rate, owed) if rate and owed else (0, 0)
        if applied:
            settling.realize(self.ledger, name)
        paid, lacking = (0, 0) if asset == SETTLEMENT_ASSET else self.ledger.fund_pays(applied)
        credited = units - applied_units
        collected = 0
        if name == FEES and asset == NETWORK_FEE_ASSET:
            collected = min(credited, self.ledger.books.network_fees_owed_units)
        self.ledger.emit(
            e.DepositApplied(
                deposit_id,
                name,
                asset,
                sender,
                units,
                applied_units,
                applied,
                rate,
                credited,
                owed,
                self._owed_after(name, asset, owed, applied, credited),
                paid,
                lacking,
                collected,
                was_held,
            )
        )
        settling.end_debts(self.ledger)

    def _owed_after(self, name: str, asset: str, owed: int, applied: int, credited: int) -> int:
        """R28: what is outstanding afterwards; what was credited counts at its index value."""
        return max(0, owed - applied) if not credited or applied >= owed else owed - applied

    def _release_held(self) -> None:
        """R29: a held deposit is credited once the debt is gone."""
        for deposit_id, held in list(self.ledger.books.held_deposits.items()):
            if not self.ledger.outstanding(held.subaccount):
                self._apply_deposit(
                    deposit_id, held.subaccount, held.asset, held.units, held.sender, was_held=True
                )

    @post.register
    def _(self, command: c.ReturnHeldDeposit) -> None:
        held = self.ledger.books.held_deposits[command.deposit_id]
        charged = self._charge(held.asset, command.network_fee_units)
        assert charged is not None
        owed = self.ledger.books.network_fees_owed_units
        collected = min(charged, owed) if held.asset == NETWORK_FEE_ASSET else 0
        self.ledger.emit(
            e.DepositReturned(
                command.id,
                command.deposit_id,
                held.subaccount,
                held.asset,
                held.units - charged,
                charged,
                collected,
                held.sender,
            )
        )

    @post.register
    def _(self, command: c.Transfer) -> None:
        self.ledger.emit(e.TransferMade(command.source, command.target, command.asset, command.units))

    @post.register
    def _(self, command: c.RequestWithdrawal) -> None:
        name, asset, units, where = command.subaccount, command.asset, command.units, command.destination
        gate, until_ns = self.gates.queue_for(asset, units)
        if gate:
            self.ledger.emit(e.WithdrawalQueued(command.id, name, asset, units, where, gate, until_ns))
            self.gates.waiting[command.id] = until_ns
        else:
            self.ledger.emit(e.WithdrawalReserved(command.id, name, asset, units, where, False))

    @post.register
    def _(self, command: c.ConfirmWithdrawal) -> None:
        payout = self.ledger.books.payouts[command.withdrawal_id]
        owed = self._fee_owed(command.network_fee_units)
        self.ledger.emit(
            e.WithdrawalPaid(
                command.withdrawal_id,
                payout.subaccount,
                payout.asset,
                payout.units,
                payout.destination,
                command.signature,
                command.network_fee_units,
                owed,
            )
        )

    @post.register
    def _(self, command: c.ReturnWithdrawal) -> None:
        payout = self.ledger.books.payouts[command.withdrawal_id]
        self.ledger.emit(
            e.WithdrawalReturned(
                command.withdrawal_id,
                payout.subaccount,
                payout.asset,
                payout.units,
                command.reason,
                payout.held_deposit_id,
                command.network_fee_units,
                self._fee_owed(command.network_fee_units),
            )
        )

    def _fee_owed(self, fee_units: int) -> int:
        return max(0, fee_units - self.ledger.books.cash[FEES, NETWORK_FEE_ASSET])

    @post.register
    def _(self, command: c.PayNetworkFee) -> None:
        owed = self._fee_owed(command.network_fee_units)
        self.ledger.emit(
            e.NetworkFeePaid(command.purpose, command.signature, command.network_fee_units, owed)
        )

    @post.register
    def _(self, command: c.AttestReserves) -> None:
        self.gates.attest(command)
        self.gates.release_queued()

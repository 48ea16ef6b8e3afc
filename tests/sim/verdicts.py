"""The auditor's verdicts: every reason to refuse a command; the published precedence picks one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatchmethod
from math import ceil, floor

from engine import commands as c
from engine.params import MarketParams
from engine.rejects import RejectReason as R
from engine.units import (
    MAX_PRICE_E8,
    NETWORK_FEE_ASSET,
    OPERATOR_ACCOUNTS,
    SETTLEMENT_ASSET,
    SYSTEM_ACCOUNTS,
)

from . import formulas as f
from .books import Resting
from .conditions import Conditions, Loan
from .gates import Gates
from .ledger import Change, Ledger
from .matching import Matcher


@dataclass(slots=True)
class Verdicts:
    """Says what is wrong with a command."""

    ledger: Ledger
    gates: Gates
    matcher: Matcher
    conditions: Conditions

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
        listed = {one.symbol for one in self.ledger.params.assets} - {SETTLEMENT_ASSET}
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
        if resting_order(self.ledger, command) is None:
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
        if market not in {one.symbol for one in self.ledger.params.markets}:
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
        if market is not None:
            yield from self._block_state(command, market)
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
        if self.ledger.now_ns - self.ledger.mark_time_ns[command.market] > self.ledger.params.stale_after_ns:
            yield R.STALE_PRICE
        notional = f.value(command.base_units, command.price_e8, self.ledger.decimals(market.asset))
        changes = [(command.base_units, -ceil(notional)), (-command.base_units, floor(notional))]
        for one, (base, quote) in zip(sides, changes, strict=True):
            change = Change(trades={command.market: (base, quote)})
            fault = self.matcher.margin_fault(one, change)
            if fault is not None:
                yield fault

    def _block_state(self, command: c.BlockTrade, market: MarketParams) -> Iterator[R]:
        """R19: an open market, or a reduce-only one when neither side trades more than it has to reduce."""
        state, base = self.matcher.state_of(market), self.ledger.books.base
        if state == "closed":
            yield R.MARKET_CLOSED
        if state == "post_only":
            yield R.MARKET_POST_ONLY
        most = min(-base[command.buyer, market.symbol], base[command.seller, market.symbol])
        if state == "reduce_only" and command.base_units > max(0, most):
            yield R.MARKET_REDUCE_ONLY

    @faults.register
    def _(self, command: c.Deposit) -> Iterator[R]:
        if not self.ledger.is_open(command.subaccount):
            yield R.UNKNOWN_SUBACCOUNT
        if command.subaccount in set(SYSTEM_ACCOUNTS) - set(OPERATOR_ACCOUNTS):
            yield R.SYSTEM_ACCOUNT_NOT_ALLOWED
        yield from self._asset(command.asset)
        yield from f.amount_faults(command.units)
        least = {one.symbol: one.minimum_deposit_units for one in self.ledger.params.assets}
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
        charged = return_charge(self.ledger, held.asset, command.network_fee_units)
        if charged is None:
            yield R.PRICE_UNAVAILABLE
        elif charged >= held.units:
            yield R.AMOUNT_BELOW_NETWORK_FEE
        needed = {held.asset, NETWORK_FEE_ASSET} - {SETTLEMENT_ASSET}
        if held.asset != NETWORK_FEE_ASSET and any(self.ledger.is_index_stale(one) for one in needed):
            yield R.STALE_PRICE

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
        yield from self._leaving(command, command.source)

    @faults.register
    def _(self, command: c.RequestWithdrawal) -> Iterator[R]:
        yield from self._who(command.subaccount)
        yield from self._asset(command.asset)
        yield from f.amount_faults(command.units)
        least = {one.symbol: one.minimum_withdrawal_units for one in self.ledger.params.assets}
        if command.units < least.get(command.asset, 0):
            yield R.BELOW_MINIMUM
        if command.destination_fault:
            yield R.DESTINATION_INVALID
        yield from self._leaving(command, command.subaccount)
        # Who is queued is asked about reserves when he leaves the queue (R33a), not when he enters it.
        if not self.gates.queue_for(command.asset, command.units)[0]:
            yield from self.gates.reserves_faults(command.asset)

    def _leaving(self, command: c.Transfer | c.RequestWithdrawal, name: str) -> Iterator[R]:
        if name in self.ledger.books.on_debt and not list(self._asset(command.asset)) and command.units > 0:
            yield from self.conditions.faults(command)

    # -- lending (R10, R11)

    @faults.register
    def _(self, command: c.SetLending) -> Iterator[R]:
        yield from self._who(command.subaccount)

    @faults.register
    def _(self, command: c.Lend) -> Iterator[R]:
        yield from self._loan(command)

    @faults.register
    def _(self, command: c.Redeem) -> Iterator[R]:
        yield from self._loan(command)

    @faults.register
    def _(self, command: c.Borrow) -> Iterator[R]:
        yield from self._loan(command)

    @faults.register
    def _(self, command: c.Repay) -> Iterator[R]:
        yield from self._loan(command)

    def _loan(self, command: Loan) -> Iterator[R]:
        found = [*self._who(command.subaccount), *self._asset(command.asset)]
        found += f.amount_faults(command.units)
        least = {one.symbol: one.minimum_deposit_units for one in self.ledger.params.assets}
        if isinstance(command, c.Lend | c.Borrow) and command.units < least.get(command.asset, 0):
            found.append(R.BELOW_MINIMUM)
        # What follows is asked about a command whose terms are good.
        yield from found or self.conditions.faults(command)

    # -- payouts

    @faults.register
    def _(self, command: c.ConfirmWithdrawal) -> Iterator[R]:
        yield from self._payout(command.withdrawal_id)

    @faults.register
    def _(self, command: c.ReturnWithdrawal) -> Iterator[R]:
        yield from self._payout(command.withdrawal_id)

    @faults.register
    def _(self, command: c.CancelWithdrawal) -> Iterator[R]:
        payout = self.ledger.books.payouts.get(command.withdrawal_id)
        if payout is None or payout.subaccount != command.subaccount:
            yield R.UNKNOWN_WITHDRAWAL
        elif payout.status == "reserved":
            yield R.WITHDRAWAL_ALREADY_ORDERED
        elif payout.status != "queued":
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
        if asset not in {one.symbol for one in self.ledger.params.assets}:
            yield R.UNKNOWN_ASSET


def resting_order(ledger: Ledger, command: c.CancelOrder) -> Resting | None:
    """R12: an order by its id, or by its client's id when the order id is 0."""
    for order in ledger.books.resting.values():
        if (order.subaccount, order.market) == (command.subaccount, command.market) and (
            order.order_id == command.order_id
            if command.order_id
            else command.client_order_id and order.client_order_id == command.client_order_id
        ):
            return order
    return None


def return_charge(ledger: Ledger, asset: str, fee_units: int) -> int | None:
    """R29: the network fee in units of the returned asset, in dollars upward, then in units upward."""
    if asset == NETWORK_FEE_ASSET:
        return fee_units
    fee_price, price = ledger.index(NETWORK_FEE_ASSET), ledger.index(asset)
    if not fee_price or not price:
        return None
    usd6 = ceil(f.value(fee_units, fee_price, ledger.decimals(NETWORK_FEE_ASSET)))
    return ceil(Fraction(usd6 * 10 ** (ledger.decimals(asset) + 2), price))

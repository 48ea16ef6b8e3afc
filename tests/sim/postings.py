"""What an accepted command posts, by the rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatchmethod
from math import ceil, floor

from engine import commands as c
from engine import events as e
from engine.units import FEES, NETWORK_FEE_ASSET

from . import formulas as f
from . import settling
from .books import Resting
from .deposits import Depositor
from .gates import Gates
from .ledger import Ledger
from .lending import Lending
from .liquidating import Liquidator
from .matching import Matcher
from .pricing import Pricer
from .settling import Settler
from .verdicts import resting_order, return_charge


@dataclass(slots=True)
class Postings:
    """Expects what an accepted command posts."""

    ledger: Ledger
    lending: Lending
    gates: Gates
    matcher: Matcher
    settler: Settler
    depositor: Depositor
    liquidator: Liquidator
    pricer: Pricer
    last_tick_ns: int | None = None

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
        self.depositor.release_held()

    @post.register
    def _(self, command: c.UpdateQuotes) -> None:
        self.pricer.take_quotes(command)
        self._after_prices()

    @post.register
    def _(self, command: c.PlaceOrder) -> None:
        self.matcher.post(command)

    @post.register
    def _(self, command: c.CancelOrder) -> None:
        order = resting_order(self.ledger, command)
        assert order is not None
        self._cancelled(order)

    @post.register
    def _(self, command: c.CancelAllOrders) -> None:
        self.ledger.cancel_orders(command.subaccount, "requested", command.market)

    def _cancelled(self, order: Resting) -> None:
        cancelled = e.OrderCancelled(order.market, order.order_id, order.subaccount, order.units, "requested")
        self.ledger.emit(cancelled)

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
        self.last_tick_ns = command.time_ns
        self._settle()
        self.depositor.release_held()
        self.gates.release_queued()
        self.lending.auto_lend()
        self.gates.sample()

    def _settle(self) -> None:
        """R26, R27 in the order of a tick."""
        ledger, settler = self.ledger, self.settler
        for asset in ledger.params.assets:
            self.lending.accrue(asset.symbol)
        settler.fund_repays()
        self.pricer.fund()
        self.liquidator.run()
        self.liquidator.sell_inventory()
        settler.settle()
        if self.liquidator.run():
            settler.settle()
        for name in ledger.customers():
            settler.declare_bankrupt(name)
        settling.cover(ledger)
        settler.pay_claims()
        settling.write_off(ledger)
        settler.write_off_shortfall()
        settling.end_debts(ledger)

    @post.register
    def _(self, command: c.BlockTrade) -> None:
        asset = next(one.asset for one in self.ledger.params.markets if one.symbol == command.market)
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
        self.depositor.take(command)

    @post.register
    def _(self, command: c.AcceptHeldDeposit) -> None:
        self.depositor.accept(command.deposit_id)

    @post.register
    def _(self, command: c.ReturnHeldDeposit) -> None:
        held = self.ledger.books.held_deposits[command.deposit_id]
        charged = return_charge(self.ledger, held.asset, command.network_fee_units)
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
        source, target, asset, units = command.source, command.target, command.asset, command.units
        self._redeem_lacking(source, asset, units)
        self.ledger.emit(e.TransferMade(source, target, asset, units))
        self.lending.auto_repay(target, asset, units)

    def _redeem_lacking(self, name: str, asset: str, units: int) -> None:
        """R30: what free cash lacks is redeemed."""
        self.lending.redeem(name, asset, units - self.ledger.free(name, asset))

    @post.register
    def _(self, command: c.RequestWithdrawal) -> None:
        name, asset, units, where = command.subaccount, command.asset, command.units, command.destination
        gate, until_ns = self.gates.queue_for(asset, units)
        self._redeem_lacking(name, asset, units)
        if gate:
            self.ledger.emit(e.WithdrawalQueued(command.id, name, asset, units, where, gate, until_ns))
            self.gates.waiting[command.id] = until_ns
        else:
            self.ledger.emit(e.WithdrawalReserved(command.id, name, asset, units, where, False))

    # -- lending (R10, R11)

    @post.register
    def _(self, command: c.SetLending) -> None:
        choices = (command.auto_lend, command.auto_borrow, command.auto_repay)
        self.ledger.emit(e.LendingSet(command.subaccount, *(bool(one) for one in choices)))

    @post.register
    def _(self, command: c.Lend) -> None:
        self.lending.lend(command.subaccount, command.asset, command.units)

    @post.register
    def _(self, command: c.Redeem) -> None:
        self.lending.redeem(command.subaccount, command.asset, command.units)

    @post.register
    def _(self, command: c.Borrow) -> None:
        name, asset = command.subaccount, command.asset
        if self.lending.now(asset).borrowable() < command.units:
            for one, units in self.lending.drawn(name, asset)[1]:
                self.lending.lend(one, asset, units)
        self.lending.borrow(name, asset, command.units)

    @post.register
    def _(self, command: c.Repay) -> None:
        self.lending.repay(command.subaccount, command.asset, command.units)

    # -- payouts

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
        if not payout.held_deposit_id:
            self.lending.auto_repay(payout.subaccount, payout.asset, payout.units)

    @post.register
    def _(self, command: c.CancelWithdrawal) -> None:
        payout = self.ledger.books.payouts[command.withdrawal_id]
        self.ledger.turn_back(command.withdrawal_id, "requested")
        self.lending.auto_repay(payout.subaccount, payout.asset, payout.units)

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

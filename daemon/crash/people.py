"""What customers and the payer do while it happens: money sent in, money asked for, payouts made.

Rules: people react to events, seconds later, by commands. A deposit is previewed right before it is sent, and
the preview has to be what happens, to the unit (R29).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any

from daemon.crash.curve import happens, pick, spread
from daemon.crash.exchange import Exchange
from daemon.crash.population import Cast, Customer, units_of
from daemon.crash.scenario import PPM, Scenario
from engine import commands as cm
from engine import events as ev
from engine.deposits import preview_deposit
from engine.outcome import Accepted

# 5,000 lamports a signature, and a little priority fee.
PAYOUT_FEE_LAMPORTS = 6_000
# A customer who chose to look first takes this long to decide; one in five has it sent back.
DECISION_S = 45
SENT_BACK_PPM = 200_000
# Network fee of a returned deposit, in lamports.
RETURN_FEE_LAMPORTS = 6_000


@dataclass(slots=True)
class SentDeposit:
    """A deposit during the crash and what became of it, as its receipt says."""

    second: int
    subaccount: str
    asset: str
    units: int
    outcome: str = ""
    applied_units: int = 0
    applied_usd6: int = 0
    credited_units: int = 0
    outstanding_before_usd6: int = 0
    outstanding_after_usd6: int = 0
    held_s: int = 0


class People:
    """Schedules and does what people do."""

    def __init__(self, exchange: Exchange, scenario: Scenario, cast: Cast, rng: Random) -> None:
        self.exchange, self.scenario, self.cast, self.rng = exchange, scenario, cast, rng
        self.customers = {one.subaccount: one for one in cast.customers}
        self.deposits: dict[str, SentDeposit] = {}
        self.previews_exact = self.previews_wrong = 0
        self._due: list[tuple[int, int, str, Any]] = []
        self._number = 0
        self._asked = 0
        self._reacted: set[tuple[str, str]] = set()
        self._sending = SentDeposit(0, "", "", 0)
        self.refused: list[SentDeposit] = []
        exchange.listen(ev.SubaccountBankrupt, self._on_bankrupt)
        exchange.listen(ev.DepositApplied, self._on_applied)
        exchange.listen(ev.DepositHeld, self._on_held)
        exchange.listen(ev.DepositReturned, self._on_returned)
        exchange.listen(ev.WithdrawalReserved, self._on_payout)
        exchange.listen(ev.LiquidationStarted, self._on_liquidation)

    def act(self, second: int) -> None:
        """Do everything that is due."""
        self._ask_for_money(second)
        while self._due and self._due[0][0] <= second:
            _, _, what, subject = heappop(self._due)
            getattr(self, f"_do_{what}")(subject)

    def _later(self, seconds: int, what: str, subject: Any) -> None:
        self._number += 1
        heappush(self._due, (self.exchange.second + max(1, seconds), self._number, what, subject))

    # -- money in --

    def _on_liquidation(self, event: ev.LiquidationStarted) -> None:
        self._maybe_send(event.subaccount, "liquidated")

    def _on_bankrupt(self, event: ev.SubaccountBankrupt) -> None:
        self._maybe_send(event.subaccount, "bankrupt")

    def _maybe_send(self, subaccount: str, why: str) -> None:
        one = self.customers.get(subaccount)
        if one is None or (subaccount, why) in self._reacted:
            return
        self._reacted.add((subaccount, why))
        if happens(self.rng, self.scenario.deposits.come_ppm):
            self._later(spread(self.rng, pick(self.rng, self.scenario.deposits.delay_s)), "send", one)

    def _do_send(self, one: Customer) -> None:
        exchange, shape = self.exchange, self.scenario.deposits
        state = exchange.state
        asset = pick(self.rng, shape.assets)
        usd6 = one.equity_usd6 * pick(self.rng, shape.amount_ppm) // PPM
        price_e8 = 10**8 if asset == "USDC" else state.index_prices[asset].price_e8
        units = max(units_of(state.assets[asset], usd6, price_e8), state.assets[asset].minimum_deposit_units)
        preview = preview_deposit(state, one.subaccount, asset, units)
        sent = SentDeposit(exchange.second, one.subaccount, asset, units)
        # The engine names the deposit in its receipt; until then it is the last one.
        self._sending = sent
        outcome = exchange.deposit(one.subaccount, asset, units, "customer")
        if type(outcome) is not Accepted:
            sent.outcome = "refused"
            self.refused.append(sent)
            return
        seen = (sent.outcome == "held", sent.applied_units, sent.applied_usd6, sent.credited_units)
        said = (preview.held, preview.applied_units, preview.applied_usd6, preview.credited_units)
        self.previews_exact += seen == said
        self.previews_wrong += seen != said

    def _on_held(self, event: ev.DepositHeld) -> None:
        sent = self.deposits[event.deposit_id] = self._sending
        sent.outcome = "held"
        sent.outstanding_before_usd6 = sent.outstanding_after_usd6 = event.outstanding_usd6
        self._later(spread(self.rng, DECISION_S), "decide", event.deposit_id)

    def _on_applied(self, event: ev.DepositApplied) -> None:
        if event.sender != "customer":
            return
        sent = self.deposits.get(event.deposit_id)
        if sent is None:
            sent = self.deposits[event.deposit_id] = self._sending
        sent.outcome = "held, then taken" if event.was_held else "taken"
        sent.held_s = self.exchange.second - sent.second
        sent.applied_units, sent.applied_usd6 = event.applied_units, event.applied_usd6
        sent.credited_units = event.credited_units
        sent.outstanding_before_usd6 = event.outstanding_before_usd6
        sent.outstanding_after_usd6 = event.outstanding_after_usd6

    def _on_returned(self, event: ev.DepositReturned) -> None:
        sent = self.deposits[event.deposit_id]
        sent.outcome, sent.held_s = "held, then sent back", self.exchange.second - sent.second
        self._later(self.scenario.withdrawals.payout_s, "pay", event.withdrawal_id)

    def _do_decide(self, deposit_id: str) -> None:
        exchange = self.exchange
        if deposit_id not in exchange.state.held:
            return
        if happens(self.rng, SENT_BACK_PPM):
            name = exchange.new_id("return")
            exchange.do(cm.ReturnHeldDeposit(name, exchange.now_ns, deposit_id, RETURN_FEE_LAMPORTS))
        else:
            exchange.do(cm.AcceptHeldDeposit(exchange.new_id("accept"), exchange.now_ns, deposit_id))

    # -- money out --

    def _ask_for_money(self, second: int) -> None:
        shape, customers = self.scenario.withdrawals, self.cast.customers
        # Requests so far are kept in parts of a million minutes, so that no fraction of one is lost.
        self._asked += shape.rate.at(second) * len(customers)
        while self._asked >= 60 * PPM:
            self._asked -= 60 * PPM
            one = customers[self.rng.randrange(len(customers))]
            share_ppm = pick(self.rng, shape.amount_ppm)
            self._request(one, one.units * share_ppm // PPM)

    def _request(self, one: Customer, units: int) -> None:
        exchange = self.exchange
        exchange.do(
            cm.RequestWithdrawal(
                exchange.new_id("withdraw"), exchange.now_ns, one.subaccount, one.asset, units, "outside"
            )
        )

    def _on_payout(self, event: ev.WithdrawalReserved) -> None:
        self._later(self.scenario.withdrawals.payout_s, "pay", event.withdrawal_id)

    def _do_pay(self, withdrawal_id: str) -> None:
        withdrawal = self.exchange.state.withdrawals[withdrawal_id]
        self.exchange.confirm(withdrawal_id, withdrawal.asset, withdrawal.units, PAYOUT_FEE_LAMPORTS)


__all__ = ["People", "SentDeposit"]

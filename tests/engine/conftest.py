"""An exchange to play with: every command is checked against all invariants and journaled."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, Rejected, apply
from engine.events import DepositApplied
from engine.invariants import check, check_after_tick
from engine.journal import GENESIS_HASH, Entry, chain_hash, encode_command, encode_outcome
from engine.params import Params, default_params
from engine.pool import lent_units, owed_units
from engine.state import State, new_state

SECOND = 10**9
START_NS = 1_800_000_000 * SECOND
USDC = 10**6
SOL = 10**9
DOLLAR_E8 = 10**8


class Exchange:
    """A state, a clock that only the test moves, ids that count up, and the journal."""

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or default_params()
        self.state: State = new_state(self.params)
        self.now_ns = START_NS
        self.counter = 0
        self.last_hash = GENESIS_HASH(self.params)
        self.entries: list[Entry] = []

    def apply(self, command: Any) -> Accepted | Rejected:
        outcome = apply(self.state, command)
        assert check(self.state) == [], command
        if isinstance(outcome, Accepted) and outcome.recorded:
            if isinstance(command, cm.Tick):
                assert check_after_tick(self.state) == []
            for event in outcome.events:
                if isinstance(event, DepositApplied):
                    # I7: never applied beyond the debt, never more than was deposited.
                    assert 0 <= event.applied_usd6 <= event.outstanding_before_usd6
                    assert event.applied_units + event.credited_units == event.deposited_units
        if outcome.recorded:
            command_bytes, outcome_bytes = encode_command(command), encode_outcome(outcome)
            sequence = self.state.sequence
            self.last_hash = chain_hash(self.last_hash, sequence, command_bytes, outcome_bytes)
            self.entries.append(Entry(sequence, command_bytes, outcome_bytes, self.last_hash))
        return outcome

    def send(self, kind: type, *values: Any, id: str = "", **named: Any) -> Accepted | Rejected:  # noqa: A002
        """Build a command with the next id at the present time, apply it."""
        self.counter += 1
        names = [one.name for one in fields(kind)][2:]
        body = dict(zip(names, values, strict=False)) | named
        return self.apply(kind(id=id or f"c{self.counter}", time_ns=self.now_ns, **body))

    def must(self, kind: type, *values: Any, **named: Any) -> tuple[Any, ...]:
        """Send a command that has to be accepted; give its events."""
        outcome = self.send(kind, *values, **named)
        assert isinstance(outcome, Accepted), outcome
        return outcome.events

    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND

    def open(self, *names: str, on_debt: str = "apply") -> None:
        for name in names:
            self.must(cm.OpenSubaccount, name, on_debt)

    def backstop(self, name: str = "90/0", per_minute_usd: int = 1_000_000) -> None:
        """Open a backstop provider for all perpetual markets, with 0.01 BTC ($600) behind it."""
        self.open(name)
        self.deposit(name, 10**6, "BTC")
        self.must(cm.RegisterBackstop, name)
        for market in ("SOL-PERP", "BTC-PERP"):
            capacity_usd6 = per_minute_usd * USDC
            self.must(cm.SetBackstopCapacity, name, market, capacity_usd6, 60 * capacity_usd6)

    def prices(self, sol_usd: int, btc_usd: int = 60_000, mark_usd: int | None = None) -> tuple[Any, ...]:
        """Set index prices in whole dollars; marks equal the index unless SOL's is given."""
        sol, btc = sol_usd * DOLLAR_E8, btc_usd * DOLLAR_E8
        mark = sol if mark_usd is None else mark_usd * DOLLAR_E8
        return self.must(
            cm.UpdatePrices, (("SOL", sol), ("BTC", btc)), (("SOL-PERP", mark), ("BTC-PERP", btc))
        )

    def deposit(self, name: str, units: int, asset: str = "USDC", sender: str = "wallet") -> Any:
        """Deposit and give the last event."""
        return self.must(cm.Deposit, name, asset, units, sender)[-1]

    def trade(
        self, buyer: str, seller: str, base_units: int, price_usd: int, market: str = "SOL-PERP"
    ) -> Any:
        consents = (buyer, seller)
        return self.send(cm.BlockTrade, market, buyer, seller, base_units, price_usd * DOLLAR_E8, consents)

    def order(
        self, name: str, side: str, base_units: int, price_usd: float, kind: str = "limit", **named: Any
    ) -> Accepted | Rejected:
        """Place an order in SOL-PERP, or in market=; the price is exact to the cent."""
        price_e8 = round(price_usd * 100) * (DOLLAR_E8 // 100)
        return self.send(
            cm.PlaceOrder, name, named.pop("market", "SOL-PERP"), side, kind, base_units, price_e8, **named
        )

    def tick(self) -> tuple[Any, ...]:
        return self.must(cm.Tick)

    def attest(self, **surplus: int) -> tuple[Any, ...]:
        """Attest exactly what is recorded as owed, plus a surplus per asset."""
        totals = self.state.totals
        holdings = []
        for asset in self.state.assets:
            owed = totals.cash_units[asset] + totals.pending_units[asset] + totals.held_units[asset]
            holdings.append((asset, owed + surplus.get(asset, 0)))
        return self.must(cm.AttestReserves, tuple(holdings), 1)

    def withdraw(self, name: str, units: int, asset: str = "USDC", **named: Any) -> Accepted | Rejected:
        return self.send(cm.RequestWithdrawal, name, asset, units, "destination", **named)

    def cash(self, name: str, asset: str = "USDC") -> int:
        return self.state.subaccounts[name].cash.get(asset, 0)

    def lent(self, name: str, asset: str = "USDC") -> int:
        return lent_units(self.state, self.state.subaccounts[name], asset)

    def owed(self, name: str, asset: str = "USDC") -> int:
        return owed_units(self.state, self.state.subaccounts[name], asset)

    def unsettled(self, name: str) -> int:
        return self.state.subaccounts[name].unsettled_usd6

    def base(self, name: str, market: str = "SOL-PERP") -> int:
        position = self.state.subaccounts[name].positions.get(market)
        return 0 if position is None else position.base_units

    def snapshot(self) -> dict[str, Any]:
        """Give what a refused command may not change: every balance."""
        return {
            name: (
                dict(one.cash),
                dict(one.lent),
                dict(one.borrowed),
                one.unsettled_usd6,
                {k: (p.base_units, p.quote_usd6) for k, p in one.positions.items()},
            )
            for name, one in self.state.subaccounts.items()
        } | {
            "books": {
                market: (book.last_order_id, [replace(order) for order in book.in_priority()])
                for market, book in self.state.books.items()
            },
            "held": dict(self.state.held),
            "withdrawals": {k: v.status for k, v in self.state.withdrawals.items()},
        }


@pytest.fixture
def exchange() -> Exchange:
    """Give an exchange with prices (SOL $150, BTC $60,000) and two open, empty subaccounts: 1/0 and 2/0."""
    made = Exchange()
    made.open("1/0", "2/0")
    made.prices(150)
    return made


@pytest.fixture
def make_exchange() -> type[Exchange]:
    """Give the class, for tests with other parameters or an empty exchange."""
    return Exchange


@pytest.fixture
def indebted(exchange: Exchange) -> Exchange:
    """Give an exchange where 1/0 owes $1,000 that nobody covers, and 2/0 holds a claim of $1,000.

    Both deposit $1,000; 1/0 buys 100 SOL at 150 from 2/0; the mark falls to 130: a loss of $2,000. A backstop
    provider takes 1/0's position at mark and closes it against 2/0, who takes his profit. $1,000 of the loss
    is collected and paid to 2/0 at the tick.
    """
    exchange.backstop()
    exchange.deposit("1/0", 1_000 * USDC)
    exchange.deposit("2/0", 1_000 * USDC)
    assert isinstance(exchange.trade("1/0", "2/0", 100 * SOL, 150), Accepted)
    exchange.wait(10)
    exchange.prices(130)
    assert isinstance(exchange.trade("2/0", "90/0", 100 * SOL, 130), Accepted)
    exchange.tick()
    assert (exchange.unsettled("1/0"), exchange.unsettled("2/0")) == (-1_000 * USDC, 1_000 * USDC)
    return exchange

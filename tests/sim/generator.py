"""Random commands: mostly plausible ones that drive accounts into debt and back, some nonsense.

Owns: what is likely. Knows the vocabulary and the books kept from events, nothing of the rules. Choices
come from a `Chooser`, so a seeded run (tests/sim) and hypothesis (tests/property) share one generator.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from engine import commands as c
from engine.params import MarketParams, Params
from engine.units import MAX_PRICE_E8, MAX_TIME_NS, MAX_UNITS, NS_PER_SECOND

from .books import Books

T = TypeVar("T")

START_NS = 1_767_225_600 * NS_PER_SECOND  # 2026-01-01
CUSTOMERS = ("1/0", "1/1", "2/0", "3/0", "9/0", "10/0", "10/2", "11/0", "4/0", "5/0")
START_PRICES_E8 = {"USDC": 10**8, "SOL": 150 * 10**8, "BTC": 100_000 * 10**8}
STRANGE_SUBACCOUNTS = (
    "fees",
    "insurance_fund",
    "rounding",
    "settlement_pool",
    "",
    "7",
    "07/0",
    "7/-1",
    "77/0",
    "2147483648/0",
    "٣/0",
    "\ud800",
    "x" * 300,
)
STRANGE_TEXTS = ("", "two  words", "\n", "\x00", "é", "\ud800", "y" * 257)
STRANGE_SYMBOLS = ("", "usdc", "DOGE", "SOL-PERP", "SOL ", "\udfff")
STRANGE_INTEGERS = (0, 1, -1, 2**63 - 1, 2**63, MAX_UNITS, MAX_UNITS + 1, -(2**64), 10**40, -(10**40))
WALLETS = ("wallet-a", "wallet-b", "wallet-c")


class Chooser(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """Choose low <= n <= high."""

    def pick(self, options: Sequence[T]) -> T:
        """Choose one."""


class RandomChooser:
    """Choices of a `random.Random`: a seeded one, or one that hypothesis answers for."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def integer(self, low: int, high: int) -> int:
        """Choose low <= n <= high."""
        return self._random.randint(low, high)

    def pick(self, options: Sequence[T]) -> T:
        """Choose one."""
        return options[self._random.randint(0, len(options) - 1)]


@dataclass(slots=True)
class Generator:
    """Makes the next command. Feed it the books if amounts shall be near what accounts really hold."""

    chooser: Chooser
    params: Params
    books: Books = field(default_factory=Books)
    strange_percent: int = 3
    crash_percent: int = 12
    big_trade_percent: int = 25
    order_weight: int = 40
    lending_weight: int = 0
    # How often the feed of an asset falls silent, so that its index, or its mark too, grows stale.
    silence_percent: int = 0
    silent: dict[str, bool] = field(default_factory=dict)  # asset: are its marks silent as well
    now_ns: int = START_NS
    sequence: int = 0
    index_prices: dict[str, int] = field(default_factory=lambda: dict(START_PRICES_E8))
    deposit_ids: list[str] = field(default_factory=list)
    withdrawal_ids: list[str] = field(default_factory=list)
    past: list[c.Command] = field(default_factory=list)
    due: list[Callable[[], c.Command]] = field(default_factory=list)

    def opening(self) -> list[c.Command]:
        """Give the commands that open a small exchange: prices, customers, money, an insurance fund."""
        made: list[c.Command] = [self._prices(dict(self.index_prices))]
        made += [c.OpenSubaccount(self._id(), self.now_ns, name) for name in CUSTOMERS[:6]]
        for name in CUSTOMERS[:6]:
            made.append(self._deposit(name, "USDC", 10**6 * self.chooser.integer(1, 20_000)))
            if self._chance(40):
                made.append(self._deposit(name, "SOL", 10**7 * self.chooser.integer(1, 10_000)))
        made.append(self._deposit("insurance_fund", "USDC", 10**6 * self.chooser.integer(1, 3_000)))
        made.append(self._deposit("fees", "SOL", 10**5 * self.chooser.integer(1, 100)))
        self.past += made
        return made

    def next(self) -> c.Command:
        """Make one command, later than the last one (or not, when it is a strange one)."""
        if self.due:
            command = self.due.pop(0)()
            self.past.append(command)
            return command
        self._let_time_pass()
        if self.past and self._chance(2):
            return self._again()
        kinds: list[tuple[int, Callable[[], c.Command]]] = [
            (18, self._move_prices),
            (16, lambda: c.Tick(self._id(), self.now_ns)),
            (14, self._any_deposit),
            (18, self._trade),
            (9, self._request),
            (6, self._confirm),
            (3, self._return_withdrawal),
            (6 if self._queued() else 1, self._cancel_withdrawal),
            (8, self._attest),
            (1, self._pay_network_fee),
            (3, self._transfer),
            (2, self._open),
            (2, self._set_on_debt),
            (6 if self.books.held_deposits else 1, self._accept_held),
            (5 if self.books.held_deposits else 1, self._return_held),
            (self.order_weight, self._order),
            (self.order_weight // 6, self._cancel),
            (self.order_weight // 12, self._quotes),
            (1, self._market_state),
            (1, self._backstop),
            (3, self._backstop_capacity),
            *self._lending_kinds(),
        ]
        ticket = self.chooser.integer(0, sum(weight for weight, _ in kinds) - 1)
        for weight, make in kinds:
            ticket -= weight
            if ticket < 0:
                command = make()
                break
        if self._chance(self.strange_percent):
            command = self._make_strange(command)
        self.past.append(command)
        return command

    # -- pieces --

    def _chance(self, percent: int) -> bool:
        return self.chooser.integer(0, 99) >= 100 - percent

    def _id(self) -> str:
        self.sequence += 1
        return f"c{self.sequence}"

    def _let_time_pass(self) -> None:
        kind = self.chooser.integer(0, 99)
        if kind < 70:
            self.now_ns += self.chooser.integer(0, 3 * NS_PER_SECOND)
        elif kind < 95:
            self.now_ns += self.chooser.integer(1, 40) * NS_PER_SECOND
        elif kind < 99:
            self.now_ns += self.chooser.integer(1, 120) * 60 * NS_PER_SECOND
        else:
            self.now_ns += self.chooser.integer(1, 8) * 86_400 * NS_PER_SECOND
        # After a silence the keepers speak first, or most of what follows would only meet stale prices.
        if kind >= 90 and self._chance(75):
            self.due = [self._move_prices, self._attest]

    def _asset(self) -> str:
        return self.chooser.pick(("USDC", "USDC", "USDC", "SOL", "SOL", "BTC"))

    def _customer(self) -> str:
        known = [name for name in self.books.on_debt if name in CUSTOMERS]
        return self.chooser.pick(known or CUSTOMERS[:6])

    def _market(self, symbol: str) -> MarketParams:
        return next(one for one in self.params.markets if one.symbol == symbol)

    def _perpetuals(self) -> list[MarketParams]:
        return [one for one in self.params.markets if not one.is_spot]

    def _decimals(self, asset: str) -> int:
        return {one.symbol: one.decimals for one in self.params.assets}[asset]

    def _amount(self, asset: str, has: int = 0) -> int:
        """Choose an amount in units: a few cents to some ten thousand dollars, or close to what is there."""
        near = self.chooser.integer(0, 9)
        if has > 0 and near < 6:
            return (has, has + 1, max(1, has - 1), max(1, has // 2), max(1, has // 3), max(1, has // 10))[
                near
            ]
        usd = 10 ** self.chooser.integer(0, 4) * self.chooser.integer(1, 9)
        whole: int = 10 ** self._decimals(asset) * 10**8 * usd // self.index_prices[asset]
        return max(1, whole + self.chooser.integer(-999, 999))

    def _deposit(self, subaccount: str, asset: str, units: int) -> c.Deposit:
        deposit_id = f"sig{self.sequence}:{subaccount}:{asset}"
        self.sequence += 1
        self.deposit_ids.append(deposit_id)
        return c.Deposit(deposit_id, self.now_ns, subaccount, asset, units, self.chooser.pick(WALLETS))

    def _prices(self, index_prices: dict[str, int]) -> c.UpdatePrices:
        marks = []
        for market in self._perpetuals():
            drift_ppm = self.chooser.integer(-3_000, 3_000)
            marks.append((market.symbol, max(1, index_prices[market.asset] * (10**6 + drift_ppm) // 10**6)))
        marks = [one for one in marks if not self.silent.get(self._market(one[0]).asset)]
        # USDC has no index: it is the unit of account (R1).
        heard = [asset for asset in index_prices if asset != "USDC" and asset not in self.silent]
        indices = tuple((asset, index_prices[asset]) for asset in heard)
        return c.UpdatePrices(self._id(), self.now_ns, indices, tuple(marks))

    # -- kinds of command --

    def _move_prices(self) -> c.Command:
        for asset in ("SOL", "BTC"):
            crash = self._chance(self.crash_percent)
            reach_ppm = 450_000 if crash else 12_000
            step_ppm = self.chooser.integer(-reach_ppm, reach_ppm)
            start = START_PRICES_E8[asset]
            moved = self.index_prices[asset] * (10**6 + step_ppm) // 10**6
            self.index_prices[asset] = min(max(moved, start // 50), start * 20)
        self._feeds_come_and_go()
        return self._prices(self.index_prices)

    def _feeds_come_and_go(self) -> None:
        if self.silent and self._chance(25):
            self.silent.clear()
        if self.silence_percent and self._chance(self.silence_percent):
            self.silent[self.chooser.pick(("SOL", "SOL", "BTC"))] = self._chance(30)

    def _any_deposit(self) -> c.Command:
        if self._chance(12):
            system = self.chooser.pick(("insurance_fund", "fees"))
            return self._deposit(system, self._asset(), self._amount("USDC"))
        subaccount = self._customer()
        debtors = [name for name in self.books.on_debt if self.books.unsettled[name] < 0]
        if debtors and self._chance(25):
            subaccount = self.chooser.pick(debtors)
        asset = self._asset()
        debt = -self.books.unsettled[subaccount]
        if debt > 0 and asset == "USDC" and self._chance(70):
            return self._deposit(subaccount, asset, self._amount(asset, has=debt))
        return self._deposit(subaccount, asset, self._amount(asset))

    def _trade(self) -> c.Command:
        market = self.chooser.pick(self._perpetuals())
        buyer, seller = self._customer(), self._customer()
        mark = self.books.mark_prices.get(market.symbol, START_PRICES_E8[market.asset])
        band = market.block_trade_band_ppm
        price = mark * (10**6 + self.chooser.integer(-band, band)) // 10**6
        if self._chance(10):
            price = mark * (10**6 + self.chooser.pick((-band - 1, band + 1, band))) // 10**6
        if self._chance(self.big_trade_percent):
            units = self._most_it_can_carry(market, buyer, seller)
        else:
            units = self._amount(market.asset, has=abs(self.books.base[buyer, market.symbol]))
        consents = tuple({buyer: 0, seller: 0}) if not self._chance(3) else (buyer,)
        return c.BlockTrade(
            self._id(), self.now_ns, market.symbol, buyer, seller, units, max(1, price), consents
        )

    def _most_it_can_carry(self, market: MarketParams, buyer: str, seller: str) -> int:
        """Choose a size near the most that both sides' dollars can margin: one step from liquidation."""
        usd6 = min(self.books.cash[name, "USDC"] for name in (buyer, seller))
        percent = self.chooser.integer(1, 105) * min(market.max_leverage, 40)
        notional_usd6 = max(1, usd6) * percent // 100
        scale = 10 ** (self._decimals(market.asset) + 2)
        units: int = notional_usd6 * scale // self.index_prices[market.asset]
        return max(1, units)

    def _request(self) -> c.Command:
        subaccount, asset = self._customer(), self._asset()
        units = self._amount(asset, has=self.books.cash[subaccount, asset])
        fault = "not_a_wallet: that is a program" if self._chance(4) else ""
        request = c.RequestWithdrawal(
            self._id(), self.now_ns, subaccount, asset, units, self.chooser.pick(WALLETS), fault
        )
        self.withdrawal_ids.append(request.id)
        return request

    def _payout_id(self) -> str:
        wanted = "queued" if self._chance(10) else "reserved"
        open_ones = [name for name, payout in self.books.payouts.items() if payout.status == wanted]
        if open_ones and not self._chance(15):
            return self.chooser.pick(open_ones)
        return self.chooser.pick(self.withdrawal_ids or ["never-asked"])

    def _network_fee(self) -> int:
        return self.chooser.pick((0, 5_000, 5_000, 2_044_280, 10**7))

    def _queued(self) -> list[str]:
        return [one for one, payout in self.books.payouts.items() if payout.status == "queued"]

    def _cancel_withdrawal(self) -> c.Command:
        queued = self._queued()
        if not queued or self._chance(40):
            wanted = self.chooser.pick(list(self.books.payouts) or ["never-asked"])
        else:
            wanted = self.chooser.pick(queued)
        payout = self.books.payouts.get(wanted)
        owner = payout.subaccount if payout and not self._chance(15) else self._customer()
        return c.CancelWithdrawal(self._id(), self.now_ns, owner, wanted)

    def _confirm(self) -> c.Command:
        return c.ConfirmWithdrawal(
            self._id(), self.now_ns, self._payout_id(), f"signature{self.sequence}", self._network_fee()
        )

    def _return_withdrawal(self) -> c.Command:
        return c.ReturnWithdrawal(self._id(), self.now_ns, self._payout_id(), "expired", self._network_fee())

    def _pay_network_fee(self) -> c.Command:
        fee = self._network_fee()
        return c.PayNetworkFee(self._id(), self.now_ns, "proof of solvency", f"memo{self.sequence}", fee)

    def _attest(self) -> c.Command:
        holdings = []
        for asset in self.params.assets:
            true = self.books.arrived[asset.symbol] - self.books.left[asset.symbol]
            wrong = self.chooser.integer(-2, 2) * max(1, true // 3) if self._chance(6) else 0
            holdings.append((asset.symbol, max(0, true + wrong)))
        slot = self.sequence if not self._chance(3) else self.chooser.integer(0, self.sequence)
        return c.AttestReserves(self._id(), self.now_ns, tuple(holdings), slot)

    def _transfer(self) -> c.Command:
        source, asset = self._customer(), self._asset()
        siblings = [name for name in CUSTOMERS if name.split("/")[0] == source.split("/")[0]]
        target = self.chooser.pick(siblings) if not self._chance(10) else self._customer()
        units = self._amount(asset, has=self.books.cash[source, asset])
        return c.Transfer(self._id(), self.now_ns, source, target, asset, units)

    def _open(self) -> c.Command:
        return c.OpenSubaccount(
            self._id(), self.now_ns, self.chooser.pick(CUSTOMERS), self.chooser.pick(("apply", "hold"))
        )

    def _set_on_debt(self) -> c.Command:
        return c.SetOnDebt(self._id(), self.now_ns, self._customer(), self.chooser.pick(("apply", "hold")))

    def _held_id(self) -> str:
        held = list(self.books.held_deposits)
        if held and not self._chance(8):
            return self.chooser.pick(held)
        return self.chooser.pick(self.deposit_ids or ["never-sent"])

    def _accept_held(self) -> c.Command:
        return c.AcceptHeldDeposit(self._id(), self.now_ns, self._held_id())

    def _return_held(self) -> c.Command:
        # Rarely a fee that eats the whole deposit.
        fee = 10**14 if self._chance(8) else self._network_fee()
        command = c.ReturnHeldDeposit(self._id(), self.now_ns, self._held_id(), fee)
        self.withdrawal_ids.append(command.id)
        return command

    # -- orders, quotes, providers --

    def _order(self) -> c.Command:
        market = self.chooser.pick(self.params.markets)
        subaccount = self._customer()
        side = self.chooser.pick(("buy", "sell"))
        kind = self.chooser.pick(("limit", "limit", "limit", "limit", "post_only", "ioc", "fok", "market"))
        near = self.books.mark_prices.get(market.symbol) or self.index_prices[market.asset]
        # Most orders stand within a percent of the mark, on the wrong side of it now and then; few far away.
        reach_ppm = self.chooser.pick((500, 3_000, 10_000, 60_000, 950_000))
        away_ppm = self.chooser.integer(-reach_ppm // 4, reach_ppm) * (-1 if side == "buy" else 1)
        price = near * (10**6 + away_ppm) // 10**6 // market.tick_e8 * market.tick_e8
        if kind in ("ioc", "fok") and self._chance(50):
            price = (
                near * (1_010_000 if side == "buy" else 990_000) // 10**6 // market.tick_e8 * market.tick_e8
            )
        if kind == "market":
            price = 0
        units = self._order_units(market, subaccount, side)
        if self._chance(4):
            units, price = units + self.chooser.integer(0, 1), price + self.chooser.integer(0, 1)
        client_id = self.chooser.pick(("", "", "", "mine", f"o{self.sequence % 40}"))
        reduce_only = 1 if self._chance(15) else 0
        return c.PlaceOrder(
            self._id(),
            self.now_ns,
            subaccount,
            market.symbol,
            side,
            kind,
            units,
            price,
            reduce_only,
            client_id,
        )

    def _order_units(self, market: MarketParams, subaccount: str, side: str) -> int:
        lot = market.lot_units
        if market.is_spot:
            has = self.books.cash[subaccount, market.asset if side == "sell" else "USDC"]
            if side == "buy":
                has = has * 10 ** (self._decimals(market.asset) + 2) // self.index_prices[market.asset]
            units: int = has * self.chooser.integer(1, 110) // 100
        elif self._chance(self.big_trade_percent):
            units = self._most_it_can_carry(market, subaccount, subaccount)
        else:
            units = self._amount(market.asset, has=abs(self.books.base[subaccount, market.symbol]))
        return max(1, units // lot) * lot

    def _cancel(self) -> c.Command:
        resting = list(self.books.resting.values())
        if not resting or self._chance(20):
            market = self.chooser.pick(("", *(one.symbol for one in self.params.markets)))
            return c.CancelAllOrders(self._id(), self.now_ns, self._customer(), market)
        one = self.chooser.pick(resting)
        owner = one.subaccount if not self._chance(5) else self._customer()
        if one.client_order_id and self._chance(50):
            return c.CancelOrder(self._id(), self.now_ns, owner, one.market, 0, one.client_order_id)
        order_id = one.order_id + (1 if self._chance(5) else 0)
        return c.CancelOrder(self._id(), self.now_ns, owner, one.market, order_id)

    def _quotes(self) -> c.Command:
        asset = self.chooser.pick(("SOL", "BTC"))
        move_ppm = self.chooser.integer(-8_000, 8_000)
        price = max(1, self.index_prices[asset] * (10**6 + move_ppm) // 10**6)
        self.index_prices[asset] = price
        quotes = []
        for feed, sources in (("alpha", ("a", "b", "c")), ("beta", ("a", "d")), ("gamma", ("e",))):
            for source in sources:
                if self._chance(15):
                    continue
                wide = 60_000 if self._chance(8) else 3_000
                off_ppm = self.chooser.integer(-wide, wide)
                age_ns = self.chooser.integer(0, 90 if self._chance(10) else 5) * NS_PER_SECOND
                quotes.append(
                    (feed, source, max(1, price * (10**6 + off_ppm) // 10**6), self.now_ns - age_ns)
                )
        return c.UpdateQuotes(self._id(), self.now_ns, asset, tuple(quotes))

    def _market_state(self) -> c.Command:
        market = self.chooser.pick(self.params.markets)
        state = self.chooser.pick(("open", "open", "open", "open", "post_only", "reduce_only", "closed"))
        return c.SetMarketState(self._id(), self.now_ns, market.symbol, state)

    def _backstop(self) -> c.Command:
        if self._chance(20):
            leaving = list(self.books.backstops) if self._chance(70) else []
            return c.LeaveBackstop(self._id(), self.now_ns, self.chooser.pick(leaving or [self._customer()]))
        return c.RegisterBackstop(self._id(), self.now_ns, self._customer())

    def _backstop_capacity(self) -> c.Command:
        provider = self.chooser.pick(list(self.books.backstops) or CUSTOMERS)
        market = self.chooser.pick(self._perpetuals())
        per_minute = 10**6 * self.chooser.pick((0, 100, 5_000, 100_000, 10_000_000))
        per_hour = per_minute * self.chooser.integer(0, 10) if not self._chance(5) else -1
        return c.SetBackstopCapacity(self._id(), self.now_ns, provider, market.symbol, per_minute, per_hour)

    # -- lending --

    def _lending_kinds(self) -> list[tuple[int, Callable[[], c.Command]]]:
        weight = self.lending_weight
        return [
            (weight // 4, self._set_lending),
            (weight, lambda: self._loan(c.Lend)),
            (weight // 2, lambda: self._loan(c.Redeem)),
            (weight, lambda: self._loan(c.Borrow)),
            (weight // 2, lambda: self._loan(c.Repay)),
        ]

    def _set_lending(self) -> c.Command:
        choices = [self.chooser.integer(0, 1) for _ in range(3)]
        return c.SetLending(self._id(), self.now_ns, self._customer(), *choices)

    def _loan(self, kind: Any) -> c.Command:
        subaccount, asset = self._customer(), self._asset()
        index = 10**18
        held = self.books.lent if kind is c.Redeem else self.books.borrowed
        known = [(one, of) for (one, of), shares in held.items() if shares and one in self.books.on_debt]
        if known and kind in (c.Redeem, c.Repay) and self._chance(70):
            subaccount, asset = self.chooser.pick(known)
        if kind is c.Lend:
            has = self.books.cash[subaccount, asset]
        elif kind is c.Redeem:
            index = self.books.lend_index_e18.get(asset, index)
            has = self.books.lent[subaccount, asset] * index // 10**18
        elif kind is c.Repay:
            index = self.books.borrow_index_e18.get(asset, index)
            has = self.books.borrowed[subaccount, asset] * index // 10**18
        elif self._chance(50):
            return self._big_borrow(subaccount)
        else:
            has = self._left_in_pool(asset)
        made: c.Command = kind(self._id(), self.now_ns, subaccount, asset, self._amount(asset, has=has))
        return made

    def _left_in_pool(self, asset: str) -> int:
        """Choose what brings a pool near its throttle or its maximum."""
        lent = sum(shares for (_, held), shares in self.books.lent.items() if held == asset)
        owed = sum(shares for (_, held), shares in self.books.borrowed.items() if held == asset)
        return max(0, lent * self.chooser.pick((919, 921, 949, 950)) // 1_000 - owed)

    def _big_borrow(self, subaccount: str) -> c.Command:
        """Borrow some times what the cash of other assets is worth: often near the most it can carry."""
        asset = self.chooser.pick(("USDC", "SOL", "SOL", "BTC"))
        worth = 0
        for other in START_PRICES_E8:
            cash = self.books.cash[subaccount, other] if other != asset else 0
            worth += cash * self.index_prices[other] // 10 ** self._decimals(other)
        units = worth * 10 ** self._decimals(asset) // self.index_prices[asset]
        units = units * self.chooser.integer(5, 90) // self.chooser.pick((10, 10, 50))
        return c.Borrow(self._id(), self.now_ns, subaccount, asset, max(1, units))

    # -- nonsense --

    def _again(self) -> c.Command:
        """Send an old command again: unchanged, at a later time, or with another body under its id."""
        old = self.chooser.pick(self.past[-30:])
        kind = self.chooser.integer(0, 2)
        if kind == 0:
            return old
        later = replace(old, time_ns=self.now_ns)
        return later if kind == 1 else self._make_strange(later)

    def _make_strange(self, command: c.Command) -> c.Command:
        """Spoil one field with something well-typed that no honest sender would send."""
        name = self.chooser.pick([slot for slot in type(command).__slots__ if slot != "id"] + ["id"])
        if name == "time_ns":
            past = self.now_ns - self.chooser.integer(1, 10**10)
            return replace(command, time_ns=self.chooser.pick((past, 0, -1, MAX_TIME_NS + 1, -(10**30))))
        strange: Any = {name: self._strange_value(name, getattr(command, name))}
        if strange == {"id": "two  words"}:
            # Unusual but good; made unique, or it would only ever be an id reused.
            strange = {"id": f"two  words {self.sequence}"}
        return replace(command, **strange)

    def _strange_value(self, name: str, value: object) -> object:
        pick = self.chooser.pick
        if name == "slot":
            # A slot far ahead is no nonsense: it is believed, and every later attestation is out of order.
            return pick((0, -1, 10**40))
        if isinstance(value, int):
            return pick(STRANGE_INTEGERS)
        if isinstance(value, str):
            if name in ("subaccount", "buyer", "seller", "source", "target"):
                return pick(STRANGE_SUBACCOUNTS + CUSTOMERS)
            if name in ("asset", "market"):
                return pick(STRANGE_SYMBOLS)
            return pick(STRANGE_TEXTS)
        assert isinstance(value, tuple)
        if name == "quotes":
            row = (pick(STRANGE_TEXTS + ("alpha",)), "z", pick(STRANGE_INTEGERS + (10**9,)), self.now_ns)
            return pick(((), value + (row,), value[:1], (row,)))
        if name == "consents":
            return pick(((), ("1/0",), STRANGE_SUBACCOUNTS, value + value))
        strange_row = (pick(STRANGE_SYMBOLS + ("SOL", "USDC")), pick(STRANGE_INTEGERS + (MAX_PRICE_E8 + 1,)))
        return pick(((), value + value, value + (strange_row,), (strange_row,), value[:1]))

"""Small random crashes: leveraged books, loans, thin depth, a fast fall and a rebound, every command audited.

Every answer is said beforehand. In one seed of four the feed of an asset is silent for a while, so that its
index, or its marks too, are stale while the other one falls. Seeds divisible by five have no loans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine import commands as c
from engine.units import NS_PER_SECOND

from .generator import CUSTOMERS, START_PRICES_E8, Generator
from .simulation import Simulation

PROVIDERS = ("90/0", "91/0")
MAKERS = ("80/0", "81/0")


@dataclass(slots=True)
class SmallCrash:
    """One crash by its seed; `run` audits it and gives what happened."""

    seed: int
    simulation: Simulation = field(init=False)
    # How many leveraged pairs and how deep the fall are drawn from the seed, calm ones included.
    shape: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.simulation = Simulation(self.seed, full_check_every=10)
        self.simulation.generator.silence_percent = 0

    def run(self) -> Counter[str]:
        """Audit the crash; raises AssertionError at the first disagreement or at debts without claims."""
        for command in self.commands():
            self.simulation.step(command)
        self.simulation.finish()
        unsettled = self.simulation.run.books.unsettled.values()
        debts, claims = -sum(one for one in unsettled if one < 0), sum(one for one in unsettled if one > 0)
        assert debts == claims, f"debts {debts}, claims {claims}"
        return self.simulation.counts

    def commands(self) -> Iterator[c.Command]:
        """Give the whole crash, command by command; what comes next depends on the books so far."""
        made = self.simulation.generator
        yield from made.opening()
        yield from self._people(made)
        for _ in range(made.chooser.integer(4, 10)):
            yield self._leveraged(made)
        if self.seed % 5:
            yield from self._loans(made)
        yield from self._depth(made)
        steps, reach_ppm = made.chooser.integer(12, 25), made.chooser.pick((15_000, 60_000, 140_000))
        silence = made.chooser.integer(0, steps - 1) if self.seed % 4 == 1 else -1
        if self.seed % 4 == 3:
            yield from self._loans_without_a_price(made)
        for step in range(steps):
            made.now_ns += made.chooser.pick((1, 1, 1, 2)) * NS_PER_SECOND
            if step == silence:
                made.silent[made.chooser.pick(("SOL", "BTC"))] = made.chooser.integer(0, 2) == 0
                made.now_ns += 61 * NS_PER_SECOND
            elif made.silent and made.chooser.integer(0, 5) == 0:
                made.silent.clear()
            down = step < steps * 2 // 3
            yield self._moved(made, reach_ppm if down else reach_ppm // 2, down=down)
            if made.chooser.integer(0, 2) == 0:
                yield from self._depth(made)
            if made.chooser.integer(0, 4) == 0:
                yield made._any_deposit()
            yield from self._people_do(made)
            if made.books.liquidations and made.chooser.integer(0, 1):
                yield self._deposit_in_need(made)
            if step % 4 == 3:
                yield c.Tick(made._id(), made.now_ns)
        made.silent.clear()
        for _ in range(6):
            made.now_ns += 10 * NS_PER_SECOND
            yield self._moved(made, 2_000, down=False)
            yield c.Tick(made._id(), made.now_ns)

    def _people(self, made: Generator) -> Iterator[c.Command]:
        for name in (*MAKERS, *PROVIDERS):
            yield c.OpenSubaccount(made._id(), made.now_ns, name)
            yield made._deposit(name, "USDC", 10**6 * made.chooser.integer(5_000, 200_000))
        yield made._deposit(MAKERS[0], "SOL", 10**9 * made.chooser.integer(10, 500))
        for name in PROVIDERS:
            yield c.RegisterBackstop(made._id(), made.now_ns, name)
            for market in made._perpetuals():
                per_minute = 10**6 * made.chooser.pick((0, 0, 500, 20_000, 1_000_000))
                yield c.SetBackstopCapacity(
                    made._id(), made.now_ns, name, market.symbol, per_minute, per_minute * 5
                )

    def _leveraged(self, made: Generator) -> c.Command:
        """Two customers trade near the most they can carry; the SOL some hold makes shorts hedged."""
        market = made.chooser.pick(made._perpetuals())
        buyer, seller = made.chooser.pick(CUSTOMERS[:6]), made.chooser.pick(CUSTOMERS[:6])
        if buyer == seller:
            seller = CUSTOMERS[(CUSTOMERS.index(buyer) + 1) % 6]
        units = made._most_it_can_carry(market, buyer, seller)
        mark = made.books.mark_prices[market.symbol]
        return c.BlockTrade(
            made._id(), made.now_ns, market.symbol, buyer, seller, units, mark, (buyer, seller)
        )

    def _loans(self, made: Generator) -> Iterator[c.Command]:
        """Makers lend all three assets; customers borrow some times what they have, some sell it at once."""
        yield c.Lend(made._id(), made.now_ns, MAKERS[0], "SOL", 10**9 * made.chooser.integer(5, 300))
        yield c.Lend(made._id(), made.now_ns, MAKERS[1], "USDC", 10**6 * made.chooser.integer(1_000, 50_000))
        if made.chooser.integer(0, 1):
            yield made._deposit(MAKERS[1], "BTC", 10**5 * made.chooser.integer(10, 900))
            yield c.Lend(made._id(), made.now_ns, MAKERS[1], "BTC", 10**4 * made.chooser.integer(90, 900))
        for name in CUSTOMERS[:5]:
            if made.chooser.integer(0, 1):
                yield made._deposit(
                    name, made.chooser.pick(("SOL", "BTC")), made.chooser.integer(10**7, 10**9)
                )
            yield made._big_borrow(name)
            if made.chooser.integer(0, 2) == 0:
                yield made._order()
        # Who lends may find the pool empty when he is liquidated: somebody borrows near the maximum.
        yield made._loan(c.Lend)
        if made.chooser.integer(0, 1):
            name, asset = made.chooser.pick(PROVIDERS), made.chooser.pick(("SOL", "USDC"))
            yield c.Borrow(made._id(), made.now_ns, name, asset, max(1, made._left_in_pool(asset)))

    def _loans_without_a_price(self, made: Generator) -> Iterator[c.Command]:
        """SOL is owed whose feed falls silent, beside positions in BTC: such a loan waits when BTC falls."""
        maker = MAKERS[0]
        yield made._deposit(maker, "SOL", 10**9 * 2_000)
        yield c.Lend(made._id(), made.now_ns, maker, "SOL", 10**9 * 2_000)
        market = made._market("BTC-PERP")
        for name in CUSTOMERS[:3]:
            units = 10**9 * made.chooser.integer(1, 60)
            yield c.Borrow(made._id(), made.now_ns, name, "SOL", units)
            yield c.PlaceOrder(
                made._id(), made.now_ns, name, "SOL/USDC", "sell", "market", units // 10**7 * 10**7, 0
            )
            size = made._most_it_can_carry(market, name, MAKERS[1])
            mark = made.books.mark_prices[market.symbol]
            yield c.BlockTrade(
                made._id(), made.now_ns, market.symbol, name, MAKERS[1], size, mark, (name, MAKERS[1])
            )
        made.silent["SOL"] = made.chooser.integer(0, 1) == 0
        made.now_ns += 61 * NS_PER_SECOND

    def _deposit_in_need(self, made: Generator) -> c.Command:
        """Whoever is in liquidation sends money: of what he owes, of another asset, a little or a lot."""
        name, asset = (
            made.chooser.pick(list(made.books.liquidations)),
            made.chooser.pick(("USDC", "SOL", "BTC")),
        )
        return made._deposit(name, asset, made._amount(asset, has=made.books.borrowed[name, asset]))

    def _people_do(self, made: Generator) -> Iterator[c.Command]:
        """Now and then somebody trades, withdraws, moves cash, or minds his loans."""
        kinds = (made._order, made._order, made._request, made._transfer, made._cancel, made._set_lending)
        loans = (c.Lend, c.Redeem, c.Borrow, c.Repay)
        percent = 75 if made.silent else 33
        while made.chooser.integer(0, 99) < percent:
            if self.seed % 5 and made.chooser.integer(0, 1):
                yield made._loan(made.chooser.pick(loans))
            else:
                yield made.chooser.pick(kinds)()
            if made.chooser.integer(0, 5) == 0:
                yield made._attest()

    def _depth(self, made: Generator) -> Iterator[c.Command]:
        """Makers quote both sides of a market, thinly, some percent around what it is worth."""
        market = made.chooser.pick(made.params.markets)
        maker = made.chooser.pick(MAKERS)
        yield c.CancelAllOrders(made._id(), made.now_ns, maker, market.symbol)
        worth = made.index_prices[market.asset]
        for side, sign in (("buy", -1), ("sell", 1)):
            for level in range(made.chooser.integer(1, 2)):
                away_ppm = sign * (made.chooser.integer(200, 8_000) + 4_000 * level)
                price = max(1, worth * (10**6 + away_ppm) // 10**6 // market.tick_e8) * market.tick_e8
                usd = made.chooser.pick((50, 500, 5_000, 40_000))
                scale = 10 ** made._decimals(market.asset)
                lots = max(1, usd * 10**8 * scale // worth // market.lot_units)
                yield c.PlaceOrder(
                    made._id(),
                    made.now_ns,
                    maker,
                    market.symbol,
                    side,
                    "limit",
                    lots * market.lot_units,
                    price,
                )

    def _moved(self, made: Generator, reach_ppm: int, *, down: bool) -> c.Command:
        for asset in ("SOL", "BTC"):
            step_ppm = made.chooser.integer(-reach_ppm // 4, reach_ppm) * (-1 if down else 1)
            moved = made.index_prices[asset] * (10**6 + step_ppm) // 10**6
            made.index_prices[asset] = max(START_PRICES_E8[asset] // 100, moved)
        if made.chooser.integer(0, 3) == 0:
            return made._quotes()
        return made._prices(made.index_prices)

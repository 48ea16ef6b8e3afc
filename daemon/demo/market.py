"""The market goes on: a book, an order that takes from it, and what the public may ask."""

from __future__ import annotations

from daemon.cli_tables import amount, percent, price, usd
from daemon.demo.teller import BEN, DORA, NAMES, SOL, USDC, Teller

_MARKET = "SOL-PERP"
_DOLLAR_E8 = 10**8


class Market(Teller):
    """Orders meet on the book."""

    async def the_market_goes_on(self) -> None:
        """Dora makes the market, Ben takes from it."""
        self.chapter(
            "The market goes on",
            "Dora offers 5 SOL at $130 and 5 at $130.50, and bids for 5 at $129.50. Ben, still short, buys 6 "
            "at market.",
        )
        await self.prices("130")
        for number, (side, dollars) in enumerate((("sell", "130"), ("sell", "130.5"), ("buy", "129.5"))):
            await self.order(f"dora-{number}", DORA, side, 5, price=dollars, kind="post_only")
        taken = await self.order("ben-takes", BEN, "buy", 6, kind="market")
        average_e8 = taken["average_price_e8"]
        self.console.print(
            f"Filled {amount(taken['filled_units'], 'SOL')} at {price(average_e8)} on average, for a fee of "
            f"{usd(taken['fee_usd6'])}. The book and the tape now:"
        )
        # 5 x 130 + 130.50, and 0.04% of each of the two trades.
        self.check.equal("Ben's order met two prices: $780.50 for 6 SOL", taken["notional_usd6"], 780_500_000)
        self.check.equal("its average price is that, rounded down", average_e8, 78_050 * _DOLLAR_E8 // 600)
        self.check.equal("its fee is 0.04%", taken["fee_usd6"], 312_200)
        await self.book_and_tape()
        await self.public_numbers()
        await self.client.post("orders/cancel-all", id="dora-leaves", subaccount=DORA)
        left = await self.client.get("depth", market=_MARKET)
        self.check.equal("Dora's orders are gone", (left["bids"], left["asks"]), ([], []))
        await self.ticked()

    async def order(self, order_id: str, who: str, side: str, size: int, **terms: str) -> dict[str, int]:
        """Place an order; returns what became of it."""
        answer = await self.client.post(
            "orders", id=order_id, subaccount=who, market=_MARKET, side=side, base_units=size * SOL, **terms
        )
        order: dict[str, int] = answer["order"]
        return order

    async def book_and_tape(self) -> None:
        """Show depth and trades."""
        depth = await self.client.get("depth", market=_MARKET)
        levels = [("ask", one) for one in depth["asks"]] + [("bid", one) for one in depth["bids"]]
        rows = [(side, price(one["price_e8"]), amount(one["units"], "SOL")) for side, one in levels]
        self.table(("side", "price", "size"), rows, ("price", "size"))
        self.check.equal(
            "the book shows what is left",
            [(side, one["price_e8"], one["units"]) for side, one in levels],
            [("ask", 13_050_000_000, 4 * SOL), ("bid", 12_950_000_000, 5 * SOL)],
        )
        trades = await self.client.get("trades", market=_MARKET)
        tape = [
            (
                one["kind"],
                NAMES[one["buyer"]],
                NAMES[one["seller"]],
                amount(one["base_units"], "SOL"),
                price(one["price_e8"]),
            )
            for one in trades
        ]
        self.table(("kind", "bought by", "sold by", "size", "price"), tape, ("size", "price"))
        self.check.equal(
            "the tape has every trade since the start, however it came about",
            [(one["kind"], one["base_units"]) for one in trades],
            [
                *(("block", 100 * SOL), ("block", 10 * SOL), ("backstop", 100 * SOL), ("block", 100 * SOL)),
                *(("book", 5 * SOL), ("book", SOL)),
            ],
        )

    async def public_numbers(self) -> None:
        """Show what each stage of liquidation did."""
        self.console.print("What liquidations did since the start is public, too:")
        stages = (await self.client.get("liquidations"))["stages"]
        rows = [
            (one["stage"], usd(one["notional_usd6"]), percent(one["share_ppm"]), str(one["fills"]))
            for one in stages
        ]
        self.table(("stage", "notional", "share", "fills"), rows, ("notional", "share", "fills"))
        self.check.equal(
            "Ada's 100 SOL at $130 are counted at the backstop, and nowhere else",
            {one["stage"]: one["notional_usd6"] for one in stages if one["fills"]},
            {"backstop": 13_000 * USDC},
        )

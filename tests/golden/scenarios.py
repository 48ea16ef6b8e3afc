"""The histories behind the goldens: commands only; what they lead to is in the journals."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from engine import commands as cm
from engine.params import Params, default_params

SECOND = 10**9
START_NS = 1_800_000_000 * SECOND
USDC = 10**6
SOL = 10**9
E8 = 10**8
Scenario = Callable[[], tuple[Params, list[cm.Command]]]


class Script:
    """Collects commands with ids that count up on a clock moved by hand."""

    def __init__(self) -> None:
        self.commands: list[cm.Command] = []
        self.now_ns = START_NS

    def add(self, kind: type, *values: object, id: str = "") -> None:  # noqa: A002
        """Append a command; its id is c1, c2, ... unless given."""
        name = id or f"c{len(self.commands) + 1}"
        self.commands.append(kind(name, self.now_ns, *values))

    def wait(self, seconds: int) -> None:
        """Move the clock."""
        self.now_ns += seconds * SECOND

    def prices(self, sol: int, btc: int = 60_000 * E8) -> None:
        """Set index and mark alike, in e8."""
        self.add(cm.UpdatePrices, (("SOL", sol), ("BTC", btc)), (("SOL-PERP", sol), ("BTC-PERP", btc)))

    def trade(self, buyer: str, seller: str, base: int, price: int, market: str = "SOL-PERP") -> None:
        """Book a block trade both consent to."""
        self.add(cm.BlockTrade, market, buyer, seller, base, price, (buyer, seller))

    def backstop(self, name: str, capacity_usd: int) -> None:
        """Open a backstop provider with 0.01 BTC behind it."""
        self.add(cm.OpenSubaccount, name, "apply")
        self.add(cm.Deposit, name, "BTC", 10**6, "maker", id=f"funds-{name}")
        self.add(cm.RegisterBackstop, name)
        for market in ("SOL-PERP", "BTC-PERP"):
            self.add(cm.SetBackstopCapacity, name, market, capacity_usd * USDC, 10 * capacity_usd * USDC)

    def quote(self, asset: str, *prices: int) -> None:
        """Quote an asset now, each price from a feed of its own."""
        quotes = [(f"feed{n}", "spot", price, self.now_ns) for n, price in enumerate(prices)]
        self.add(cm.UpdateQuotes, asset, tuple(quotes))

    def order(
        self,
        name: str,
        side: str,
        units: int,
        price: int,
        kind: str = "limit",
        *,
        market: str = "SOL-PERP",
        reduce_only: int = 0,
        client_order_id: str = "",
    ) -> None:
        """Place an order."""
        self.add(cm.PlaceOrder, name, market, side, kind, units, price, reduce_only, client_order_id)

    def attest(self) -> None:
        """Attest plenty."""
        self.add(cm.AttestReserves, (("USDC", 10**15), ("SOL", 10**15), ("BTC", 10**15)), len(self.commands))


def main_road() -> tuple[Params, list[cm.Command]]:
    """Deposit, trade, crash, debt, fund, settle-first deposits in two assets, withdrawals refused and
    paid.
    """
    script = Script()
    for name in ("7/0", "7/1", "8/0"):
        script.add(cm.OpenSubaccount, name, "apply")
    script.prices(150 * E8)
    script.backstop("90/0", 1_000_000)
    script.add(cm.Deposit, "7/0", "USDC", 1_000 * USDC, "wallet-7", id="sig1:ata7:usdc")
    script.add(cm.Deposit, "8/0", "USDC", 1_000 * USDC, "wallet-8", id="sig2:ata8:usdc")
    script.add(cm.Deposit, "insurance_fund", "USDC", 250 * USDC, "operator", id="sig3:fund:usdc")
    script.add(cm.Deposit, "fees", "SOL", SOL, "operator", id="sig4:fees:SOL")
    script.trade("7/0", "8/0", 100 * SOL, 150 * E8)
    script.add(cm.Tick)
    script.wait(10)
    script.prices(13_123_456_789)
    script.trade("8/0", "90/0", 100 * SOL, 13_123_456_789)
    script.add(cm.Tick)
    script.attest()
    script.add(cm.RequestWithdrawal, "7/0", "USDC", 5 * USDC, "out-7", "", id="w1")
    script.add(cm.RequestWithdrawal, "8/0", "USDC", 100 * USDC, "out-8", "", id="w2")
    script.add(cm.Deposit, "7/0", "SOL", 2 * SOL, "wallet-7", id="sig5:addr7:SOL")
    script.add(cm.Deposit, "7/0", "USDC", 900 * USDC, "wallet-7", id="sig6:ata7:usdc")
    script.wait(10)
    script.add(cm.Deposit, "insurance_fund", "USDC", 400 * USDC, "operator", id="sig7:fund:usdc")
    script.add(cm.Tick)
    script.attest()
    script.add(cm.RequestWithdrawal, "7/0", "USDC", 50 * USDC, "out-7", "", id="w3")
    script.add(cm.RequestWithdrawal, "8/0", "USDC", 10 * USDC, "fees", "one of ours", id="w4")
    script.add(cm.ConfirmWithdrawal, "w3", "sig8", 5_000)
    script.add(cm.ReturnWithdrawal, "w2", "account frozen", 5_000)
    script.add(cm.Transfer, "7/0", "7/1", "USDC", 20 * USDC)
    script.add(cm.SetOnDebt, "7/0", "hold")
    script.add(cm.PayNetworkFee, "proof of solvency 1", "sig9", 5_000)
    return default_params(), script.commands


def held_and_written_off() -> tuple[Params, list[cm.Command]]:
    """Hold, accept, return and its failure; collateral converted; a debt that nobody pays is written off."""
    script = Script()
    script.add(cm.OpenSubaccount, "1/0", "hold")
    for name in ("2/0", "3/0"):
        script.add(cm.OpenSubaccount, name, "apply")
    script.prices(100 * E8, 50_000 * E8)
    script.backstop("90/0", 1_000_000)
    script.add(cm.Deposit, "1/0", "SOL", 3 * SOL, "w", id="d1")
    script.add(cm.Deposit, "1/0", "BTC", 400_000, "w", id="d2")
    for number, name in enumerate(("2/0", "3/0")):
        script.add(cm.Deposit, name, "USDC", 700 * USDC + number, "w", id=f"e{number}")
        script.trade("1/0", name, 7 * SOL + 333_333_333, 100 * E8)
        script.trade("1/0", name, 123_457, 50_000 * E8, "BTC-PERP")
    script.wait(10)
    script.prices(55 * E8 + 1, 50_000 * E8)
    script.add(cm.Tick)
    script.add(cm.Deposit, "1/0", "USDC", 10 * USDC, "sender", id="d3")
    script.add(cm.Deposit, "1/0", "SOL", SOL, "sender", id="d4")
    script.add(cm.Deposit, "1/0", "USDC", 7 * USDC, "sender", id="d5")
    script.add(cm.AcceptHeldDeposit, "d3")
    script.add(cm.ReturnHeldDeposit, "d4", 5_000, id="r1")
    script.add(cm.ReturnWithdrawal, "r1", "expired", 5_000)
    script.add(cm.ReturnHeldDeposit, "d5", 5_000, id="r2")
    script.add(cm.ConfirmWithdrawal, "r2", "sig", 5_000)
    script.wait(1_800)
    script.add(cm.Tick)
    script.wait(7 * 86_400)
    script.add(cm.Tick)
    script.add(cm.Deposit, "1/0", "USDC", USDC, "sender", id="d6")
    return default_params(), script.commands


def waterfall() -> tuple[Params, list[cm.Command]]:
    """Two large losers on opposite sides: a small backstop first, then netting, then deleveraging; a hedged
    holder is spared. A small loser waits for a book that stays empty. The provider leaves.
    """
    script = Script()
    for name in ("1/0", "2/0", "3/0", "4/0", "5/0", "6/0"):
        script.add(cm.OpenSubaccount, name, "apply")
    script.prices(100 * E8)
    script.backstop("90/0", 2_000)
    script.add(cm.Deposit, "90/0", "USDC", 500 * USDC, "maker", id="more")
    for number, name in enumerate(("1/0", "5/0")):
        script.add(cm.Deposit, name, "USDC", 400 * USDC + number, "w", id=f"d{number}")
    script.add(cm.Deposit, "2/0", "BTC", 700_000, "w", id="d2")
    for number, name in enumerate(("3/0", "4/0", "6/0")):
        script.add(cm.Deposit, name, "USDC", 9_000 * USDC, "w", id=f"e{number}")
    script.add(cm.Deposit, "4/0", "SOL", 60 * SOL, "w", id="f")
    script.trade("1/0", "3/0", 90 * SOL + 7, 100 * E8)
    script.trade("1/0", "4/0", 60 * SOL, 100 * E8)
    script.trade("6/0", "2/0", 50 * SOL + 1, 97 * E8)
    script.trade("5/0", "3/0", 140 * SOL, 100 * E8)
    script.wait(1)
    # 5/0: equity 106, maintenance 185: on the book, which is empty. 1/0 is far below, and so is the short
    # 2/0, whose collateral has become worthless.
    script.prices(9_790_000_007, 100 * E8)
    for _ in range(6):
        script.wait(1)
        script.prices(9_790_000_007, 100 * E8)
    script.prices(93 * E8, 100 * E8)
    script.add(cm.Tick)
    script.wait(61)
    script.prices(112 * E8)
    script.add(cm.Tick)
    script.add(cm.SetBackstopCapacity, "90/0", "SOL-PERP", 0, 0)
    script.add(cm.LeaveBackstop, "90/0")
    return default_params(), script.commands


def trading() -> tuple[Params, list[cm.Command]]:
    """Every kind of order and most ways an order ends, on two kinds of book; quotes, marks, funding."""
    script = Script()
    for name in ("1/0", "1/1", "2/0", "3/0"):
        script.add(cm.OpenSubaccount, name, "apply")
        script.add(cm.Deposit, name, "USDC", 5_000 * USDC, "w", id=f"d{name}")
    script.add(cm.Deposit, "3/0", "SOL", 20 * SOL, "w", id="dsol")
    script.quote("SOL", 150 * E8, 15_003_000_000, 14_998_765_432)
    script.order("1/0", "sell", 5 * SOL, 151 * E8, client_order_id="ask")
    script.order("2/0", "buy", 5 * SOL, 149 * E8, "post_only")
    script.order("2/0", "buy", 5 * SOL, 151 * E8, "post_only")
    script.order("3/0", "buy", 2 * SOL + 10**7, 152 * E8, "ioc")
    script.order("1/1", "buy", SOL, 152 * E8)
    script.order("3/0", "buy", 9 * SOL, 152 * E8, "fok")
    script.order("3/0", "buy", 9 * SOL, 0, "market")
    script.order("3/0", "sell", 99 * SOL, 155 * E8, reduce_only=1)
    script.order("2/0", "sell", 20 * SOL, 140 * E8)
    script.order("1/0", "buy", 40 * SOL, 158 * E8)
    script.add(cm.CancelOrder, "1/0", "SOL-PERP", 0, "ask")
    script.order("3/0", "sell", 7 * SOL, 15_012_000_000, market="SOL/USDC")
    script.order("2/0", "buy", 3 * SOL, 151 * E8, market="SOL/USDC")
    script.order("2/0", "buy", 11 * SOL, 149 * E8, market="SOL/USDC")
    for second in range(70):
        script.wait(60)
        script.quote("SOL", *[(150 + second) * E8 + 7 * source for source in range(3)])
        script.order("2/0", "buy", SOL, (152 + second) * E8)
        script.order("3/0", "sell", SOL, (154 + second) * E8)
        script.add(cm.Tick)
    script.add(cm.CancelAllOrders, "2/0", "SOL-PERP")
    script.add(cm.SetMarketState, "SOL-PERP", "post_only")
    script.order("2/0", "sell", SOL, 222 * E8, "post_only")
    script.add(cm.SetMarketState, "SOL-PERP", "open")
    script.quote("SOL", 220 * E8)
    script.order("2/0", "sell", SOL, 222 * E8)
    script.quote("SOL", *[175 * E8 + source for source in range(3)])
    script.add(cm.Tick)
    script.add(cm.CancelAllOrders, "3/0", "")
    return default_params(), script.commands


def lending() -> tuple[Params, list[cm.Command]]:
    """Borrowers, lenders and the throttle; a loss paid from lent and borrowed dollars, one from lent shares;
    a borrower who is bought back on the book, one whom the fund takes over, one who goes bankrupt and pays.
    """
    script = Script()
    for name in ("1/0", "1/1", "2/0", "3/0", "4/0", "5/0"):
        script.add(cm.OpenSubaccount, name, "apply")
    script.prices(150 * E8)
    script.add(cm.Deposit, "1/0", "USDC", 2_000 * USDC, "w", id="a")
    script.add(cm.Deposit, "2/0", "SOL", 100 * SOL, "w", id="b")
    script.add(cm.Deposit, "3/0", "SOL", 120 * SOL + 7, "w", id="c")
    script.add(cm.Deposit, "4/0", "USDC", 9_000 * USDC + 1, "w", id="d")
    script.add(cm.Deposit, "insurance_fund", "USDC", 700 * USDC, "operator", id="e")
    script.add(cm.SetLending, "2/0", 0, 1, 1)
    script.add(cm.SetLending, "1/1", 0, 0, 1)
    script.add(cm.Lend, "2/0", "SOL", 90 * SOL)
    script.add(cm.Borrow, "1/0", "SOL", 10 * SOL)
    script.add(cm.Borrow, "3/0", "USDC", 8_900 * USDC)
    script.add(cm.Transfer, "1/0", "1/1", "SOL", 10 * SOL)
    script.add(cm.Borrow, "3/0", "USDC", 1_000 * USDC)  # above the maximum
    for _ in range(3):
        script.wait(10)
        script.add(cm.Tick)
    script.add(cm.Redeem, "2/0", "SOL", 30 * SOL)
    script.add(cm.Redeem, "4/0", "USDC", USDC)  # the throttle
    script.add(cm.Repay, "3/0", "USDC", 4_000 * USDC)
    script.add(cm.Deposit, "5/0", "USDC", 600 * USDC, "w", id="f")
    script.add(cm.Lend, "5/0", "USDC", 500 * USDC)
    script.trade("5/0", "2/0", 20 * SOL, 150 * E8)
    script.wait(10)
    script.prices(133 * E8)
    script.add(cm.Tick)  # 5/0 loses 340: cash, then lent dollars
    script.trade("2/0", "3/0", 40 * SOL, 133 * E8)
    script.wait(10)
    script.prices(136 * E8)
    script.add(cm.Tick)  # 3/0 loses 120 of borrowed cash
    script.add(cm.Borrow, "3/0", "USDC", 4_500 * USDC)
    script.add(cm.Transfer, "3/0", "3/1", "USDC", 1)  # unknown
    script.order("1/1", "sell", 10 * SOL, 184 * E8, market="SOL/USDC")
    for _ in range(4):
        script.wait(1)
        script.prices(183 * E8)  # 1/0 buys back in steps
    for sol in (187, 189, 189, 189, 189, 189, 189, 240):
        script.wait(1)
        script.prices(sol * E8)
    script.add(cm.Tick)
    script.add(cm.Borrow, "1/1", "BTC", 200_000)  # nobody lends it
    script.add(cm.Deposit, "1/0", "SOL", SOL, "w", id="g")
    script.wait(10)
    script.prices(240 * E8)
    script.add(cm.Tick)
    script.add(cm.Repay, "3/0", "USDC", 2**63)
    script.wait(10)
    script.add(cm.Tick)
    return default_params(), script.commands


def random_walk(seed: int) -> tuple[Params, list[cm.Command]]:
    """Many small customers, prices that walk and jump, everything mixed; drawn once from a seed."""
    dice = random.Random(seed)
    script = Script()
    names = [f"{account}/{index}" for account in range(1, 7) for index in range(2)]
    for name in names:
        script.add(cm.OpenSubaccount, name, dice.choice(["apply", "apply", "hold"]))
    sol, btc = 150 * E8, 60_000 * E8
    script.prices(sol, btc)
    if seed == 2:
        script.backstop("90/0", 3_000)
    for number, name in enumerate(names):
        script.add(cm.Deposit, name, "USDC", dice.randrange(10, 900) * USDC + number, "w", id=f"s{number}")
        script.add(cm.Deposit, name, "SOL", dice.randrange(1, 9) * SOL + number, "w", id=f"t{number}")
    for step in range(400):
        script.wait(dice.choice([0, 1, 10, 10, 600]))
        kind = dice.randrange(10)
        if kind <= 2:
            sol = sol * dice.choice([90, 97, 99, 100, 101, 103, 112]) // 100 + dice.randrange(100)
            btc = btc * dice.choice([95, 99, 100, 101, 104]) // 100 + dice.randrange(100)
            script.prices(sol, btc)
        elif kind <= 4:
            script.add(cm.Tick)
        elif kind <= 6:
            buyer, seller = dice.sample(names, 2)
            script.trade(buyer, seller, dice.randrange(1, 60 * SOL), sol + dice.randrange(-99, 99))
        elif kind == 7:
            asset = dice.choice(["USDC", "SOL"])
            target = dice.choice([*names, "insurance_fund"])
            script.add(cm.Deposit, target, asset, dice.randrange(10**6, 10**9), "w", id=f"d{step}")
        elif kind == 8:
            script.attest()
            asset = dice.choice(["USDC", "SOL"])
            script.add(
                cm.RequestWithdrawal,
                dice.choice(names),
                asset,
                dice.randrange(10**6, 10**8),
                "out",
                "",
                id=f"w{step}",
            )
        else:
            script.add(cm.ConfirmWithdrawal, f"w{dice.randrange(step + 1)}", f"sig{step}", 5_000)
    return replace(default_params(), velocity_max_ns=3_600 * SECOND), script.commands


SCENARIOS: dict[str, Scenario] = {
    "lending": lending,
    "main_road": main_road,
    "held_and_written_off": held_and_written_off,
    "trading": trading,
    "waterfall": waterfall,
    "random_walk_1": lambda: random_walk(1),
    "random_walk_2": lambda: random_walk(2),
}

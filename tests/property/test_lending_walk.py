"""R9-R11, I1-I6: whatever is lent, borrowed, repaid and moved, and however prices jump, lenders stay covered.

Every command is checked against all invariants; the journal of each walk replays to the same state.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from engine import commands as cm
from engine.apply import Accepted, apply
from engine.invariants import check
from engine.ledger import post
from engine.params import default_params
from engine.pool import lent_units, owed_units
from engine.snapshot import dump_state, load_state
from engine.state import State, new_state

SECOND = 10**9
E8 = 10**8
NAMES = ("1/0", "1/1", "2/0", "3/0", "4/0")
ASSETS = ("USDC", "SOL", "BTC")
# About $1,000 of each.
THOUSAND_USD = {"USDC": 10**9, "SOL": 6_666_666_667, "BTC": 1_666_667}


class Walk:
    """A seeded walk of lending commands over one state."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.state: State = new_state(default_params())
        self.now_ns = 1_800_000_000 * SECOND
        self.counter = 0
        self.sol = self.btc = 100
        self.accepted: dict[str, int] = {}
        for name in NAMES:
            self.do(cm.OpenSubaccount, name)
        self.prices()
        for name in NAMES:
            for asset in ASSETS:
                self.do(cm.Deposit, name, asset, THOUSAND_USD[asset] * self.dice.randint(1, 9), "w")

    def do(self, kind: type, *values: Any) -> Any:
        """Apply a command and check everything."""
        self.counter += 1
        pools = {asset: (one.lend_index_e18, one.borrow_index_e18) for asset, one in self.state.pools.items()}
        outcome = apply(self.state, kind(f"c{self.counter}", self.now_ns, *values))
        assert check(self.state) == [], (kind, values)
        for asset, (lend, borrow) in pools.items():
            after = self.state.pools[asset]
            assert after.lend_index_e18 >= lend and after.borrow_index_e18 >= borrow
        if isinstance(outcome, Accepted):
            self.accepted[kind.__name__] = self.accepted.get(kind.__name__, 0) + 1
        return outcome

    def prices(self) -> Any:
        """Move SOL and BTC by up to 12% each."""
        self.sol = max(20, self.sol * self.dice.randint(88, 113) // 100)
        self.btc = max(20, self.btc * self.dice.randint(95, 105) // 100)
        sol, btc = self.sol * 3 * E8 // 2, self.btc * 600 * E8
        return self.do(cm.UpdatePrices, (("SOL", sol), ("BTC", btc)), (("SOL-PERP", sol), ("BTC-PERP", btc)))

    def step(self) -> None:
        """Make one random move."""
        name, asset = self.dice.choice(NAMES), self.dice.choice(ASSETS)
        units = THOUSAND_USD[asset] * self.dice.randint(1, 40) // self.dice.choice((1, 7, 1_000))
        kind = self.dice.choice(
            (cm.Lend, cm.Lend, cm.Redeem, cm.Redeem, cm.Borrow, cm.Borrow, cm.Borrow, cm.Repay, cm.Deposit)
        )
        if kind is cm.Deposit:
            self.do(kind, name, asset, units, "w")
        else:
            self.do(kind, name, asset, units)
        luck = self.dice.random()
        if luck < 0.1:
            self.do(cm.Transfer, "1/0", "1/1", asset, units)
        elif luck < 0.2:
            self.do(cm.SetLending, name, *[self.dice.randint(0, 1) for _ in range(3)])
        elif luck < 0.3:
            price = self.state.mark_prices["SOL-PERP"].price_e8
            sides = self.dice.sample(NAMES, 2)
            size = self.dice.randint(1, 30) * 10**9
            self.do(cm.BlockTrade, "SOL-PERP", *sides, size, price, tuple(sides))
        elif luck < 0.65:
            self.now_ns += self.dice.choice((1, 5, 10, 3_600)) * SECOND
            self.prices()
        if luck < 0.45:
            self.do(cm.Tick)


@pytest.mark.parametrize("seed", range(12))
def test_i6_lenders_are_covered_whatever_happens(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(150):
        walk.step()
    assert dump_state(load_state(dump_state(walk.state))) == dump_state(walk.state)
    assert {"Lend", "Borrow", "Redeem", "Repay", "Tick"} <= set(walk.accepted)


@pytest.mark.parametrize("seed", range(4))
def test_r9_nobody_gains_by_lending_to_himself(seed: int) -> None:
    """R9, R10: at a standing price nobody's units grow by more than what others pay in interest."""
    walk = Walk(seed)
    for name in NAMES[1:]:
        walk.do(cm.SetLending, name, 0, 0, 0)
        for asset in ASSETS:
            walk.do(cm.Lend, name, asset, THOUSAND_USD[asset])
    one = walk.state.subaccounts["1/0"]

    def worth(asset: str) -> int:
        state = walk.state
        return one.cash.get(asset, 0) + lent_units(state, one, asset) - owed_units(state, one, asset)

    before = {asset: worth(asset) for asset in ASSETS}
    for _ in range(120):
        kind = walk.dice.choice((cm.Lend, cm.Redeem, cm.Borrow, cm.Repay))
        asset = walk.dice.choice(ASSETS)
        walk.do(kind, "1/0", asset, THOUSAND_USD[asset] * walk.dice.randint(1, 9) // 2)
        walk.now_ns += walk.dice.choice((0, 1, 7)) * SECOND
        if walk.dice.random() < 0.2:
            walk.do(cm.Tick)
    assert walk.accepted["Borrow"] > 0
    assert all(worth(asset) <= before[asset] for asset in ASSETS)


def test_r5_folding_the_events_gives_the_same_shares() -> None:
    """R5: posting the events of a walk, and nothing else, gives the same pools and shares."""
    replayed = Walk(99)
    outcomes: list[tuple[int, Any]] = []
    original = replayed.do

    def recording(kind: type, *values: Any) -> Any:
        outcome = original(kind, *values)
        if isinstance(outcome, Accepted):
            outcomes.append((replayed.now_ns, outcome.events))
        return outcome

    replayed.do = recording  # type: ignore[method-assign]
    folded = load_state(dump_state(replayed.state))
    for _ in range(100):
        replayed.step()
    for now_ns, events in outcomes:
        folded.last_time_ns = now_ns
        for event in events:
            post(folded, event)
    assert {a: (p.lent_shares, p.borrowed_shares, p.lend_index_e18) for a, p in folded.pools.items()} == {
        a: (p.lent_shares, p.borrowed_shares, p.lend_index_e18) for a, p in replayed.state.pools.items()
    }
    for name, one in replayed.state.subaccounts.items():
        assert (folded.subaccounts[name].lent, folded.subaccounts[name].borrowed) == (one.lent, one.borrowed)
        assert folded.subaccounts[name].cash == one.cash

"""Random exchanges for hypothesis: the simulation's generator, its choices drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from engine.commands import (
    BlockTrade,
    Command,
    Deposit,
    OpenSubaccount,
    RegisterBackstop,
    SetBackstopCapacity,
    UpdatePrices,
)
from engine.margin import outstanding_negative_equity_usd6
from engine.outcome import Accepted, Outcome
from engine.params import Params
from tests.sim.generator import Generator, RandomChooser
from tests.sim.run import Run, new_run

# A Random whose answers hypothesis chooses, records and shrinks.
CHOICES = st.randoms(use_true_random=False)


@dataclass(slots=True)
class World:
    """A running exchange and the source of its next commands."""

    run: Run
    generator: Generator

    def step(self) -> tuple[Command, Outcome]:
        """Draw one command and apply it."""
        command = self.generator.next()
        note(repr(command))
        return command, self.run.apply(command)

    def steps(self, count: int) -> None:
        """Draw and apply several commands."""
        for _ in range(count):
            self.step()


def draw_world(
    data: st.DataObject,
    *,
    strange_percent: int = 3,
    opened: bool = True,
    params: Params | None = None,
    crashes: bool = False,
) -> World:
    """Make an exchange, `opened` with prices and money; `crashes` drives some subaccounts into debt."""
    run = new_run(params)
    generator = Generator(RandomChooser(data.draw(CHOICES)), run.params, run.books, strange_percent)
    if crashes:
        opened = True
        generator.big_trade_percent, generator.crash_percent = 60, 40
    if opened:
        opening = generator.opening()
        note("\n".join(map(repr, opening)))
        run.apply_all(opening)
    return World(run, generator)


def world_after(data: st.DataObject, max_steps: int, **choices: Any) -> World:
    """Make an exchange with up to `max_steps` random commands behind it."""
    world = draw_world(data, **choices)
    world.steps(data.draw(st.integers(0, max_steps), label="steps"))
    return world


def in_debt(world: World, subaccount: str) -> bool:
    """Tell whether a subaccount has outstanding negative equity."""
    return outstanding_negative_equity_usd6(world.run.state, subaccount) > 0


def world_in_debt(data: st.DataObject) -> World:
    """Make an exchange where at least one customer ended below zero: a long at the edge, then a crash.

    A backstop provider takes the position at mark (R23): deleveraged (R24), the winner would give up his
    profit and no debt would be left.
    """
    world = draw_world(data)
    world.steps(data.draw(st.integers(0, 12), label="steps before"))
    run, now_ns = world.run, world.generator.now_ns
    for name in ("4/0", "5/0"):
        run.apply(OpenSubaccount(f"open {name}", now_ns, name, data.draw(st.sampled_from(["apply", "hold"]))))
        run.apply(Deposit(f"dollars {name}", now_ns, name, "USDC", 1_000_000_000, "wallet"))
    mark_e8 = data.draw(st.integers(100 * 10**8, 200 * 10**8), label="mark")
    run.apply(_sol_at(mark_e8, "calm", now_ns))
    base_units = 10**9 * data.draw(st.integers(60, 200), label="SOL")
    maker = "6/0"
    run.apply(OpenSubaccount("open maker", now_ns, maker))
    run.apply(Deposit("dollars maker", now_ns, maker, "USDC", 10_000_000_000, "wallet"))
    run.apply(RegisterBackstop("maker", now_ns, maker))
    run.apply(SetBackstopCapacity("capacity", now_ns, maker, "SOL-PERP", 10**14, 10**15))
    trade = BlockTrade("at the edge", now_ns, "SOL-PERP", "4/0", "5/0", base_units, mark_e8, ("4/0", "5/0"))
    assert isinstance(run.apply(trade), Accepted)
    if data.draw(st.booleans(), label="with collateral"):
        run.apply(
            Deposit("collateral", now_ns, "4/0", "SOL", 10**6 * data.draw(st.integers(1, 900)), "wallet")
        )
    run.apply(_sol_at(mark_e8 * data.draw(st.integers(10, 75), label="percent left") // 100, "crash", now_ns))
    assert in_debt(world, "4/0")
    return world


def _sol_at(price_e8: int, command_id: str, now_ns: int) -> UpdatePrices:
    return UpdatePrices(command_id, now_ns, (("SOL", price_e8),), (("SOL-PERP", price_e8),))

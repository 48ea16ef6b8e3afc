"""Random exchanges for hypothesis: the simulation's generator, its choices drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from engine.commands import Command
from engine.margin import outstanding_negative_equity_usd6
from engine.outcome import Outcome
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

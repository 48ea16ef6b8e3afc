"""The story of the demo, chapter by chapter: what happens, why, and what is checked.

Ada trades too large and ends below zero; Dora, a backstop provider, takes her position over; Ben was on the
other side and is owed more than there is; Cleo is careful. Every number on the screen was asked of the chain
or of the daemon; none is written here but the sums that people send and the figures that the checks expect.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console

from chain.errors import ChainError
from daemon.demo.checks import Checks
from daemon.demo.crash import Crash
from daemon.demo.market import Market
from daemon.demo.stage import stage
from daemon.demo.whole import Whole
from daemon.errors import DaemonError


class Story(Crash, Whole, Market):
    """All chapters in one hand."""


def play(keep: Path | None) -> int:
    """Play the whole demo; returns the exit status."""
    console = Console(highlight=False)
    checks = Checks(console)
    started = time.monotonic()
    try:
        if keep is not None:
            asyncio.run(_play(keep, console, checks))
        else:
            with tempfile.TemporaryDirectory(prefix="makewhole-demo-") as folder:
                asyncio.run(_play(Path(folder), console, checks))
    except (DaemonError, ChainError, TimeoutError) as error:
        console.print(f"\n[bold red]The demo broke off:[/] {error}", markup=True)
        return 1
    console.print()
    console.rule("[bold]What was claimed", align="left")
    checks.show()
    verdict = "[bold green]All of it held" if checks.all_held else "[bold red]Not all of it held"
    console.print(f"\n{verdict}[/]: {len(checks.held)} claims in {time.monotonic() - started:.0f} s.")
    if keep is not None:
        console.print(f"Database, configuration and log are in {keep}.")
    return 0 if checks.all_held else 1


async def _play(folder: Path, console: Console, checks: Checks) -> None:
    console.rule("[bold]makewhole demo")
    console.print("From a transfer on chain to a payout on chain, with a crash and two kills in between.")
    async with stage(folder) as made:
        story = Story(made, console, checks)
        for chapter in (
            story.a_chain_and_a_daemon,
            story.deposits,
            story.trades_and_a_crash,
            story.withdrawals_that_do_not_pass,
            story.a_deposit_and_a_kill,
            story.another_asset,
            story.payouts_and_another_kill,
            story.the_market_goes_on,
            story.the_books,
        ):
            await chapter()

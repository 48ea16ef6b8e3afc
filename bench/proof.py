"""What a proof of solvency costs the daemon that makes it: how long deposits wait with it and without it.

The daemon's single writer commits a deposit every few milliseconds to SQLite with full sync, while a picture
of the ledger is taken and a worker process at the lowest priority proves it. The pause is what the picture
alone takes from the writer.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from solders.keypair import Keypair

from daemon.clock import SystemClock
from daemon.proof import messages as msg
from daemon.proof.balances import Picture, take_picture
from daemon.proof.files import ProofFolder
from daemon.proof.workshop import Workshop
from daemon.runner import Runner
from daemon.store.database import Database
from engine import commands as cm
from engine.apply import Accepted, apply
from engine.state import State
from engine.units import PPM

from .engine import exchange
from .report import Row

EVERY_S = 0.005


async def _deposits(runner: Runner, stop: asyncio.Event, subaccounts: int, name: str) -> list[float]:
    """Commit a deposit every few milliseconds until told to stop; return how long each took, in ms."""
    waits, number = [], 0
    while not stop.is_set():
        key = f"{name}:{number}"
        number += 1
        begun = time.perf_counter()
        await runner.submit(
            lambda now, key=key, number=number: cm.Deposit(  # type: ignore[misc]
                key, now, f"{number % subaccounts}/0", "USDC", 10**6, "x"
            )
        )
        waits.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(EVERY_S)
    return waits


def _job(picture: Picture, owner: Keypair, folder: Path) -> msg.Prove:
    units = sum(row.cash.get("USDC", 0) for row in picture.rows)
    identities = {"USDC": bytes([1]) * 32, "SOL": bytes(32), "BTC": bytes([2]) * 32}
    prices = {"USDC": 10**8, "SOL": 200 * 10**8, "BTC": 60_000 * 10**8}
    decimals = {"USDC": 6, "SOL": 9, "BTC": 8}
    return msg.Prove(
        epoch=1,
        previous_hash=bytes(32),
        slot=1,
        assets=[msg.AssetTerms(s, identities[s], decimals[s], prices[s], PPM) for s in identities],
        picture=picture.without_rows(),
        ids={},
        set_aside={},
        reserves=[msg.Reserve("USDC", bytes(owner.pubkey()), bytes(owner.pubkey()), units)],
        operator=bytes(owner.pubkey()),
        master=bytes(range(32)),
        folder=str(folder),
        workers=1,
        row_messages=-(-len(picture.rows) // Workshop.ROWS_IN_A_MESSAGE),
    )


async def _prove(runner: Runner, folder: Path) -> tuple[float, float]:
    """Return (seconds of an epoch, milliseconds that the picture took)."""
    pauses = []

    def question(state: State) -> Picture:
        begun = time.perf_counter()
        picture = take_picture(state)
        pauses.append((time.perf_counter() - begun) * 1000)
        return picture

    begun = time.perf_counter()
    picture = await runner.ask(question)
    owner = Keypair.from_seed(bytes([7]) * 32)
    workshop = await Workshop.open()

    async def sign(_: bytes, text: bytes) -> bytes:
        return bytes(owner.sign_message(text))

    try:
        proved = await workshop.prove(_job(picture, owner, folder), picture.rows, sign, lambda _: None)
        signature = bytes(owner.sign_message(proved.operator_message))
        await workshop.seal(msg.Seal(1, proved.header, signature, str(folder)))
    finally:
        await workshop.close()
    return time.perf_counter() - begun, pauses[0]


async def _measure(subaccounts: int, alone_s: float) -> tuple[list[float], list[float], float, float]:
    state = exchange(subaccounts, 0)
    _populate(state, subaccounts)
    with tempfile.TemporaryDirectory() as directory:
        folder = ProofFolder(Path(directory) / "proof")
        folder.prepare()
        database = Database(Path(directory) / "bench.sqlite")
        runner = Runner(state, state.sequence, bytes(32), database, SystemClock())
        writer = asyncio.create_task(runner.run())
        stop = asyncio.Event()
        alone = asyncio.create_task(_deposits(runner, stop, subaccounts, "alone"))
        await asyncio.sleep(alone_s)
        stop.set()
        without = await alone
        stop = asyncio.Event()
        beside = asyncio.create_task(_deposits(runner, stop, subaccounts, "beside"))
        seconds, pause_ms = await _prove(runner, folder.path)
        stop.set()
        with_proof = await beside
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        database.close()
    return without, with_proof, seconds, pause_ms


def _populate(state: State, subaccounts: int) -> None:
    """Give everybody USDC and SOL; every fifth lends 5 SOL, every twentieth has borrowed 1."""

    def must(command: cm.Command) -> None:
        outcome = apply(state, command)
        if not isinstance(outcome, Accepted):
            raise RuntimeError(f"the workload is wrong: {command} gave {outcome}")

    now = state.last_time_ns
    for number in range(subaccounts):
        for asset, units in (("USDC", 10**9), ("SOL", 10**10)):
            must(cm.Deposit(f"fund:{number}:{asset}", now, f"{number}/0", asset, units, "x"))
        if number % 5 == 1:
            must(cm.Lend(f"lend:{number}", now, f"{number}/0", "SOL", 5 * 10**9))
        if number % 20 == 2:
            must(cm.Borrow(f"borrow:{number}", now, f"{number}/0", "SOL", 10**9))


def run(quick: bool, block: Path | None) -> list[Row]:
    subaccounts = 1_000 if quick else 10_000
    without, with_proof, seconds, pause_ms = asyncio.run(_measure(subaccounts, 3 if quick else 10))
    workload = f"{subaccounts:,} customers x 2 assets, 5% borrow; a deposit every {EVERY_S * 1000:.0f} ms"
    rows = [
        Row("an epoch of the daemon's, deposits going on", workload, seconds, "s", aim="600 s"),
        Row("the writer's pause for the picture of an epoch", workload, pause_ms, "ms"),
    ]
    for name, place in (("median", 50), ("p99", 99)):
        ours, theirs = (
            statistics.quantiles(waits, n=100, method="inclusive")[place - 1]
            for waits in (with_proof, without)
        )
        rows.append(
            Row(
                question=f"a deposit's way to the disk while an epoch is proved, {name}",
                workload=workload,
                figure=ours,
                unit="ms",
                alternative="without a proof",
                alternative_figure=theirs,
                ratio=theirs / ours,
            )
        )
    return rows

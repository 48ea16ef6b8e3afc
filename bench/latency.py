"""What watching adds on top of finality: from the instant a block is final to the commit of its deposits.

The embedded validator runs on a clock in a thread of its own and says when it makes a block final. The
watcher asks it over HTTP and WebSocket as it would any cluster; inbox, engine and SQLite with full sync
follow. The alternative is what tutorials do: ask getSignaturesForAddress at `finalized` once a second.
"""

from __future__ import annotations

import asyncio
import base64
import random
import statistics
import tempfile
import time
from pathlib import Path

from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.credits import ScannedBlock
from chain.rpc import Endpoint, RpcPool
from chain.scanner import Watchlist
from chain.tokens import NATIVE_SOL
from chain.watcher import DepositWatcher, WatcherOptions
from daemon.clock import SystemClock
from daemon.inbox import AddressBook, Inbox
from daemon.runner import Answer, Runner
from daemon.store.database import Database
from localnet import Validator
from localnet.events import Event, SlotRooted

from .engine import exchange
from .report import Row

SLOT_MS = 200
POLL_S = 1.0


async def _send(pool: RpcPool, payer: Keypair, to: Keypair, count: int, rng: random.Random) -> list[str]:
    """Send that many transfers at random instants and return their signatures."""
    signatures = []
    for number in range(count):
        latest = await pool.call("getLatestBlockhash", [{"commitment": "processed"}])
        order = transfer(
            TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to.pubkey(), lamports=2_000_000 + number)
        )
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        signed = VersionedTransaction(Message.new_with_blockhash([order], payer.pubkey(), blockhash), [payer])
        encoded = base64.b64encode(bytes(signed)).decode()
        options = {"encoding": "base64", "preflightCommitment": "processed"}
        signatures.append(await pool.call("sendTransaction", [encoded, options], type=str))
        await asyncio.sleep(rng.uniform(0.5, 1.5) * SLOT_MS / 1000)
    return signatures


class _Committed(Inbox):
    """The daemon's inbox, noting when each block with deposits was durable."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.at: dict[str, tuple[int, float]] = {}

    async def take(self, block: ScannedBlock) -> list[Answer]:
        answers = await super().take(block)
        for credit in block.credits:
            self.at[credit.signature] = (block.slot, time.perf_counter())
        return answers


async def _poll(pool: RpcPool, address: str, seen: dict[str, tuple[int, float]]) -> None:
    while True:
        found = await pool.call("getSignaturesForAddress", [address, {"commitment": "finalized"}])
        for one in found:
            seen.setdefault(one["signature"], (one["slot"], time.perf_counter()))
        await asyncio.sleep(POLL_S)


async def _measure(count: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from finality to the commit, by watching and by polling."""
    final_at: dict[int, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, SlotRooted):
            final_at[event.slot] = time.perf_counter()

    payer, customer = Keypair(), Keypair()
    polled: dict[str, tuple[int, float]] = {}
    state = exchange(10, 0)
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "bench.sqlite")
        runner = Runner(state, state.sequence, bytes(32), database, SystemClock())
        book = AddressBook()
        book.add("0/0", str(customer.pubkey()))
        inbox = _Committed(runner, book, [NATIVE_SOL])
        watchlist = Watchlist([NATIVE_SOL])
        watchlist.add(str(customer.pubkey()))
        async with Validator(rpc_port=0, ws_port=0, slot_ms=SLOT_MS) as validator:
            validator.airdrop(payer.pubkey(), 1_000 * 10**9)
            validator.call(validator.ledger.subscribe, listen)
            endpoint = Endpoint(validator.rpc_url, validator.ws_url)
            async with RpcPool([endpoint], requests_per_second=1_000) as pool:
                await pool.check_genesis(None)
                watcher = DepositWatcher(pool, watchlist, options=WatcherOptions(early_notice=False))
                tasks = [
                    asyncio.create_task(runner.run()),
                    asyncio.create_task(inbox.follow(watcher.blocks())),
                    asyncio.create_task(_poll(pool, str(customer.pubkey()), polled)),
                ]
                await asyncio.sleep(1)
                signatures = await _send(pool, payer, customer, count, random.Random(11))
                async with asyncio.timeout(30):
                    while not all(one in inbox.at and one in polled for one in signatures):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        database.close()
    return (
        [(at - final_at[slot]) * 1000 for one in signatures for slot, at in [inbox.at[one]]],
        [(at - final_at[slot]) * 1000 for one in signatures for slot, at in [polled[one]]],
    )


def run(quick: bool, block: Path | None) -> list[Row]:
    count = 20 if quick else 200
    watched, polled = asyncio.run(_measure(count))
    rows = []
    for name, place in (("median", 50), ("p99", 99)):
        ours = statistics.quantiles(watched, n=100, method="inclusive")[place - 1]
        theirs = statistics.quantiles(polled, n=100, method="inclusive")[place - 1]
        rows.append(
            Row(
                question=f"deposit latency on top of finality, {name}",
                workload=f"{count} SOL deposits, {SLOT_MS} ms slots, one endpoint, committed to SQLite",
                figure=ours,
                unit="ms",
                alternative=f"getSignaturesForAddress asked every {POLL_S:.0f} s, nothing committed",
                alternative_figure=theirs,
                ratio=theirs / ours,
                aim="< 50 ms" if place == 99 else "",
            )
        )
    return rows

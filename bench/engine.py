"""How many deposits per second does one core take, in memory and durable?

In memory: `apply`, the journal's encoding and its hash chain, for deposits to subaccounts without a debt; the
alternative is the least a ledger can do, adding to a dictionary, with the very same journal behind it. A
second row has every tenth deposit meet a debt. Durable: the daemon's own road, scanned blocks through the
single writer into SQLite with full sync; the alternative commits each deposit in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from chain.credits import Credit, ScannedBlock
from chain.tokens import NATIVE_SOL, TOKEN_PROGRAM, TokenMint
from daemon.clock import SystemClock
from daemon.inbox import AddressBook, Inbox
from daemon.runner import Runner
from daemon.store.database import Database
from engine import commands as cm
from engine.apply import apply
from engine.journal import GENESIS_HASH, chain_hash, encode_command, encode_outcome
from engine.outcome import Accepted
from engine.params import default_params
from engine.state import State, new_state

from .blocks import address
from .report import Row

START_NS = 1_790_000_000_000_000_000
MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
CREDITS_IN_A_BLOCK = 100


def _accepted(state: State, command: cm.Command) -> None:
    outcome = apply(state, command)
    if not isinstance(outcome, Accepted):
        raise RuntimeError(f"the workload is wrong: {command} gave {outcome}")


def exchange(subaccounts: int, indebted: int) -> State:
    """Return a state with so many open subaccounts, the first `indebted` of them below zero."""
    state = new_state(default_params())
    now = START_NS
    prices = (("SOL", 200 * 10**8),)
    _accepted(state, cm.UpdatePrices("open", now, prices, (("SOL-PERP", 200 * 10**8),)))
    for number in range(subaccounts):
        _accepted(state, cm.OpenSubaccount(f"open:{number}", now, f"{number}/0"))
    if indebted:
        # A provider takes positions at mark from whoever has nothing left, so that a debt remains (R23).
        provider = f"{subaccounts}/0"
        _accepted(state, cm.OpenSubaccount("open:provider", now, provider))
        _accepted(state, cm.Deposit("fund:provider", now, provider, "USDC", 10**15, "x"))
        _accepted(state, cm.RegisterBackstop("register", now, provider))
        _accepted(state, cm.SetBackstopCapacity("capacity", now, provider, "SOL-PERP", 10**16, 10**16))
    for number in range(indebted):
        loser, winner = f"{number}/0", f"{subaccounts - 1 - number}/0"
        for name, units in ((loser, 1_000_000_000), (winner, 10_000_000_000)):
            _accepted(state, cm.Deposit(f"fund:{name}:USDC", now, name, "USDC", units, "x"))
        _accepted(
            state,
            cm.BlockTrade(
                f"trade:{number}", now, "SOL-PERP", loser, winner, 30 * 10**9, 200 * 10**8, (loser, winner)
            ),
        )
    if indebted:
        crash = (("SOL-PERP", 100 * 10**8),)
        _accepted(state, cm.UpdatePrices("crash", now + 1, (("SOL", 100 * 10**8),), crash))
        _accepted(state, cm.Tick("tick", now + 2))
        if len(state.debts) != indebted:
            raise RuntimeError(f"{len(state.debts)} subaccounts are in debt, {indebted} were to be")
    return state


def _in_memory(deposits: int, subaccounts: int, indebted: int, question: str) -> Row:
    state = exchange(subaccounts, indebted)
    rng = random.Random(3)
    signatures = [address(rng) + address(rng) for _ in range(deposits)]
    now = START_NS + 10
    # Deposits of the indebted come first in each group of ten, small enough to leave them in debt.
    targets = [
        n % indebted if indebted and n % 10 == 0 else indebted + n % (subaccounts - indebted)
        for n in range(deposits)
    ]
    work = [
        cm.Deposit(f"{signature}:account:{MINT}", now, f"{targets[n]}/0", "USDC", 200_000, "sender")
        for n, signature in enumerate(signatures)
    ]
    link = GENESIS_HASH(state.params)
    begun = time.perf_counter()
    for command in work:
        outcome = apply(state, command)
        link = chain_hash(link, state.sequence, encode_command(command), encode_outcome(outcome))
    ours = deposits / (time.perf_counter() - begun)
    balances: dict[str, int] = {}
    outcome_bytes = encode_outcome(outcome)
    begun = time.perf_counter()
    for sequence, command in enumerate(work):
        balances[command.subaccount] = balances.get(command.subaccount, 0) + command.units
        encoded = encode_command(command)
        link = sha256(link + sequence.to_bytes(8, "big") + encoded + outcome_bytes).digest()
    least = deposits / (time.perf_counter() - begun)
    share = "every tenth to a subaccount in debt" if indebted else "none in debt"
    return Row(
        question=question,
        workload=(
            f"{deposits:,} USDC deposits to {subaccounts:,} subaccounts, {share}; "
            "journal and hash chain included"
        ),
        figure=ours,
        unit="deposits/s",
        alternative="a dictionary of balances with the same journal of commands",
        alternative_figure=least,
        ratio=ours / least,
        aim=">= 50,000 deposits/s" if not indebted else "",
    )


def _blocks(count: int, addresses: list[str]) -> list[ScannedBlock]:
    rng = random.Random(5)
    blocks = []
    for slot in range(1, count + 1):
        found = [
            Credit(
                signature=address(rng) + address(rng),
                slot=slot,
                blockhash=f"hash-{slot}",
                account="account",
                address=addresses[rng.randrange(len(addresses))],
                mint=MINT,
                symbol="USDC",
                units=1_000_000,
                sender="sender",
                block_time=1_790_000_000,
            )
            for _ in range(CREDITS_IN_A_BLOCK)
        ]
        blocks.append(
            ScannedBlock(slot, f"hash-{slot}", slot - 1, f"hash-{slot - 1}", 0, tuple(found), (), 1)
        )
    return blocks


async def _committed(blocks: list[ScannedBlock], subaccounts: int, *, one_by_one: bool) -> float:
    """Return deposits per second through inbox, single writer and SQLite, in a temporary directory."""
    state = exchange(subaccounts, 0)
    book = AddressBook()
    for number in range(subaccounts):
        book.add(f"{number}/0", f"address-{number}")
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "bench.sqlite")
        runner = Runner(
            state, state.sequence, bytes(32), database, SystemClock(), batch_limit=1 if one_by_one else 1000
        )
        writing = asyncio.create_task(runner.run())
        inbox = Inbox(runner, book, [NATIVE_SOL, TokenMint("USDC", MINT, TOKEN_PROGRAM, 6)])
        begun = time.perf_counter()
        if one_by_one:
            for block in blocks:
                for credit in block.credits:
                    single = replace(block, credits=(credit,))
                    await inbox.take(single)
        else:
            await asyncio.gather(*(inbox.take(block) for block in blocks))
        taken = time.perf_counter() - begun
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        stored = len(database.deposits(limit=10**9))
        database.close()
    total = sum(len(block.credits) for block in blocks)
    if stored != total:
        raise RuntimeError(f"{stored} deposits are in the database, {total} were sent")
    return total / taken


def run(quick: bool, block: Path | None) -> list[Row]:
    deposits, subaccounts = (5_000, 1_000) if quick else (200_000, 10_000)
    rows = [
        _in_memory(deposits, subaccounts, 0, "deposits in memory"),
        _in_memory(deposits // 10, 1_000, 100, "deposits in memory, some in debt"),
    ]
    addresses = [f"address-{n}" for n in range(1_000)]
    many, few = (20, 2) if quick else (400, 10)
    batched = asyncio.run(_committed(_blocks(many, addresses), 1_000, one_by_one=False))
    single = asyncio.run(_committed(_blocks(few, addresses), 1_000, one_by_one=True))
    rows.append(
        Row(
            question="durable deposits",
            workload=(
                f"{many * CREDITS_IN_A_BLOCK:,} deposits in blocks of {CREDITS_IN_A_BLOCK}, as in a "
                "back-fill: inbox, engine, journal, SQLite (WAL, full sync), acknowledged"
            ),
            figure=batched,
            unit="deposits/s",
            alternative="one transaction per deposit",
            alternative_figure=single,
            ratio=batched / single,
            aim=">= 10,000 deposits/s",
        )
    )
    return rows

"""The payer dies at every point there is, and the payout lands exactly once (W1, W3)."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from solders.keypair import Keypair

from chain.payer import Payer, PayoutRequest, PayoutState
from chain.signer import KeypairSigner
from chain.submission import PayoutRecord, decode_record
from chain.tokens import TOKEN_PROGRAM

from .paying import OPTIONS, Crash, KillSwitch, MemoryStore, Net, cut_wire, new_wallet, running, until

S = PayoutState
SOL = 1_000_000_000
HOT = Keypair.from_seed(b"crash wallet" * 2 + b"!" * 8)
SOURCE = str(HOT.pubkey())


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    made = Net()
    await made.start()
    made.put(SOURCE, 1_000 * SOL)
    yield made
    await made.stop()


async def live(net: Net, store: MemoryStore, request: PayoutRequest, kill_at: int | str | None) -> KillSwitch:
    """One life of the process: submit, run, until the payout is over or the process dies at a point."""
    switch = store.switch = KillSwitch(kill_at)
    death = asyncio.Event()
    wires = [cut_wire(url, switch, death.set) for url in net.urls]
    async with wires[0] as one, wires[1] as two, net.pool(one, two) as pool:
        payer = Payer(pool, KeypairSigner(HOT), SOURCE, store, options=OPTIONS)

        async def work() -> None:
            await payer.submit(request)
            await payer.run()

        async def is_over() -> None:
            def over() -> bool:
                record = store.load(request.id)
                return record is not None and record.is_final and not switch.dead

            await until(lambda: over() or death.is_set(), lambda: f"the end; {store.load(request.id)}")

        tasks = [asyncio.create_task(work()), asyncio.create_task(is_over())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Crash):
                await task
    return switch


def assert_paid_once(net: Net, store: MemoryStore, request: PayoutRequest, before: int) -> PayoutRecord:
    net.ledger.advance(10)
    record = store.load(request.id)
    assert record is not None
    assert record.state is S.FINALIZED, record.failure
    assert before - net.lamports(SOURCE) == record.network_fee_units + (
        request.units if request.mint is None else 0
    )
    landed = [s for s in record.signatures if net.ledger.transaction(s) is not None]
    assert landed == [record.signature], "one set of bytes landed, and it is the last"
    return record


def reachable(store: MemoryStore, payout_id: str) -> list[str]:
    return [state.value for state in store.states(payout_id)]


@pytest.mark.parametrize("downtime_blocks", [0, 250], ids=["short", "past-the-blockhash"])
async def test_w1_killed_at_every_point_in_turn_the_payout_lands_exactly_once(
    net: Net, downtime_blocks: int
) -> None:
    """Before and after every save, before and after every request to a node is executed.

    After a downtime of 250 blocks the bytes are dead unless they landed: whatever was the case, one payment.
    """
    met: set[str] = set()
    number = 0

    async def dies_at(point: int | str) -> bool:
        nonlocal number
        number += 1
        store = MemoryStore()
        request = PayoutRequest(f"w{number}", "SOL", None, SOL + number, new_wallet())
        before = net.lamports(SOURCE)
        switch = await live(net, store, request, point)
        if switch.dead:
            met.add(switch.points[-1])
            net.ledger.advance(downtime_blocks)
            await live(net, store, request, None)
        assert_paid_once(net, store, request, before)
        assert net.lamports(request.destination) == request.units, f"killed {switch.points[-1]}"
        return switch.dead

    point = 0
    while await dies_at(point):
        point += 1
    # How often the chain is asked differs between lives, so the late points are also met by name. Sent and
    # confirmed race: the watcher may see the landing before the sender has its answer.
    methods = ("sendTransaction", "getSignatureStatuses", "getTransaction", "simulateTransaction")
    states = (S.REQUESTED, S.RESERVED, S.SIGNED, S.FINALIZED)
    names = [*methods, *(f"saving {state.value}" for state in states)]
    for name in (f"{when} {name}" for name in names for when in ("before", "after")):
        assert name in met or await dies_at(name), name
    assert met & {"after saving sent", "after saving confirmed"}


@pytest.mark.parametrize("seed", range(12))
async def test_w1_killed_again_and_again_at_random_the_payout_lands_exactly_once(net: Net, seed: int) -> None:
    """Several deaths in one payout's life, with downtimes around the life of a blockhash, and a token."""
    chance = random.Random(seed)
    mint: str | None = None
    if seed % 2:
        mint = net.new_mint()
        net.give_tokens(SOURCE, mint, TOKEN_PROGRAM, 10**9)
    store = MemoryStore()
    request = PayoutRequest("w", "USDC" if mint else "SOL", mint, SOL // 100 + seed, new_wallet())
    before = net.lamports(SOURCE)
    for _ in range(chance.randrange(3, 9)):
        await live(net, store, request, chance.randrange(0, 40))
        net.ledger.advance(chance.choice([1, 30, 145, 151, 156, 400]))
    await live(net, store, request, None)
    assert_paid_once(net, store, request, before)
    paid = net.lamports(request.destination) if mint is None else net.units(
        request.destination, mint, TOKEN_PROGRAM
    )  # fmt: skip
    assert paid == request.units, f"seed {seed}: {reachable(store, 'w')}"


async def test_w3_killed_between_expiry_and_the_new_bytes_the_payout_lands_exactly_once(net: Net) -> None:
    """Every save of the road through expiry, with the old bytes never sent."""
    kill_at, met = 0, set()
    while True:
        store = MemoryStore()
        request = PayoutRequest(f"e{kill_at}", "SOL", None, SOL + kill_at, new_wallet())
        before = net.lamports(SOURCE)
        for faults in net.faults:
            faults.drop(methods=["sendTransaction"])
        async with net.pool() as pool:
            payer = Payer(pool, KeypairSigner(HOT), SOURCE, store, options=OPTIONS)
            await payer.submit(request)
            async with running(payer):
                await until(lambda s=store: S.SENT in s.states(s.history[0].id), "sent")
        net.ledger.advance(200)
        for faults in net.faults:
            faults.clear()
        switch = await live(net, store, request, kill_at)
        dead = switch.dead
        if dead:
            met.add(switch.points[-1])
            await live(net, store, request, None)
        record = assert_paid_once(net, store, request, before)
        assert len(record.attempts) >= 2
        assert net.lamports(request.destination) == request.units
        if not dead:
            break
        kill_at += 1
    assert {"before saving expired", "after saving expired", "before isBlockhashValid"} <= met


# A real process and a real signal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point", ["requested-", "reserved+", "signed-", "signed+", "sent-", "sent+", "finalized-"]
)
async def test_w1_a_process_killed_with_sigkill_at_a_save_pays_exactly_once(
    net: Net, tmp_path: Path, point: str
) -> None:
    request = PayoutRequest("w1", "SOL", None, SOL + 3, new_wallet())
    before = net.lamports(SOURCE)
    task = {
        "urls": net.urls,
        "secret": list(bytes(HOT)),
        "folder": str(tmp_path),
        "units": request.units,
        "destination": request.destination,
    }

    async def process(kill_at: str) -> int:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("payer_process.py")),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(
            started.communicate(json.dumps(task | {"kill_at": kill_at}).encode()), 60
        )
        assert started.returncode is not None
        assert started.returncode <= 0, errors.decode()
        return started.returncode

    if point.startswith("sent"):  # the watcher must not be faster than the sender
        for faults in net.faults:
            faults.drop(methods=["getSignatureStatuses"])
    assert await process(point) == -signal.SIGKILL
    for faults in net.faults:
        faults.clear()
    assert await process("") == 0
    record = decode_record((tmp_path / "w1").read_bytes())
    assert record.state is S.FINALIZED
    net.ledger.advance(10)
    assert net.lamports(request.destination) == request.units
    assert before - net.lamports(SOURCE) == request.units + record.network_fee_units


async def test_a_crash_in_one_payout_takes_all_down_and_all_come_back(net: Net) -> None:
    store = MemoryStore()
    requests = [PayoutRequest(f"w{n}", "SOL", None, SOL + n, new_wallet()) for n in range(8)]
    async with net.pool() as pool:
        payer = Payer(pool, KeypairSigner(HOT), SOURCE, store, options=replace(OPTIONS, prepare_at_once=4))
        for request in requests:
            await payer.submit(request)
        store.switch = KillSwitch(25)
        with pytest.raises(Crash):
            await payer.run()
        store.switch = KillSwitch()
        reborn = Payer(pool, KeypairSigner(HOT), SOURCE, store, options=OPTIONS)
        async with running(reborn):
            await until(lambda: not store.load_open(), lambda: f"all over; {store.load_open()}")
    for request in requests:
        assert net.lamports(request.destination) == request.units

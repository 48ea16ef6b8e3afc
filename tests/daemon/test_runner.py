"""The single writer: durable before acknowledged, and the same state after every restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon import runner as runner_module
from daemon.clock import ManualClock, SystemClock
from daemon.errors import ConfigError, InvariantBreach, StoreCorrupt, StoreStopped, WrongCluster
from daemon.inbox import tick
from daemon.recovery import Recovered, check_identity, recover, stored_params
from daemon.runner import Runner
from daemon.store import Database
from engine.commands import Deposit, OpenSubaccount, RequestWithdrawal
from engine.invariants import Breach
from engine.outcome import Accepted, Rejected
from engine.params import default_params
from engine.snapshot import state_hash
from engine.state import State

PARAMS = default_params()
CLUSTER, WALLET = "cluster", "wallet"


def opened(path: Path) -> Database:
    database = Database(path / "makewhole.sqlite")
    check_identity(database, PARAMS, CLUSTER, WALLET)
    return database


@contextlib.asynccontextmanager
async def running(
    path: Path, *, from_genesis: bool = False, snapshot_every: int = 100_000
) -> AsyncIterator[tuple[Runner, Recovered]]:
    database = opened(path)
    recovered = recover(database, PARAMS, from_genesis=from_genesis)
    clock = ManualClock(1)
    clock.note(recovered.state.last_time_ns)
    runner = Runner(
        recovered.state,
        recovered.sequence,
        recovered.chain_hash,
        database,
        clock,
        snapshot_every=snapshot_every,
    )
    task = asyncio.create_task(runner.run())
    try:
        yield runner, recovered
    finally:
        runner.close()
        await asyncio.gather(task, return_exceptions=True)
        database.close()


async def deposited(runner: Runner, count: int, start: int = 0) -> None:
    await runner.submit(lambda now: OpenSubaccount("open:7/0", now, "7/0"))
    await asyncio.gather(
        *(
            runner.submit(lambda now, n=n: Deposit(f"sig{n}:a:m", now, "7/0", "USDC", 1_000_000 + n, "x"))  # type: ignore[misc]
            for n in range(start, start + count)
        )
    )


async def test_r5_a_restart_gives_the_same_state_from_snapshot_and_from_genesis(tmp_path: Path) -> None:
    async with running(tmp_path, snapshot_every=40) as (runner, _):
        await deposited(runner, 100)
        runner.clock.note(5)
        await runner.submit(tick)
        before = await runner.ask(state_hash), runner.sequence, runner.hash
    async with running(tmp_path) as (runner, recovered):
        assert recovered.replayed == 0  # the graceful stop took a snapshot
        assert (await runner.ask(state_hash), runner.sequence, runner.hash) == before
    async with running(tmp_path, from_genesis=True) as (runner, recovered):
        assert recovered.replayed == before[1]
        assert (await runner.ask(state_hash), runner.sequence, runner.hash) == before


async def test_many_commands_share_a_transaction(tmp_path: Path) -> None:
    async with running(tmp_path) as (runner, _):
        await deposited(runner, 500)
        assert runner.sequence == 501
        assert runner.batches <= 4


async def test_r4_the_same_id_again_gets_the_first_answer_and_no_journal_entry(tmp_path: Path) -> None:
    async with running(tmp_path) as (runner, _):
        await deposited(runner, 1)
        runner.clock.note(9)
        again = await runner.submit(lambda now: Deposit("sig0:a:m", now, "7/0", "USDC", 1_000_000, "x"))
        assert isinstance(again.outcome, Accepted)
        assert again.sequence is None
        other = await runner.submit(lambda now: Deposit("sig0:a:m", now, "7/0", "USDC", 2_000_000, "x"))
        assert isinstance(other.outcome, Rejected)
        assert other.outcome.reason.value == "id_reused_with_different_body"
        assert runner.sequence == 2
    async with running(tmp_path) as (runner, _):
        again = await runner.submit(lambda now: Deposit("sig0:a:m", now, "7/0", "USDC", 1_000_000, "x"))
        assert again.sequence is None


async def test_a_refusal_is_journaled_and_replayed(tmp_path: Path) -> None:
    async with running(tmp_path) as (runner, _):
        answer = await runner.submit(lambda now: RequestWithdrawal("w", now, "7/0", "USDC", 5, "dest"))
        assert isinstance(answer.outcome, Rejected)
        assert answer.sequence == 1
    async with running(tmp_path, from_genesis=True) as (_, recovered):
        assert recovered.replayed == 1


async def test_a_failed_write_acknowledges_nothing_and_stops_the_writer(tmp_path: Path) -> None:
    database = opened(tmp_path)
    recovered = recover(database, PARAMS)
    assert recovered.state.screen is not None, "R33: a daemon screens, whatever it starts from"
    runner = Runner(recovered.state, 0, recovered.chain_hash, database, ManualClock(1))
    task = asyncio.create_task(runner.run())
    await deposited(runner, 1)
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    waiting = [
        asyncio.create_task(
            runner.submit(
                lambda now, n=n: Deposit(f"{n}" * 200 + ":a:m", now, "7/0", "USDC", 10**6, "x" * 200)
            )  # type: ignore[misc]
        )
        for n in range(1, 10)
        for _ in range(20)
    ]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    # Those that the disk still took are acknowledged; everything after the failure is refused.
    refused = [one for one in results if isinstance(one, StoreStopped)]
    assert refused
    with pytest.raises(StoreStopped, match="disk is full"):
        await task
    with pytest.raises(StoreStopped, match="nothing more is accepted"):
        await runner.submit(tick)
    durable = database.last_sequence()
    acknowledged = {one.sequence for one in results if not isinstance(one, BaseException) and one.sequence}
    assert all(sequence <= durable for sequence in acknowledged)
    database.close()


async def test_a_broken_invariant_stops_the_writer_before_anything_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(tmp_path)
    recovered = recover(database, PARAMS)
    runner = Runner(recovered.state, 0, recovered.chain_hash, database, ManualClock(1))
    task = asyncio.create_task(runner.run())
    monkeypatch.setattr(runner_module, "check_totals", lambda _: [Breach("I1", "off by one")])
    with pytest.raises(StoreStopped, match="this was not done"):
        await runner.submit(tick)
    with pytest.raises(InvariantBreach, match="I1"):
        await task
    assert database.last_sequence() == 0
    database.close()


async def test_a_question_that_fails_is_its_askers_problem(tmp_path: Path) -> None:
    def broken(_: State) -> int:
        raise KeyError("nobody")

    async with running(tmp_path) as (runner, _):
        with pytest.raises(KeyError, match="nobody"):
            await runner.ask(broken)
        assert (await runner.submit(tick)).sequence == 1


# -- what a start refuses --


async def journaled(path: Path, count: int = 5) -> None:
    async with running(path) as (runner, _):
        await deposited(runner, count - 1)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("UPDATE journal SET hash = zeroblob(32) WHERE sequence = 4", "sequence 4: the hash does not match"),
        (
            "UPDATE journal SET command = CAST(replace(command, 'USDC', 'USDX') AS BLOB) WHERE sequence = 3",
            "sequence 3",
        ),
        ("UPDATE journal SET outcome = X'7b7d' WHERE sequence = 5", "sequence 5"),
        ("DELETE FROM journal WHERE sequence = 3", "sequence 4: expected entry 3"),
        ("UPDATE journal SET command = X'00' WHERE sequence = 5", "sequence 5"),
    ],
)
async def test_a_corrupt_journal_is_refused_where_it_breaks(tmp_path: Path, damage: str, why: str) -> None:
    await journaled(tmp_path)
    database = opened(tmp_path)
    database._connection.execute("DELETE FROM snapshots")
    database._connection.execute(damage)
    with pytest.raises(StoreCorrupt) as caught:
        recover(database, PARAMS)
    assert f"the journal is corrupt at {why}" in str(caught.value)
    assert "Restore the file from a backup" in str(caught.value)
    database.close()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("UPDATE journal SET outcome = X'7b7d' WHERE sequence = 5", "sequence 5: the hash does not match"),
        ("UPDATE journal SET command = X'7b7d' WHERE sequence = 2", "sequence 2: the hash does not match"),
        ("DELETE FROM journal WHERE sequence >= 4", "sequence 4: missing, though a snapshot is at 5"),
        ("DELETE FROM journal WHERE sequence = 4", "sequence 4: missing"),
    ],
)
async def test_a_corrupt_tail_is_refused_even_behind_a_snapshot(
    tmp_path: Path, damage: str, why: str
) -> None:
    await journaled(tmp_path)
    database = opened(tmp_path)
    database._connection.execute(damage)
    with pytest.raises(StoreCorrupt, match=f"the journal is corrupt at {why}"):
        recover(database, PARAMS)
    database.close()


async def test_a_consistent_forgery_of_the_tail_is_refused_by_its_outcome(tmp_path: Path) -> None:
    """R5: a tail whose hashes were recomputed still has to give the outcomes beside it."""
    from engine.journal import GENESIS_HASH, chain_hash

    await journaled(tmp_path)
    database = opened(tmp_path)
    database._connection.execute("DELETE FROM snapshots")
    rows = list(database.journal())
    forged = rows[3].outcome.replace(b'"credited_units":1000002', b'"credited_units":9000002')
    assert forged != rows[3].outcome
    link = GENESIS_HASH(PARAMS)
    for row in rows:
        outcome = forged if row.sequence == 4 else row.outcome
        link = chain_hash(link, row.sequence, row.command, outcome)
        database._connection.execute(
            "UPDATE journal SET outcome = ?, hash = ? WHERE sequence = ?", (outcome, link, row.sequence)
        )
    with pytest.raises(
        StoreCorrupt, match="corrupt at sequence 4: the outcome differs from the one recorded"
    ):
        recover(database, PARAMS)
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE snapshots SET state = CAST(replace(state, '1000001', '9000001') AS BLOB)",
        "UPDATE snapshots SET state_hash = 'x'",
        "UPDATE snapshots SET hash = zeroblob(32)",
        "UPDATE snapshots SET state = X'7b'",
    ],
)
async def test_a_damaged_snapshot_is_refused_and_the_journal_still_serves(
    tmp_path: Path, damage: str
) -> None:
    await journaled(tmp_path)
    database = opened(tmp_path)
    database._connection.execute(damage)
    with pytest.raises(
        StoreCorrupt, match=r"snapshot at sequence 5 is damaged. Start with `makewhole run --from-genesis`"
    ):
        recover(database, PARAMS)
    assert recover(database, PARAMS, from_genesis=True).sequence == 5
    database.close()


def test_a_data_directory_belongs_to_one_cluster_wallet_and_set_of_parameters(tmp_path: Path) -> None:
    import dataclasses

    database = opened(tmp_path)
    assert stored_params(database) == PARAMS
    check_identity(database, PARAMS, CLUSTER, WALLET)
    with pytest.raises(
        WrongCluster, match="belongs to the chain with genesis cluster, the configuration says other"
    ):
        check_identity(database, PARAMS, "other", WALLET)
    with pytest.raises(ConfigError, match="this seed gives the hot wallet other"):
        check_identity(database, PARAMS, CLUSTER, "other")
    changed = dataclasses.replace(
        PARAMS,
        settlement_interval_ns=1,
        assets=(PARAMS.assets[0], dataclasses.replace(PARAMS.assets[1], haircut_ppm=1), *PARAMS.assets[2:]),
    )
    with pytest.raises(ConfigError) as caught:
        check_identity(database, changed, CLUSTER, WALLET)
    assert [fault.split(",")[0] for fault in caught.value.faults] == [
        "assets.SOL.haircut_ppm is 1",
        "settlement_interval_ns is 1",
    ]
    database.close()


# -- the clock --


def test_the_system_clock_gives_no_instant_twice_and_never_goes_back() -> None:
    clock = SystemClock()
    clock.note(2**62)
    assert [clock.now_ns(), clock.now_ns()] == [2**62 + 1, 2**62 + 2]


def test_the_manual_clock_stands_still_until_it_is_set() -> None:
    clock = ManualClock(5)
    assert [clock.now_ns(), clock.now_ns()] == [5, 5]
    assert clock.set(9)
    assert not clock.set(8)
    assert clock.now_ns() == 9

"""The daemon is killed at every durable step in turn, and nobody can tell afterwards.

One road (deposits of SOL and USDC, settlement, two payouts) is walked unkilled once. Then it is walked
again for each step of `daemon.killpoints.STEPS`, with the daemon sent SIGKILL at that step and started
again. Slots, clock and keys are the test's (see `harness`), so the runs must agree in everything: state
hash, journal hash, what each deposit was credited, what landed on chain, and how many transactions the
hot wallet ever paid for.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.api.client import ApiError, NotRunning
from daemon.killpoints import STEPS

from .harness import SOL, USDC, World, wallet, world

# Where on the road the daemon that will be killed is started: before its deposits, before a request to
# withdraw, before a payout becomes final, before a graceful stop.
DEPOSITS, REQUEST, LANDING, STOP = "deposits", "request", "landing", "stop"
BATCH = ("batch.applied", "batch.committing", "batch.committed", "batch.acknowledged")
# Up to three batches carry a block of deposits: sightings, deposits, the empty block behind them.
KILLS = [
    (DEPOSITS, "deposit.scanned:1"),
    *[(DEPOSITS, f"{step}:{n}") for step in BATCH for n in (1, 2)],
    *[(REQUEST, f"{step}:1") for step in BATCH],
    (REQUEST, "payout.submitting:1"),
    *[(REQUEST, f"payout.{when}.{state}:1") for state in ("signed", "sent") for when in ("saving", "saved")],
    *[
        (LANDING, f"payout.{when}.{state}:1")
        for state in ("confirmed", "finalized")
        for when in ("saving", "saved")
    ],
    (LANDING, "payout.settling:1"),
    *[(LANDING, f"{step}:{n}") for step in BATCH for n in (1, 2)],
    (STOP, "snapshot.committing:1"),
    (STOP, "snapshot.committed:1"),
]


@dataclass(frozen=True)
class End:
    """Everything that must not depend on whether the daemon was killed on the way."""

    state_hash: str
    journal_hash: str
    sequence: int
    deposits: tuple[tuple[str, int, str, int], ...]
    payouts: tuple[tuple[str, str, int], ...]
    customer_usdc: int
    customer_lamports: int
    hot_wallet_lamports: int
    unexplained: tuple[int, ...]


class Road:
    """Walks the road; a step that finds the daemon dead starts it again and is repeated."""

    def __init__(self, here: World, where: str, kill_at: str) -> None:
        self.here = here
        self.where = where
        self.kill_at = kill_at
        self.deaths = 0

    async def begin(self, where: str) -> None:
        """Start a part of the road; the daemon that will be killed is started here."""
        process = self.here.process
        if where == self.where:
            assert process is not None
            assert await asyncio.to_thread(process.stop) == 0, process.log()
            await self.here.start(self.kill_at)

    async def step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(5):
            try:
                return await work()
            except (NotRunning, AssertionError) as error:
                process = self.here.process
                assert process is not None
                await asyncio.to_thread(process.popen.wait, 5)
                assert process.popen.returncode == -signal.SIGKILL, (error, process.log())
                self.deaths += 1
                await self.here.start()
        raise AssertionError("the daemon dies again and again")

    async def walk(self) -> End:
        here, client, step = self.here, self.here.client, self.step
        await here.start()
        await here.at(0)
        fees = (await client.get("address", subaccount="fees"))["address"]
        seven = (await client.post("subaccounts", subaccount="7/0"))["address"]
        eight = (await client.post("subaccounts", subaccount="8/0"))["address"]
        await here.send_sol(wallet(3), fees, 50 * SOL)
        await here.send_usdc(wallet(3), fees, 5_000 * USDC)
        await here.scanned()

        await self.begin(DEPOSITS)
        await here.send_sol(wallet(1), seven, 3 * SOL)
        await here.send_usdc(wallet(1), seven, 1_000 * USDC)
        await here.send_usdc(wallet(2), eight, 777 * USDC)
        await asyncio.to_thread(here.validator.finalize)
        await step(here.caught_up)
        await step(lambda: client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"}))
        await step(lambda: here.at(1))
        await step(lambda: client.post("tick"))
        await step(lambda: client.post("attest"))

        for number, (asset, units) in enumerate((("USDC", 400 * USDC), ("SOL", 2 * SOL))):
            await self.pay(f"w{number}", asset, units, first=number == 0)
        await self.begin_stop()
        return await self.end(fees)

    async def pay(self, payout_id: str, asset: str, units: int, *, first: bool) -> None:
        here, client = self.here, self.here.client
        destination = str(wallet(1).pubkey())
        if first:
            await self.begin(REQUEST)
        await self.step(
            lambda: client.post(
                "withdrawals",
                id=payout_id,
                subaccount="7/0",
                asset=asset,
                units=units,
                destination=destination,
            )
        )

        async def on_its_way() -> bool:
            signature = (await here.payout_state(payout_id)).get("signature")
            if not signature:
                return False
            statuses = await here.pool.call("getSignatureStatuses", [[signature]])
            return statuses["value"][0] is not None

        async def confirmed() -> bool:
            return (await here.payout_state(payout_id))["state"] in ("confirmed", "finalized")

        async def settled() -> bool:
            return (await here.payout_state(payout_id))["settled_sequence"] is not None

        # The chain stands still until the payout is signed, stored and sent: its blockhash, and so its
        # signature, is the same in every run.
        await self.step(lambda: here.until("sent", on_its_way))
        if first:
            await self.begin(LANDING)
        await asyncio.to_thread(here.validator.advance, 1)  # confirmed, and not yet final
        await self.step(lambda: here.until("confirmed", confirmed))
        await asyncio.to_thread(here.validator.finalize)
        await self.step(lambda: here.until("settled", settled))
        await asyncio.to_thread(here.validator.finalize)
        await self.step(here.caught_up)

    async def begin_stop(self) -> None:
        """The last stop takes a snapshot; a kill there is found by its exit status."""
        here = self.here
        await self.begin(STOP)
        await self.step(lambda: here.at(3))
        await self.step(lambda: here.client.post("tick"))
        if self.where == STOP:
            assert here.process is not None
            if await asyncio.to_thread(here.process.stop) == -signal.SIGKILL:
                self.deaths += 1
            await here.start()
        await self.step(lambda: here.client.post("attest"))

    async def end(self, fees: str) -> End:
        here = self.here
        status = await here.client.get("status", full="true")
        assert status["breaches"] == []
        assert status["payouts_open"] == 0
        deposits = await here.client.get("deposits")
        payouts = await here.client.get("payouts")
        customer = str(wallet(1).pubkey())
        return End(
            state_hash=status["state_hash"],
            journal_hash=status["journal_hash"],
            sequence=status["sequence"],
            deposits=tuple((d["subaccount"], d["units"], d["status"], d["sequence"]) for d in deposits),
            payouts=tuple((p["id"], p["signature"], p["network_fee_units"]) for p in payouts),
            customer_usdc=await here.usdc_balance(customer),
            customer_lamports=await here.balance(customer),
            hot_wallet_lamports=await here.balance(fees),
            unexplained=tuple(line["unexplained_units"] for line in status["reserves"]),
        )


async def walked(folder: Path, where: str, kill_at: str) -> tuple[End, int]:
    async with world(folder) as here:
        road = Road(here, where, kill_at)
        return await road.walk(), road.deaths


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> End:
    end, deaths = asyncio.run(walked(tmp_path_factory.mktemp("unkilled"), "", ""))
    assert deaths == 0
    return end


def test_the_unkilled_run_is_what_it_should_be(unkilled: End) -> None:
    assert sorted((who, units, status) for who, units, status, _ in unkilled.deposits) == [
        ("7/0", 1_000 * USDC, "credited"),
        ("7/0", 3 * SOL, "credited"),
        ("8/0", 777 * USDC, "credited"),
        ("fees", 5_000 * USDC, "credited"),
        ("fees", 50 * SOL, "credited"),
    ]
    assert unkilled.customer_usdc == 10**6 * USDC - 1_000 * USDC + 400 * USDC
    assert unkilled.unexplained == (0, 0)
    assert unkilled.hot_wallet_lamports == 50 * SOL - 2 * SOL - sum(fee for _, _, fee in unkilled.payouts)


def test_two_unkilled_runs_are_the_same_run(unkilled: End, tmp_path: Path) -> None:
    """Without this, equality after a kill would prove nothing."""
    assert asyncio.run(walked(tmp_path, "", "")) == (unkilled, 0)


@pytest.mark.parametrize(("where", "kill_at"), KILLS)
def test_i10_a_kill_leaves_no_trace(where: str, kill_at: str, unkilled: End, tmp_path: Path) -> None:
    end, deaths = asyncio.run(walked(tmp_path, where, kill_at))
    assert deaths == 1, "the kill point was not passed: this run shows nothing"
    assert end == unkilled


def test_every_step_is_killed_at() -> None:
    of_a_proof = {step for step in STEPS if step.startswith("proof.")}  # test_proof.py
    assert {kill_at.partition(":")[0] for _, kill_at in KILLS} == set(STEPS) - of_a_proof


def test_the_api_refuses_to_turn_the_clock_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with world(tmp_path) as here:
            await here.start()
            await here.at(5)
            with pytest.raises(ApiError) as caught:
                await here.at(4)
            assert caught.value.code == "time_went_back"

    asyncio.run(body())

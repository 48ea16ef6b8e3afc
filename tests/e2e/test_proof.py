"""The proof of solvency, end to end: a crash, its deficit in the bundle, the deposit that settles it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.api.client import ApiError, NotRunning
from daemon.killpoints import STEPS as KILL_POINTS
from daemon.proof.checking import published
from solvency import verifier
from solvency.summary import Summary, summarize
from solvency.verifier import Anchors, Header

from .harness import ROOT, SEED, SOL, USDC, World, wallet, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def opened(here: World) -> tuple[str, str, str]:
    """7/0 with 1,000 USDC, 8/0 with 3,000, the operator with 50 SOL and 5,000 USDC; their addresses."""
    await here.at(0)
    fees = str((await here.client.get("address", subaccount="fees"))["address"])
    seven = str((await here.client.post("subaccounts", subaccount="7/0"))["address"])
    eight = str((await here.client.post("subaccounts", subaccount="8/0"))["address"])
    await here.send_sol(wallet(3), fees, 50 * SOL)
    await here.send_usdc(wallet(3), fees, 5_000 * USDC)
    await here.send_usdc(wallet(1), seven, 1_000 * USDC)
    await here.send_usdc(wallet(2), eight, 3_000 * USDC)
    nine = str((await here.client.post("subaccounts", subaccount="9/0"))["address"])
    await here.send_usdc(wallet(3), nine, 3_000 * USDC)
    await here.scanned()
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})
    return fees, seven, eight


async def crashed(here: World) -> None:
    """7/0 is long 100 SOL at 150, the mark falls to 130, a backstop takes over: 1,000 USDC are missing."""
    await here.client.post("backstop/register", subaccount="9/0")
    capacity = {"per_minute_usd6": 20_000 * USDC, "per_hour_usd6": 100_000 * USDC}
    await here.client.post("backstop/capacity", subaccount="9/0", market="SOL-PERP", **capacity)
    trade = {"market": "SOL-PERP", "base_units": 100 * SOL}
    first = {"buyer": "7/0", "seller": "8/0", "price": "150", "consents": ["7/0", "8/0"]}
    await here.client.post("trades", id="t", **trade, **first)
    await here.at(1)
    await here.client.post("prices", index={"SOL": "130"}, mark={"SOL-PERP": "130"})
    second = {"buyer": "8/0", "seller": "9/0", "price": "130", "consents": ["8/0", "9/0"]}
    await here.client.post("trades", id="u", **trade, **second)
    await here.client.post("tick")


async def proved(here: World) -> tuple[dict[str, Any], bytes]:
    """Make an epoch and wait until its memo is final and booked; returns its body and its bundle."""
    body = await here.client.post("proof")
    memo = f"makewhole:solvency:1:{body['epoch']}:{body['hash']}"
    await here.paid_out(memo)
    await here.caught_up()
    return body, await asyncio.to_thread(Path(body["path"]).read_bytes)


def checked(bundle: bytes, previous: Header | None = None) -> tuple[Header, Summary]:
    header = verifier.check_bundle(bundle, Anchors(previous=previous)).header
    return header, summarize(header)


async def record_of(here: World, header: Header, subaccount: str) -> verifier.RecordReport:
    answer = await here.client.get("proof/record", subaccount=subaccount)
    return verifier.check_record(header, base64.b64decode(answer["record"]), answer["customer_id"])


async def balances_of(here: World, header: Header, subaccount: str) -> dict[str, int]:
    return (await record_of(here, header, subaccount)).balances


async def test_a_crash_its_deficit_and_the_deposit_that_settles_it(here: World) -> None:
    await here.start()
    fees, seven, eight = await opened(here)
    body, bundle = await proved(here)
    first, before = checked(bundle)
    lines = {line.symbol: line for line in before.lines}
    assert (before.epoch, before.covered, before.outstanding_negative_equity_usd6) == (1, True, 0)
    assert lines["USDC"].holdings_units == lines["USDC"].net_units == 12_000 * USDC
    assert lines["SOL"].holdings_units == lines["SOL"].net_units == 50 * SOL
    assert await balances_of(here, first, "7/0") == {"USDC": 1_000 * USDC}
    assert await balances_of(here, first, "8/0") == {"USDC": 3_000 * USDC}
    (memo,) = await published(here.pool, fees, 1)
    assert memo.hash == first.hash == bytes.fromhex(body["hash"])

    await crashed(here)
    body, bundle = await proved(here)
    second, deficit = checked(bundle, first)
    lines = {line.symbol: line for line in deficit.lines}
    assert deficit.outstanding_negative_equity_usd6 == deficit.debts_usd6 == 1_000 * USDC
    # 8/0 has won 2,000 of which 1,000 are paid.
    assert deficit.claims_usd6 == 1_000 * USDC
    assert (deficit.debtors, deficit.listed, deficit.covered) == (1, 1, False)
    assert lines["USDC"].holdings_units == 12_000 * USDC
    assert lines["USDC"].net_units == 13_000 * USDC
    # What the first memo cost is gone from the chain and from the books.
    assert lines["SOL"].holdings_units == lines["SOL"].net_units < 50 * SOL
    report = await record_of(here, second, "7/0")
    assert (report.balances, report.in_debt, report.listed) == ({"debt": 1_000 * USDC}, True, True)
    assert await balances_of(here, second, "8/0") == {"USDC": 4_000 * USDC, "claims": 1_000 * USDC}

    await here.send_usdc(wallet(1), seven, 1_500 * USDC)
    await here.scanned()
    await here.at(2)
    await here.client.post("tick")
    body, bundle = await proved(here)
    third, settled = checked(bundle, second)
    assert (settled.outstanding_negative_equity_usd6, settled.claims_usd6, settled.debts_usd6) == (0, 0, 0)
    assert (settled.debtors, settled.covered) == (0, True)
    lines = {line.symbol: line for line in settled.lines}
    assert lines["USDC"].holdings_units == lines["USDC"].net_units == 13_500 * USDC
    assert await balances_of(here, third, "7/0") == {"USDC": 500 * USDC}
    assert await balances_of(here, third, "8/0") == {"USDC": 5_000 * USDC}
    await here.client.post("attest")
    status = await here.client.get("status", full="true")
    assert [line["unexplained_units"] for line in status["reserves"]] == [0, 0]
    assert status["breaches"] == []
    stand_alone(here, body, await here.client.get("proof/record", subaccount="8/0"), third, eight)


def stand_alone(here: World, body: Any, answer: Any, header: Header, address: str) -> None:
    """The single file, away from the project, says the same."""
    script = here.folder / "verifier.py"
    script.write_bytes((ROOT / "solvency" / "verifier.py").read_bytes())
    record = here.folder / "mine.record"
    record.write_bytes(base64.b64decode(answer["record"]))
    trusted = ["--operator", header.operator.hex(), "--published", body["hash"]]
    mine = ["--record", str(record), "--id", address, "--balance", f"USDC={5_000 * USDC}"]
    for options in (trusted, [*trusted, *mine]):
        done = subprocess.run(
            [sys.executable, "-I", str(script), body["path"], *options],
            cwd=here.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    mine[-1] = f"USDC={5_000 * USDC + 1}"
    done = subprocess.run(
        [sys.executable, "-I", str(script), body["path"], *trusted, *mine],
        cwd=here.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, "balance_differs" in done.stderr) == (1, True)


# -- what a crash of the daemon must not do --


def files_of(here: World, pattern: str) -> list[Path]:
    return sorted((here.folder / "data" / "proof").glob(pattern))


# What the payer does with the memo it does with every payout, and is killed at there (test_kill.py).
STEPS = (
    "proof.pictured",
    "proof.proved",
    "proof.fixed",
    "proof.sealed",
    "proof.ordered",
    "payout.saved.signed",
    "payout.settling",
)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_there_is_one_bundle_for_an_epoch_and_one_memo(
    here: World, step: str
) -> None:
    await here.start(kill_at=f"{step}:1")
    fees, _, _ = await opened(here)
    assert here.process is not None
    with contextlib.suppress(NotRunning):
        await proved(here)
    await asyncio.to_thread(here.process.popen.wait, 20)
    assert here.process.popen.returncode == -signal.SIGKILL
    seen = {path.name: path.read_bytes() for path in files_of(here, "*.bundle")}
    fixed = [path.name for path in files_of(here, "*.body")] if step == "proof.fixed" else []
    await here.start()
    # Something changes in between: a second bundle of epoch 1 would not be the same bytes.
    await here.send_usdc(wallet(1), fees, 7 * USDC)
    await here.scanned()
    if step.startswith("proof.") and step != "proof.ordered":
        body, bundle = await proved(here)
    else:
        (body,) = await here.client.get("proof")
        await here.paid_out(f"makewhole:solvency:1:1:{body['hash']}")
        bundle = await asyncio.to_thread(Path(body["path"]).read_bytes)
    assert body["epoch"] == 1
    assert all(data == bundle for data in seen.values())
    assert all(body["hash"] in name for name in fixed)
    first, _ = checked(bundle)
    assert [one.hash for one in await published(here.pool, fees, 1)] == [first.hash]
    body, bundle = await proved(here)
    second, summary = checked(bundle, first)
    assert (second.epoch, second.previous, summary.covered) == (2, first.hash, True)
    assert [line.holdings_units - line.net_units for line in summary.lines] == [0, 0]
    assert len(files_of(here, "*.bundle")) == 2
    assert files_of(here, "*.body") == files_of(here, "*.partial") == []
    await here.client.post("attest")
    status = await here.client.get("status", full="true")
    assert [line["unexplained_units"] for line in status["reserves"]] == [0, 0]
    assert status["breaches"] == []


def test_every_step_of_a_proof_is_killed_at() -> None:
    assert {step for step in KILL_POINTS if step.startswith("proof.")} < set(STEPS)


async def test_a_database_from_an_older_backup_signs_nothing(here: World) -> None:
    await here.start()
    await opened(here)
    assert here.process is not None
    assert await asyncio.to_thread(here.process.stop) == 0
    database = here.folder / "data" / "makewhole.sqlite"
    backup = await asyncio.to_thread(database.read_bytes)
    await here.start()
    await proved(here)
    await asyncio.to_thread(here.process.stop)
    for has_folder in (True, False):
        await asyncio.to_thread(database.write_bytes, backup)
        if not has_folder:
            await asyncio.to_thread(shutil.rmtree, here.folder / "data" / "proof")
        await here.start()
        await here.caught_up()
        with pytest.raises(ApiError, match="older backup") as caught:
            await here.client.post("proof")
        assert caught.value.code == "proof_failed"
        await asyncio.to_thread(here.process.kill)


# -- by hand --


def makewhole(here: World, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=here.folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


async def run_makewhole(here: World, *arguments: str, status: int = 0) -> str:
    return await asyncio.to_thread(makewhole, here, *arguments, status=status)


async def test_the_commands(here: World) -> None:
    await here.start()
    _, seven, _ = await opened(here)
    await crashed(here)
    told = await run_makewhole(here, "prove")
    assert told.startswith("epoch 1: ")
    path = told.split()[2]
    unpublished = await run_makewhole(here, "verify", path, "--url", here.validator.rpc_url, status=1)
    assert "not_published" in unpublished
    header = verifier.read_header(verifier.split_bundle(await asyncio.to_thread(Path(path).read_bytes))[0])
    await here.paid_out(verifier.memo_text(1, header.hash))
    operator = (await here.client.get("address", subaccount="fees"))["address"]
    trusting = ("--operator", operator, "--url", here.validator.rpc_url)
    told = await run_makewhole(here, "verify", path, *trusting, status=3)
    assert "holdings do NOT cover what is owed" in told
    assert "outstanding negative equity: $1,000.00" in told
    assert f"memo     {operator} published this hash" in told
    told = await run_makewhole(here, "verify", path, "--operator", seven, status=1)
    assert "wrong_operator" in told
    told = await run_makewhole(here, "verify-me", "8/0", "--balance", f"USDC={4_000 * USDC}", status=1)
    assert "balance_differs" in told
    known = ("--balance", f"USDC={4_000 * USDC}", "--balance", f"claims={1_000 * USDC}")
    told = await run_makewhole(here, "verify-me", "8/0", *known, status=3)
    assert "counted in epoch 1" in told and "4,000,000,000 units" in told
    told = await run_makewhole(here, "verify-me", "7/0", status=3)
    assert "below zero" in told
    # On a stopped data directory the command runs a daemon of its own, until the memo is final.
    assert here.process is not None
    await here.send_usdc(wallet(1), seven, 1_500 * USDC)
    await here.scanned()
    await here.at(2)
    await here.client.post("tick")
    assert await asyncio.to_thread(here.process.stop) == 0
    proving = asyncio.create_task(run_makewhole(here, "prove", "--json"))
    while not proving.done():
        await asyncio.to_thread(here.validator.finalize)
        await asyncio.sleep(0.2)
    made = json.loads(await proving)
    assert (made["epoch"], made["publication_state"]) == (2, "finalized")
    told = await run_makewhole(here, "verify", made["path"], "--previous", path, *trusting)
    assert "outstanding negative equity: $0.00" in told
    told = await run_makewhole(here, "reserves", "--html", "reserves.html")
    assert "history" in told and "100.00%" in told
    listed = json.loads(await run_makewhole(here, "reserves", "--json"))
    assert [one["outstanding_negative_equity_usd6"] for one in listed] == [str(1_000 * USDC), "0"]
    page = (here.folder / "reserves.html").read_text()
    assert "<script" not in page and "Epoch 2" in page


async def test_secrets_are_in_no_log_and_no_answer(here: World) -> None:
    await here.start()
    await opened(here)
    body, bundle = await proved(here)
    folder = here.folder / "data" / "proof"
    master = (folder / "master.hex").read_text().strip()
    assert (folder / "master.hex").stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o077 == 0 for path in files_of(here, "*.secret"))
    assert folder.stat().st_mode & 0o777 == 0o700
    shown = (here.process.log() if here.process else "") + json.dumps(body)
    assert master not in shown and SEED.hex() not in shown
    assert bytes.fromhex(master) not in bundle
    record = await here.client.get("proof/record", subaccount="8/0")
    assert bytes.fromhex(master) not in base64.b64decode(record["record"])
    database = (here.folder / "data" / "makewhole.sqlite").read_bytes()
    assert bytes.fromhex(master) not in database


# -- by itself, while money moves --


async def test_bundles_come_by_themselves_and_are_exact_while_money_moves(tmp_path: Path) -> None:
    """Real clock, slots every 100 ms, deposits and payouts all the time: each bundle is exact to the unit."""
    async with world(tmp_path, slot_ms=100) as here:
        here.configure(clock="system", daemon="attest_interval_s = 0.5\n[proof]\ninterval_s = 1.0")
        await here.start()
        fees = str((await here.client.get("address", subaccount="fees"))["address"])
        seven = str((await here.client.post("subaccounts", subaccount="7/0"))["address"])
        await here.send_sol(wallet(3), fees, 50 * SOL)
        await here.send_usdc(wallet(3), fees, 5_000 * USDC)
        await here.send_usdc(wallet(1), seven, 1_000 * USDC)
        await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})

        async def move() -> None:
            for number in range(10_000):
                await here.send_usdc(wallet(1), seven, (1 + number) * USDC)
                if number % 4 == 1:
                    out = {"subaccount": "7/0", "asset": "USDC", "destination": str(wallet(2).pubkey())}
                    with contextlib.suppress(ApiError):  # the gate may let it wait
                        await here.client.post("withdrawals", id=f"w{number}", **out, units=3 * USDC)
                await asyncio.sleep(0.1)

        moving = asyncio.create_task(move())

        async def enough() -> bool:
            return len(await here.client.get("proof", last="5")) >= 4

        await here.until("four bundles", enough, timeout_s=60)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        previous = None
        holdings = []
        for body in await here.client.get("proof", last="100"):
            bundle = await asyncio.to_thread(Path(body["path"]).read_bytes)
            previous, summary = checked(bundle, previous)
            assert [line.holdings_units - line.net_units for line in summary.lines] == [0, 0], summary
            holdings.append([line.holdings_units for line in summary.lines])
        assert holdings[0] != holdings[-1]
        payouts = await here.client.get("payouts")
        assert any(one["kind"] == "withdrawal" and one["settled_sequence"] for one in payouts)


async def test_records_are_cached_for_the_epoch_and_come_back_after_a_restart(here: World) -> None:
    await here.start()
    await opened(here)
    _, bundle = await proved(here)
    header, _ = checked(bundle)
    first = await here.client.get("proof/record", subaccount="8/0")
    assert await here.client.get("proof/record", subaccount="8/0") == first
    assert here.process is not None
    await asyncio.to_thread(here.process.kill)
    await here.start()
    assert await balances_of(here, header, "8/0") == {"USDC": 3_000 * USDC}
    with pytest.raises(ApiError) as caught:
        await here.client.get("proof/record", subaccount="77/0")
    assert caught.value.code == "unknown_subaccount"
    await here.client.post("subaccounts", subaccount="77/0")
    assert (await here.client.get("proof/record", subaccount="77/0"))["record"] == ""
    # The next epoch has records of its own, while the last one's worker is let go.
    answers = asyncio.gather(
        *(here.client.get("proof/record", subaccount=name) for name in ("7/0", "8/0") * 5)
    )
    _, bundle = await proved(here)
    second, _ = checked(bundle, header)
    for answer in await answers:
        of = header if answer["epoch"]["epoch"] == 1 else second
        verifier.check_record(of, base64.b64decode(answer["record"]), answer["customer_id"])
    assert await balances_of(here, second, "7/0") == {"USDC": 1_000 * USDC}

"""The proof of solvency, end to end: a crash, a deficit in the bundle, the deposit that settles it, the next bundle."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.proof.checking import published
from solvency import verifier
from solvency.summary import Summary, summarize
from solvency.verifier import Anchors, Header

from .harness import ROOT, SOL, USDC, World, wallet, world


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
    await here.scanned()
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})
    return fees, seven, eight


async def crashed(here: World) -> None:
    """7/0 is long 100 SOL at 150 and the mark falls to 130: it owes 1,000 USDC that it does not have."""
    trade = {"market": "SOL-PERP", "buyer": "7/0", "seller": "8/0", "consents": ["7/0", "8/0"]}
    await here.client.post("trades", id="t", **trade, base_units=100 * SOL, price="150")
    await here.at(1)
    await here.client.post("prices", index={"SOL": "130"}, mark={"SOL-PERP": "130"})
    await here.client.post("tick")


async def proved(here: World) -> tuple[dict[str, Any], bytes]:
    """Make an epoch and wait until its memo is final and booked; returns its body and its bundle."""
    body = await here.client.post("proof")
    memo = f"makewhole:solvency:1:{body['epoch']}:{body['hash']}"
    await here.paid_out(memo)
    await here.caught_up()
    return body, Path(body["path"]).read_bytes()


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
    assert lines["USDC"].holdings_units == lines["USDC"].net_units == 9_000 * USDC
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
    assert lines["USDC"].holdings_units == 9_000 * USDC
    assert lines["USDC"].net_units == 10_000 * USDC
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
    assert lines["USDC"].holdings_units == lines["USDC"].net_units == 10_500 * USDC
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

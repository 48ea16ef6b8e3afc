"""The main road, end to end: transfer on chain, deposit, debt settled first, gate, payout on chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.api.client import ApiError

from .harness import SOL, USDC, World, wallet, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_deposit_and_payout(here: World) -> None:
    await here.start()
    await here.at(0)
    fees = (await here.client.get("address", subaccount="fees"))["address"]
    seven = (await here.client.post("subaccounts", subaccount="7/0"))["address"]
    await here.send_sol(wallet(3), fees, 50 * SOL)
    await here.send_usdc(wallet(3), fees, 5_000 * USDC)
    await here.send_sol(wallet(1), seven, 3 * SOL)
    await here.send_usdc(wallet(1), seven, 1_000 * USDC)
    await here.scanned()
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {"SOL": 3 * SOL, "USDC": 1_000 * USDC}
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})
    await here.at(1)
    await here.client.post("tick")
    await here.client.post("attest")
    mine = str(wallet(1).pubkey())
    before = await here.usdc_balance(mine)
    await here.client.post(
        "withdrawals", id="w1", subaccount="7/0", asset="USDC", units=400 * USDC, destination=mine
    )
    await here.paid_out("w1")
    assert await here.usdc_balance(mine) == before + 400 * USDC
    status = await here.client.get("status", full="true")
    assert status["breaches"] == []
    await here.client.post("attest")
    status = await here.client.get("status")
    assert [(line["asset"], line["unexplained_units"]) for line in status["reserves"]] == [
        ("SOL", 0),
        ("USDC", 0),
    ]
    assert here.process is not None
    assert here.process.stop() == 0


async def test_refusals(here: World) -> None:
    await here.start()
    with pytest.raises(ApiError) as caught:
        await here.client.get("subaccount", subaccount="7/0")
    assert caught.value.code == "unknown_subaccount"

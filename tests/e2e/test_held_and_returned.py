"""Held deposits, payouts that fail, debt settled in another asset: the less travelled parts of the road."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from chain.tokens import TOKEN_PROGRAM, associated_token_address
from daemon.api.client import ApiError

from .harness import SOL, USDC, World, command, wallet, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def in_debt(here: World, on_debt: str) -> tuple[str, str]:
    """7/0 owes exactly 1,000 USDC to 8/0; returns the address of 7/0 and of the hot wallet.

    A backstop provider, 9/0, takes the position of 7/0 at mark and closes it against 8/0: without one,
    8/0's position would be reduced at 7/0's bankruptcy price, and nobody would owe anything.
    """
    await here.start()
    await here.at(0)
    fees = str((await here.client.get("address", subaccount="fees"))["address"])
    seven = str((await here.client.post("subaccounts", subaccount="7/0", on_debt=on_debt))["address"])
    eight = str((await here.client.post("subaccounts", subaccount="8/0"))["address"])
    await here.send_sol(wallet(3), fees, 50 * SOL)
    await here.send_usdc(wallet(3), fees, 5_000 * USDC)
    await here.send_usdc(wallet(1), seven, 1_000 * USDC)
    await here.send_usdc(wallet(2), eight, 3_000 * USDC)
    nine = str((await here.client.post("subaccounts", subaccount="9/0"))["address"])
    await here.send_usdc(wallet(3), nine, 3_000 * USDC)
    await here.scanned()
    await here.client.post("backstop/register", subaccount="9/0")
    capacity = {"per_minute_usd6": 20_000 * USDC, "per_hour_usd6": 100_000 * USDC}
    await here.client.post("backstop/capacity", subaccount="9/0", market="SOL-PERP", **capacity)
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})
    trade = {"market": "SOL-PERP", "base_units": 100 * SOL}
    await here.client.post(
        "trades", id="t", **trade, buyer="7/0", seller="8/0", price="150", consents=["7/0", "8/0"]
    )
    await here.at(1)
    await here.client.post("prices", index={"SOL": "130"}, mark={"SOL-PERP": "130"})
    await here.client.post(
        "trades", id="u", **trade, buyer="8/0", seller="9/0", price="130", consents=["8/0", "9/0"]
    )
    await here.client.post("tick")
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["outstanding_negative_equity_usd6"] == 1_000 * USDC
    await here.client.post("attest")
    return seven, fees


async def test_r23_a_backstop_provider_comes_and_goes(here: World) -> None:
    """Registered once, with capacity only while registered; each refusal says which."""
    await here.start()
    await here.at(0)
    await here.client.post("subaccounts", subaccount="9/0")
    capacity = {"market": "SOL-PERP", "per_minute_usd6": 5 * USDC, "per_hour_usd6": 9 * USDC}

    async def refused(route: str, **body: object) -> str:
        with pytest.raises(ApiError) as refusal:
            await here.client.post(f"backstop/{route}", subaccount="9/0", **body)
        return refusal.value.error.code

    assert await refused("capacity", **capacity) == "not_backstop_provider"
    await here.client.post("backstop/register", subaccount="9/0")
    await here.at(1)
    assert await refused("register") == "already_backstop_provider"
    await here.client.post("backstop/capacity", subaccount="9/0", **capacity)
    await here.at(2)
    await here.client.post("backstop/leave", subaccount="9/0")
    await here.at(3)
    assert await refused("leave") == "not_backstop_provider"


async def status_of(here: World, signature: str) -> tuple[str, str]:
    found = [d for d in await here.client.get("deposits") if d["signature"] == signature]
    assert len(found) == 1
    return found[0]["status"], found[0]["deposit_id"]


async def test_r28_another_asset_settles_debt_at_index_less_haircut(here: World) -> None:
    seven, _ = await in_debt(here, "apply")
    told = await here.client.post("preview", subaccount="7/0", asset="SOL", units=10 * SOL)
    signature = await here.send_sol(wallet(1), seven, 10 * SOL)
    await here.scanned()
    (deposit,) = [d for d in await here.client.get("deposits") if d["signature"] == signature]
    receipt = deposit["receipt"]
    # 1,000 dollars at 130 less 5% = 123.5 a SOL: 8.097165991902834..., rounded up to a lamport.
    assert receipt["applied_units"] == told["applied_units"] == 8_097_165_992
    assert receipt["applied_usd6"] == 1_000 * USDC
    assert receipt["credited_units"] == 10 * SOL - 8_097_165_992
    assert receipt["rate_e8"] == 123_50000000
    assert (receipt["outstanding_before_usd6"], receipt["outstanding_after_usd6"]) == (1_000 * USDC, 0)
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {"SOL": 10 * SOL - 8_097_165_992}
    fund = await here.client.get("subaccount", subaccount="insurance_fund")
    assert fund["cash_units"] == {"SOL": 8_097_165_992}


async def test_r29_a_held_deposit_waits_is_shown_and_is_taken_when_accepted(here: World) -> None:
    seven, _ = await in_debt(here, "hold")
    assert (await here.client.post("preview", subaccount="7/0", asset="USDC", units=300 * USDC))["held"]
    signature = await here.send_usdc(wallet(1), seven, 300 * USDC)
    await here.scanned()
    status, deposit_id = await status_of(here, signature)
    assert status == "held"
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {}
    assert [one["units"] for one in view["held_deposits"]] == [300 * USDC]
    await here.client.post("deposits/accept", deposit_id=deposit_id)
    assert (await status_of(here, signature))[0] == "accepted"
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["outstanding_negative_equity_usd6"] == 700 * USDC
    assert view["held_deposits"] == []


async def test_r29_a_held_deposit_goes_back_to_its_sender(here: World) -> None:
    seven, _ = await in_debt(here, "hold")
    mine = str(wallet(1).pubkey())
    before = await here.usdc_balance(mine)
    signature = await here.send_usdc(wallet(1), seven, 300 * USDC)
    await here.scanned()
    _, deposit_id = await status_of(here, signature)
    done = await here.client.post("deposits/return", deposit_id=deposit_id)
    (ordered,) = done["events"]
    assert ordered["destination"] == mine
    assert (await status_of(here, signature))[0] == "returning"
    await here.paid_out(ordered["withdrawal_id"])
    assert (await status_of(here, signature))[0] == "returned"
    assert ordered["units"] + ordered["charged_units"] == 300 * USDC
    assert 0 < ordered["charged_units"] < USDC
    assert await here.usdc_balance(mine) == before - ordered["charged_units"]
    await here.at(2)
    await here.scanned()
    await here.client.post("attest")
    status = await here.client.get("status", full="true")
    assert [line["unexplained_units"] for line in status["reserves"]] == [0, 0]
    assert status["breaches"] == []


async def test_w5_a_destination_that_turns_bad_returns_the_units_once(here: World) -> None:
    """The check passes, then the destination's token account is handed away before the payout is prepared."""
    await in_debt(here, "apply")
    await here.client.post("prices", index={"SOL": "130"}, mark={"SOL-PERP": "130"})
    target = wallet(50).pubkey()
    assert here.process is not None
    # With the payer off the payout waits, as it would for an empty hot wallet.
    await asyncio.to_thread(here.process.stop)
    here.config.write_text(here.config.read_text().replace("[payer]", "[payer]\nenabled = false"))
    await here.start()
    await here.client.post(
        "withdrawals", id="w", subaccount="8/0", asset="USDC", units=2 * USDC, destination=str(target)
    )
    assert (await here.client.get("subaccount", subaccount="8/0"))["cash_units"]["USDC"] == 3_998 * USDC
    account = associated_token_address(str(target), str(here.mint.address), TOKEN_PROGRAM)
    stranger = wallet(51).pubkey()
    await asyncio.to_thread(
        here.validator.set_token_account, Pubkey.from_string(account), mint=here.mint, owner=stranger, units=0
    )
    await asyncio.to_thread(here.validator.finalize)
    await asyncio.to_thread(here.process.stop)
    here.config.write_text(here.config.read_text().replace("enabled = false", "enabled = true"))
    await here.start()

    async def returned() -> bool:
        return (await here.payout_state("w"))["settled_sequence"] is not None

    await here.until("the payout fails and its units come back", returned)
    payout = await here.payout_state("w")
    assert (payout["state"], payout["signature"]) == ("failed", None)
    assert "handed to" in payout["failure"]
    found = await here.client.get("withdrawal", id="w")
    assert found["status"] == "returned"
    assert (await here.client.get("subaccount", subaccount="8/0"))["cash_units"]["USDC"] == 4_000 * USDC
    status = await here.client.get("status", full="true")
    assert (status["breaches"], status["payouts_open"]) == ([], 0)


async def test_a_queued_withdrawal_survives_a_kill_and_goes_out_when_the_gate_opens(here: World) -> None:
    seven, _ = await in_debt(here, "apply")
    mine = str(wallet(2).pubkey())
    before = await here.usdc_balance(mine)
    await here.client.post(
        "withdrawals", id="q", subaccount="8/0", asset="USDC", units=500 * USDC, destination=mine
    )
    found = await here.client.get("withdrawal", id="q")
    assert (found["status"], found["gate"], found["payout"]) == ("queued", "pool", None)
    assert here.process is not None
    here.process.kill()
    await here.start()
    await here.send_usdc(wallet(1), seven, 1_000 * USDC)
    await here.scanned()
    await here.at(2)
    await here.client.post("attest")
    await here.client.post("tick")
    await here.paid_out("q")
    assert await here.usdc_balance(mine) == before + 500 * USDC


async def test_a_queued_withdrawal_can_be_taken_back(here: World) -> None:
    await in_debt(here, "apply")
    mine = str(wallet(2).pubkey())
    await here.client.post(
        "withdrawals", id="q", subaccount="8/0", asset="USDC", units=500 * USDC, destination=mine
    )
    cash = (await here.client.get("subaccount", subaccount="8/0"))["cash_units"].get("USDC", 0)
    with pytest.raises(ApiError, match="unknown_withdrawal"):
        await here.client.post("withdrawals/cancel", id="a", subaccount="7/0", withdrawal_id="q")
    done = await asyncio.to_thread(command, here, "cancel-withdrawal", "8/0", "q", "--json")
    assert done.returncode == 0, done.stderr
    assert (await here.client.get("withdrawal", id="q"))["status"] == "returned"
    view = await here.client.get("subaccount", subaccount="8/0")
    assert view["cash_units"]["USDC"] == cash + 500 * USDC
    # The chain saw nothing of it, and nothing is left to pay when the gate opens.
    await here.client.post("attest")
    await here.client.post("tick")
    assert await here.client.get("payouts") == []
    with pytest.raises(ApiError, match="withdrawal_already_returned"):
        await here.client.post("withdrawals/cancel", id="b", subaccount="8/0", withdrawal_id="q")


async def test_d8_a_deposit_is_seen_before_it_is_credited(here: World) -> None:
    await here.start()
    await here.at(0)
    seven = (await here.client.post("subaccounts", subaccount="7/0"))["address"]
    signature = await here.send_sol(wallet(1), seven, 2 * SOL)
    await asyncio.to_thread(here.validator.advance, 1)

    async def seen() -> bool:
        return any(
            d["signature"] == signature and d["status"] == "seen" for d in await here.client.get("deposits")
        )

    await here.until("the early notice", seen)
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {}
    await here.scanned()
    assert (await status_of(here, signature))[0] == "credited"
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {"SOL": 2 * SOL}


async def test_d8_a_sighting_that_a_fork_drops_is_voided_and_never_credited(here: World) -> None:
    await here.start()
    await here.at(0)
    seven = (await here.client.post("subaccounts", subaccount="7/0"))["address"]
    signature = await here.send_sol(wallet(1), seven, 2 * SOL)
    await asyncio.to_thread(here.validator.advance, 1)

    async def status() -> str:
        found = [d for d in await here.client.get("deposits") if d["signature"] == signature]
        return str(found[0]["status"]) if found else ""

    async def seen() -> bool:
        return await status() == "seen"

    async def voided() -> bool:
        return await status() == "voided"

    await here.until("the early notice", seen)
    await asyncio.to_thread(here.validator.faults.reorg, 1, drop=None)
    await asyncio.to_thread(here.validator.advance, 3)
    await here.scanned()
    await here.until("the sighting is voided", voided)
    assert (await here.client.get("subaccount", subaccount="7/0"))["cash_units"] == {}
    await here.client.post("attest")
    lines = (await here.client.get("status"))["reserves"]
    assert [(line["holdings_units"], line["unexplained_units"]) for line in lines] == [(0, 0), (0, 0)]

"""Bad input of every kind: a clear error, and nothing half done."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chain.tokens import TOKEN_PROGRAM, associated_token_address
from daemon.api.client import ApiError

from .harness import SOL, USDC, World, command, wallet, world

OTHER_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def funded(here: World) -> str:
    """A daemon with 1,000 USDC and 3 SOL in 7/0 and a filled hot wallet; returns the address of 7/0."""
    await here.start()
    await here.at(0)
    fees = (await here.client.get("address", subaccount="fees"))["address"]
    seven = str((await here.client.post("subaccounts", subaccount="7/0"))["address"])
    await here.send_sol(wallet(3), fees, 50 * SOL)
    await here.send_usdc(wallet(3), fees, 5_000 * USDC)
    await here.send_sol(wallet(1), seven, 3 * SOL)
    await here.send_usdc(wallet(1), seven, 1_000 * USDC)
    await here.scanned()
    await here.client.post("prices", index={"SOL": "150"}, mark={"SOL-PERP": "150"})
    await here.client.post("attest")
    return seven


async def journal_hash(here: World) -> str:
    return str((await here.client.get("status"))["journal_hash"])


# -- what ends a start --


async def test_d1_a_wrong_genesis_hash_is_refused_before_anything_is_scanned(here: World) -> None:
    here.configure(genesis=OTHER_GENESIS)
    status, log = await here.refused_start()
    assert status == 5
    assert "serves genesis" in log
    assert OTHER_GENESIS in log
    assert "Nothing was scanned or sent" in log
    assert "Traceback" not in log


async def test_another_chain_under_the_same_data_directory_is_refused(here: World) -> None:
    await here.start()
    assert here.process is not None
    assert await asyncio.to_thread(here.process.stop) == 0
    here.configure(genesis=OTHER_GENESIS)
    status, log = await here.refused_start()
    assert status == 5
    assert "Use another data_directory for another chain" in log


async def test_endpoints_that_are_down_are_named(here: World) -> None:
    here.configure(first="http://127.0.0.1:1", first_ws="", second="http://127.0.0.1:2")
    status, log = await here.refused_start()
    assert status == 5
    assert "no endpoint answers (first, second)" in log
    assert "Traceback" not in log


async def test_one_endpoint_of_three_that_is_down_costs_nothing(here: World) -> None:
    third = f'[[cluster.endpoints]]\nname = "third"\nurl = "{here.validator.endpoint("third").url}"'
    here.configure(first="http://127.0.0.1:1", first_ws=third)
    await funded(here)
    assert (await here.client.get("subaccount", subaccount="7/0"))["cash_units"]["SOL"] == 3 * SOL


async def test_unknown_keys_are_all_named_at_once(here: World) -> None:
    here.config.write_text(here.config.read_text() + "\n[paier]\nx = 1\n[engin]\ny = 2\n")
    status, log = await here.refused_start()
    assert status == 2
    assert "paier: unknown key; did you mean `payer`?" in log
    assert "engin: unknown key; did you mean `engine`?" in log


async def test_a_second_daemon_on_the_same_data_directory_is_refused(here: World) -> None:
    await here.start()
    assert here.process is not None
    status, log = await here.refused_start()
    assert status == 3
    assert f"another daemon (process {here.process.popen.pid}) works in this data directory" in log
    assert here.process.is_alive


async def test_a_database_locked_by_another_program_is_a_clear_error(here: World) -> None:
    await here.start()
    assert here.process is not None
    assert await asyncio.to_thread(here.process.stop) == 0
    other = sqlite3.connect(here.folder / "data" / "makewhole.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE meta SET value = value")
    await asyncio.to_thread(here.validator.finalize)  # something to write
    status, log = await here.refused_start()
    other.execute("ROLLBACK")
    other.close()
    assert status == 3
    assert "another program holds the database locked" in log
    assert "Traceback" not in log


async def test_a_corrupt_journal_tail_refuses_the_start_and_says_where(here: World) -> None:
    await funded(here)
    assert here.process is not None
    here.process.kill()
    database = sqlite3.connect(here.folder / "data" / "makewhole.sqlite")
    (last,) = database.execute("SELECT max(sequence) FROM journal").fetchone()
    database.execute("UPDATE journal SET outcome = X'7b7d' WHERE sequence = ?", (last,))
    database.commit()
    database.close()
    status, log = await here.refused_start()
    assert status == 3
    assert f"the journal is corrupt at sequence {last}" in log
    assert "Restore the file from a backup" in log
    verified = await asyncio.to_thread(command, here, "journal", "verify")
    assert verified.returncode == 3
    assert f"corrupt at sequence {last}" in verified.stderr


async def test_another_seed_is_refused(here: World) -> None:
    await here.start()
    assert here.process is not None
    assert await asyncio.to_thread(here.process.stop) == 0
    (here.folder / "seed.hex").write_text((b"x" * 64).hex())
    status, log = await here.refused_start()
    assert status == 2
    assert "addresses already issued would not be ours" in log


async def test_k1_a_seed_that_others_can_read_is_refused_and_not_shown(here: World) -> None:
    (here.folder / "seed.hex").chmod(0o644)
    status, log = await here.refused_start()
    assert status == 2
    assert "can be read by others; run: chmod 600" in log
    (here.folder / "seed.hex").chmod(0o600)
    (here.folder / "seed.hex").write_text("abc123" * 9)
    status, log = await here.refused_start()
    assert status == 2
    assert "is not a seed; should be 64 bytes" in log
    assert "abc123" not in log


# -- what a running daemon refuses --


async def test_w5_bad_withdrawals_are_refused_with_nothing_reserved(here: World) -> None:
    seven = await funded(here)
    mint = str(here.mint.address)
    mine = str(wallet(1).pubkey())
    token_account = associated_token_address(mine, mint, TOKEN_PROGRAM)
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"destination": "not-base58-0OIl"}, 409, "destination_invalid", "not_an_address"),
        ({"destination": mine[:20]}, 409, "destination_invalid", "not_an_address"),
        ({"destination": seven}, 409, "destination_invalid", "own_address"),
        ({"destination": mint}, 409, "destination_invalid", "mint"),
        ({"destination": token_account}, 409, "destination_invalid", "token_account"),
        ({"destination": TOKEN_PROGRAM}, 409, "destination_invalid", "program"),
        ({"destination": "ünïcode"}, 400, "malformed_command", "destination"),
        ({"destination": ""}, 400, "malformed_command", "destination"),
        ({"units": 0}, 409, "amount_not_positive", ""),
        ({"units": -5}, 409, "amount_not_positive", ""),
        ({"units": 1}, 409, "below_minimum", "1000000"),
        ({"units": 1_000 * USDC + 1}, 409, "insufficient_settled_cash", ""),
        ({"units": 2**64 - 1}, 409, "insufficient_settled_cash", ""),
        ({"units": 2**64}, 409, "amount_too_large", ""),
        ({"units": 10**100}, 400, "malformed_command", "units"),
        ({"units": 1.5}, 400, "malformed_request", "int"),
        ({"units": "5"}, 400, "malformed_request", "int"),
        ({"asset": "DOGE"}, 400, "unknown_asset", "accepted: SOL, USDC"),
        ({"subaccount": "9/9"}, 409, "unknown_subaccount", ""),
        ({"subaccount": "fees"}, 409, "system_account_not_allowed", ""),
        ({"amount": 5}, 400, "malformed_request", "unknown field"),
    ]
    for number, (change, status, code, part) in enumerate(cases):
        request = {"subaccount": "7/0", "asset": "USDC", "units": 5 * USDC, "destination": mine, **change}
        with pytest.raises(ApiError) as caught:
            raise AssertionError(
                (change, await here.client.post("withdrawals", id=f"bad-{number}", **request))
            )
        assert caught.value.code == code, (change, caught.value)
        assert part in caught.value.error.message, (change, caught.value)
        assert caught.value.status == status, (change, caught.value)
    view = await here.client.get("subaccount", subaccount="7/0")
    assert view["cash_units"] == {"SOL": 3 * SOL, "USDC": 1_000 * USDC}
    assert await here.client.get("payouts") == []
    with pytest.raises(ApiError) as caught:
        await here.client.post(
            "withdrawals", id="more", subaccount="7/0", asset="USDC", units=1_001 * USDC, destination=mine
        )
    assert caught.value.error.would_pass_units == 1_000 * USDC


async def test_r4_a_repeated_request_is_one_withdrawal_and_another_body_is_refused(here: World) -> None:
    await funded(here)
    request = {
        "subaccount": "7/0",
        "asset": "USDC",
        "units": 5 * USDC,
        "destination": str(wallet(1).pubkey()),
    }
    first = await here.client.post("withdrawals", id="same", **request)
    again = await here.client.post("withdrawals", id="same", **request)
    assert again["sequence"] is None
    assert again["events"] == first["events"]
    with pytest.raises(ApiError) as caught:
        await here.client.post("withdrawals", id="same", **{**request, "units": 6 * USDC})
    assert caught.value.code == "id_reused_with_different_body"
    assert len(await here.client.get("payouts")) == 1


async def test_bad_requests_leave_no_trace_in_the_journal(here: World) -> None:
    await funded(here)
    before = await journal_hash(here)
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("preview", {"subaccount": "7/0", "asset": "USDC", "units": 0}, "amount_not_positive"),
        ("preview", {"subaccount": "7/0", "asset": "USDC", "units": 2**64}, "amount_too_large"),
        ("preview", {"subaccount": "7/9", "asset": "USDC", "units": 5}, "unknown_subaccount"),
        ("preview", {"subaccount": "7/0", "asset": "DOGE", "units": 5}, "unknown_asset"),
        ("prices", {"index": {"SOL": "150.123456789"}}, "malformed_command"),
        ("prices", {"index": {"SOL": "-1"}}, "malformed_command"),
        ("prices", {"index": {"SOL": "NaN"}}, "malformed_command"),
        ("prices", {"index": {"SOL": 150}}, "malformed_request"),
        ("subaccounts", {"subaccount": "07/0"}, "malformed_command"),
        ("subaccounts", {"subaccount": "7"}, "malformed_command"),
        ("subaccounts", {"subaccount": "2147483647/0"}, "malformed_command"),
        ("subaccounts", {"subaccount": "7/1", "on_debt": "perhaps"}, "malformed_command"),
        ("deposits/return", {"deposit_id": "nothing"}, "unknown_deposit"),
        ("payouts/rule", {"id": "w", "ruling": "maybe", "why": ""}, "malformed_request"),
        ("payouts/rule", {"id": "w", "ruling": "landed", "why": ""}, "unknown_withdrawal"),
        ("nowhere", {}, "no_such_route"),
    ]
    for path, body, code in bad:
        with pytest.raises(ApiError) as caught:
            await here.client.post(path, **body)
        assert caught.value.code == code, (path, body, caught.value)
    assert await journal_hash(here) == before


async def test_d10_dust_is_written_down_and_never_credited(here: World) -> None:
    seven = await funded(here)
    await here.send_usdc(wallet(2), seven, 99_999)
    await here.scanned()
    deposits = await here.client.get("deposits", subaccount="7/0")
    assert [one["units"] for one in deposits if one["status"] == "dust"] == [99_999]
    assert (await here.client.get("subaccount", subaccount="7/0"))["cash_units"]["USDC"] == 1_000 * USDC
    await here.at(1)
    await here.client.post("attest")
    lines = {line["asset"]: line for line in (await here.client.get("status"))["reserves"]}
    assert lines["USDC"]["dust_units"] == 99_999
    assert lines["USDC"]["unexplained_units"] == 0


# -- the command line --


async def test_the_command_line_is_friendly(here: World) -> None:
    seven = await funded(here)
    mine = str(wallet(1).pubkey())
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("address", "7/0"), 0, seven),
        (("address", "seven"), 1, "unknown_subaccount"),
        (("preview", "7/0", "SOL", "1.5"), 0, "1.5 SOL"),
        (("preview", "7/0", "SOL", "1.0123456789"), 1, "has 10 decimals, the asset has 9"),
        (("preview", "7/0", "SOL", "-1"), 2, ""),
        (("preview", "7/0", "SOL", "1e5"), 1, "is not a plain decimal number"),
        (("preview", "7/0", "SOL", "9" * 30), 1, "larger than the largest amount"),
        (("preview", "7/0", "DOGE", "1"), 1, "'DOGE' is not accepted here; accepted: SOL, USDC"),
        (("withdraw", "7/0", "USDC", "0", mine), 1, "amount_not_positive"),
        (("withdraw", "7/0", "USDC", "1000.5", mine), 1, "insufficient_settled_cash"),
        (("withdraw", "7/0", "USDC", "5", "nonsense"), 1, "not_an_address"),
        (("subaccount", "7/0"), 0, "1,000 USDC"),
        (("deposits", "7/0"), 0, "credited"),
        (("status", "--full"), 0, "hold"),
        (("journal", "verify"), 0, "entries are sound"),
        (("withdrawal", "none"), 1, "unknown_withdrawal"),
        (("statsu",), 2, "No such command"),
    ]
    results = await asyncio.gather(*(asyncio.to_thread(command, here, *words) for words, _, _ in cases))
    for (words, status, part), done in zip(cases, results, strict=True):
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert part in done.stdout + done.stderr, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (words, done.stderr)


async def test_without_a_daemon_the_command_line_says_so(here: World) -> None:
    done = await asyncio.to_thread(command, here, "status")
    assert done.returncode == 1
    assert "no daemon answers on" in done.stderr
    assert "start one with `makewhole run`" in done.stderr

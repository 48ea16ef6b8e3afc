"""What a block must look like to be read (D5), who sent a credit, dust (D10), links (D2), real blocks (D3)."""

# ruff: noqa: E501 - the tables are read by rows

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chain.errors import BlockUnreadable
from chain.scanner import Checkpoint, Link, NoticeKind, Watchlist, link_of, scan_block
from chain.tokens import NATIVE_SOL

from .forge import (
    ALICE,
    BOB,
    FEE,
    FEE_PAYER,
    PAYER,
    PYUSD,
    STRANGER,
    USDC,
    Tx,
    address,
    ata,
    block,
    blockhash,
    body,
    scan,
    sol_transfer,
    token_account,
    token_transfer,
    wallet,
    watchlist,
)
from .test_attacks import ALICE_USDC, LOOKALIKE_PROGRAM, OTHER_ACCOUNT, closed_into_address, swap_output


def mutated(tx: Tx, **changes: object) -> Tx:
    for name, value in changes.items():
        setattr(tx, name, value)
    return tx


def with_account(tx: Tx, index: int, **changes: object) -> Tx:
    for name, value in changes.items():
        setattr(tx.accounts[index], name, value)
    return tx


UNREADABLE = {
    "missing meta": (mutated(sol_transfer(ALICE, 5), meta="absent"), "has no meta"),
    "null meta": (mutated(sol_transfer(ALICE, 5), meta=None), "has no meta"),
    "missing meta of a stranger's transaction": (mutated(sol_transfer(STRANGER, 5), meta=None), "has no meta"),
    "meta that is a word": (mutated(sol_transfer(ALICE, 5), meta="pruned"), "meta of"),
    "meta that does not say whether it failed": (mutated(sol_transfer(ALICE, 5), drop=("err",)), "whether it failed"),
    "no token balances recorded": (mutated(sol_transfer(ALICE, 5), drop=("postTokenBalances",)), "postTokenBalances"),
    "null token balances": (mutated(sol_transfer(ALICE, 5), extra={"preTokenBalances": None}), "preTokenBalances"),
    "fewer balances than accounts": (mutated(sol_transfer(ALICE, 5), extra={"postBalances": [1]}), "1 balances"),
    "float lamports": (mutated(sol_transfer(ALICE, 5), extra={"postBalances": [1, 2.5, 1]}), "float"),
    "negative lamports": (mutated(sol_transfer(ALICE, 5), extra={"postBalances": [1, -2, 1]}), "outside u64"),
    "lamports above u64": (mutated(sol_transfer(ALICE, 5), extra={"postBalances": [1, 2**64, 1]}), ""),
    "amount above u64": (token_transfer(ALICE, USDC, 0, arrived=2**64), "token amount"),
    "amount of words": (with_account(token_transfer(ALICE, USDC, 1), 2, units=("0", "lots")), "token amount"),
    "amount with a sign": (with_account(token_transfer(ALICE, USDC, 1), 2, units=("0", "-5")), "token amount"),
    "amount with a point": (with_account(token_transfer(ALICE, USDC, 1), 2, units=("0", "5.0")), "token amount"),
    "amount of foreign digits": (with_account(token_transfer(ALICE, USDC, 1), 2, units=("0", "٥")), "token amount"),
    "derived account of another mint": (with_account(token_transfer(ALICE, USDC, 1), 2, mint=PYUSD.mint), "with mint"),
    "derived account of another program": (
        with_account(token_transfer(ALICE, USDC, 1), 2, program=LOOKALIKE_PROGRAM),
        "with mint",
    ),
    "derived account without an owner": (with_account(token_transfer(ALICE, USDC, 1), 2, owner=""), "owner"),
    "repeated account": (
        Tx([FEE_PAYER, wallet(ALICE, 0, 5), wallet(ALICE, 0, 5)]),
        "names an account twice",
    ),
    "no signer": (Tx([wallet(STRANGER, 9, 4), wallet(ALICE, 0, 5)]), "no signer"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_d5_a_block_that_contradicts_itself_halts(name: str) -> None:
    tx, why = UNREADABLE[name]
    with pytest.raises(BlockUnreadable) as caught:
        scan(tx)
    assert why in str(caught.value)
    assert caught.value.slot == 100


def test_d4_a_signature_twice_in_one_block_is_a_lie() -> None:
    twice = [mutated(sol_transfer(ALICE, 5), sig="same"), mutated(sol_transfer(BOB, 5), sig="same")]
    with pytest.raises(BlockUnreadable, match="appears twice"):
        scan(*twice)


def test_repeated_token_balance_index_is_a_lie() -> None:
    tx = token_transfer(ALICE, USDC, 5)
    entries = tx.to_json(0)["meta"]["postTokenBalances"]
    tx.extra = {"postTokenBalances": [*entries, entries[1]]}
    with pytest.raises(BlockUnreadable, match="token balance index 2"):
        scan(tx)
    tx.extra = {"postTokenBalances": [entries[0], {**entries[1], "accountIndex": 99}]}
    with pytest.raises(BlockUnreadable, match="token balance index 99"):
        scan(tx)


def test_d5_unknown_fields_never_crash() -> None:
    tx = sol_transfer(ALICE, 5)
    tx.extra = {
        "costUnits": 99,
        "returnData": None,
        "loadedAddresses": {"x": [1]},
        "next": {"deep": [1.5, None]},
    }
    raw = block(tx, extra={"rewards": [], "numRewardPartitions": 3, "blockAccessList": {"x": 1}})
    raw["transactions"][0]["transaction"]["accountKeys"][0]["newFlag"] = {"a": 1}
    assert [c.units for c in scan_block(body(raw), 100, watchlist()).credits] == [5]


def test_d5_foreign_transactions_are_not_decoded() -> None:
    """Rubbish in the meta of a transaction that touches nobody we know neither halts nor slows the scan."""
    foreign = mutated(sol_transfer(STRANGER, 5), extra={"preBalances": "not a list", "postTokenBalances": 7})
    assert [c.units for c in scan(foreign, sol_transfer(ALICE, 5)).credits] == [5]


def test_d10_dust_is_recorded_and_not_credited() -> None:
    watched = watchlist(minimum_units={"SOL": 1_000, "USDC": 50})
    scanned = scan(
        sol_transfer(ALICE, 999), sol_transfer(BOB, 1_000), token_transfer(ALICE, USDC, 49), token_transfer(BOB, USDC, 50),
        watched=watched,
    )  # fmt: skip
    assert [(c.account, c.units) for c in scanned.credits] == [(BOB, 1_000), (ata(BOB, USDC), 50)]
    assert [(n.kind, n.account, n.units) for n in scanned.notices] == [
        (NoticeKind.DUST, ALICE, 999),
        (NoticeKind.DUST, ALICE_USDC, 49),
    ]
    assert "minimum deposit of 1000" in scanned.notices[0].detail


def test_sol_is_noticed_where_it_is_not_accepted() -> None:
    watched = Watchlist([USDC])
    watched.add(ALICE)
    scanned = scan(sol_transfer(ALICE, 5), watched=watched)
    assert scanned.credits == ()
    assert [(n.kind, n.units) for n in scanned.notices] == [(NoticeKind.UNKNOWN_TOKEN, 5)]


SENDERS = {
    "SOL from the fee payer": (sol_transfer(ALICE, 1_000), PAYER),
    "SOL from the second signer": (
        Tx([FEE_PAYER, wallet(PAYER, 5_000, 4_000, signer=True), wallet(ALICE, 0, 1_000)]),
        PAYER,
    ),
    "SOL from two signers who both paid enough": (
        Tx([wallet(STRANGER, 10**6, 10**6 - FEE - 1_000, signer=True), wallet(PAYER, 5_000, 4_000, signer=True),
            wallet(ALICE, 0, 1_000), wallet(address("x"), 0, 1_000)]),
        None,
    ),
    "SOL from a program's account": (closed_into_address(), None),
    "SOL from nobody who signed": (Tx([FEE_PAYER, wallet(PAYER, 10_000, 0), wallet(ALICE, 0, 10_000)]), None),
    "token from its owner": (token_transfer(ALICE, USDC, 25), PAYER),
    "token with a transfer fee": (token_transfer(ALICE, PYUSD, 1_000, arrived=990), PAYER),
    "token out of a pool": (swap_output(), None),
    "token from two accounts": (
        Tx([wallet(PAYER, 10**9, 10**9 - FEE, signer=True), token_account(ata(PAYER, USDC), USDC, PAYER, 10, 0),
            token_account(OTHER_ACCOUNT, USDC, PAYER, 10, 0), token_account(ALICE_USDC, USDC, ALICE, 0, 20)]),
        None,
    ),
    "token minted out of nothing": (Tx([FEE_PAYER, token_account(ALICE_USDC, USDC, ALICE, 0, 20)]), None),
    "token moved by a delegate": (
        Tx([FEE_PAYER, token_account(ata(PAYER, USDC), USDC, PAYER, 20, 0), token_account(ALICE_USDC, USDC, ALICE, 0, 20)]),
        None,
    ),
    "token partly minted": (
        Tx([wallet(PAYER, 10**9, 10**9 - FEE, signer=True), token_account(ata(PAYER, USDC), USDC, PAYER, 20, 15),
            token_account(ALICE_USDC, USDC, ALICE, 0, 20)]),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENDERS)
def test_sender_is_derived_conservatively(name: str) -> None:
    tx, sender = SENDERS[name]
    (credit,) = scan(tx).credits
    assert credit.sender == sender


def test_credit_carries_everything_a_receipt_needs() -> None:
    scanned = scan(sol_transfer(ALICE, 1_500), token_transfer(BOB, USDC, 25))
    sol, usdc = scanned.credits
    assert (sol.mint, sol.symbol, sol.address, sol.account) == (None, NATIVE_SOL.symbol, ALICE, ALICE)
    assert (usdc.mint, usdc.symbol, usdc.address, usdc.account) == (USDC.mint, "USDC", BOB, ata(BOB, USDC))
    assert sol.key == f"{sol.signature}:{ALICE}:SOL"
    assert usdc.key == f"{usdc.signature}:{ata(BOB, USDC)}:{USDC.mint}"
    assert (sol.slot, sol.blockhash, sol.block_time) == (100, scanned.blockhash, scanned.block_time)


def test_sender_is_exact_when_the_fee_payer_also_pays() -> None:
    """The network fee is no payment: a fee payer who lost only the fee is not taken for the sender."""
    tx = Tx([FEE_PAYER, wallet(PAYER, 9 * FEE, 8 * FEE, signer=True), wallet(ALICE, 0, FEE)])
    (credit,) = scan(tx).credits
    assert credit.sender == PAYER


# -- bodies that are no blocks --------------------------------------------------------------------------

NO_BLOCKS: dict[str, tuple[bytes, str]] = {
    "null": (body(None), "null instead of a block"),
    "an error": (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32007,"message":"skipped"}}', "an error instead"),
    "HTML": (b"<html>busy</html>", "malformed"),
    "nothing": (b"", "truncated"),
    "cut off": (body(block(sol_transfer(ALICE, 5)))[:-30], "truncated"),
    "not UTF-8": (body(block()).replace(b"main", b"main").replace(b"blockhash", b"block\xffhash"), ""),
    "another level of detail": (
        body({**block(), "transactions": None}),
        "transactions",
    ),
    "signatures only": (body({k: v for k, v in block().items() if k != "transactions"}), "transactions"),
    "accounts without keys": (
        body({**block(), "transactions": [{"meta": {}, "transaction": ["AQ==", "base64"]}]}),
        "transaction",
    ),
    "no parent slot": (body({k: v for k, v in block().items() if k != "parentSlot"}), "parentSlot"),
    "a parent that is not older": (body({**block(), "parentSlot": 100}), "parent slot is 100"),
    "a negative parent": (body({**block(), "parentSlot": -1}), "parent slot is -1"),
    "an empty blockhash": (body({**block(), "blockhash": ""}), "no blockhash"),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_d5_what_is_not_a_block_halts(name: str) -> None:
    raw, why = NO_BLOCKS[name]
    with pytest.raises(BlockUnreadable) as caught:
        scan_block(raw, 100, watchlist())
    assert why in str(caught.value)
    assert caught.value.retry_safe


def test_an_empty_block_is_a_block() -> None:
    scanned = scan_block(body(block()), 100, watchlist())
    assert (scanned.credits, scanned.notices, scanned.transactions) == ((), (), 0)
    assert scanned.checkpoint == Checkpoint(100, blockhash("main", 100))


# -- D2 -------------------------------------------------------------------------------------------------


def scanned_with(slot: int, parent: int, parent_fork: str = "main") -> Any:
    return scan_block(body(block(slot=slot, parent=parent, parent_fork=parent_fork)), slot, watchlist())


def test_d2_only_the_child_of_the_checkpoint_follows_it() -> None:
    checkpoint = Checkpoint(99, blockhash("main", 99))
    assert link_of(checkpoint, scanned_with(100, 99)) is Link.NEXT
    # Slots 100 to 104 were skipped, and the parent link proves it.
    assert link_of(checkpoint, scanned_with(105, 99)) is Link.NEXT
    assert link_of(checkpoint, scanned_with(105, 104)) is Link.GAP
    assert link_of(checkpoint, scanned_with(100, 98)) is Link.CONTRADICTION
    # Right slot, wrong hash: a swapped block or another fork.
    assert link_of(checkpoint, scanned_with(100, 99, parent_fork="other")) is Link.CONTRADICTION
    # Right hash, wrong slot: no node that tells the truth says so.
    lie = block(slot=105, parent=98)
    lie["previousBlockhash"] = checkpoint.blockhash
    assert link_of(checkpoint, scan_block(body(lie), 105, watchlist())) is Link.CONTRADICTION
    lie["parentSlot"] = 104
    assert link_of(checkpoint, scan_block(body(lie), 105, watchlist())) is Link.GAP
    # The checkpoint's own block, repeated for a later slot.
    assert link_of(checkpoint, scanned_with(101, 98)) is Link.CONTRADICTION


# -- the real thing -------------------------------------------------------------------------------------

EXTRACT = Path(__file__).parent / "data" / "mainnet-block-361774429-extract.json"


def plain_credits(block_json: Any, watched: set[str]) -> set[tuple[str, str, int]]:
    """Lamport rises of watched wallets, by the standard library and the slowest road."""
    found = set()
    for item in block_json["transactions"]:
        keys = item["transaction"]["accountKeys"]
        if item["meta"]["err"] is not None or any(k["pubkey"] in watched for k in keys if k["signer"]):
            continue
        for index, key in enumerate(keys):
            units = item["meta"]["postBalances"][index] - item["meta"]["preBalances"][index]
            if key["pubkey"] in watched and units > 0:
                found.add((item["transaction"]["signatures"][0], key["pubkey"], units))
    return found


def test_d3_real_transactions_of_mainnet() -> None:
    """An extract of mainnet block 361774429: legacy and v0, lookup tables, failures, votes."""
    raw = EXTRACT.read_bytes()
    plain = json.loads(raw)["result"]
    keys = {k["pubkey"] for item in plain["transactions"] for k in item["transaction"]["accountKeys"]}
    looked_up = {
        k["pubkey"]
        for item in plain["transactions"]
        for k in item["transaction"]["accountKeys"]
        if k["source"] == "lookupTable"
    }
    seen = 0
    for key in sorted(keys):
        watched = Watchlist([NATIVE_SOL])
        watched.add(key)
        scanned = scan_block(raw, 361774429, watched)
        found = {(c.signature, c.account, c.units) for c in scanned.credits}
        assert found == plain_credits(plain, {key})
        seen += len(found)
    assert seen > 20
    assert looked_up & keys
    assert any(item["meta"]["err"] is not None for item in plain["transactions"])


def test_the_real_form_is_the_form_we_forge() -> None:
    """The forged transactions carry every field the scanner reads, in the types of the real wire form."""
    real = json.loads(EXTRACT.read_bytes())["result"]
    forged = block(sol_transfer(ALICE, 5), token_transfer(ALICE, USDC, 5))
    assert set(forged) == set(real)
    for name in ("accountKeys", "signatures"):
        assert name in real["transactions"][0]["transaction"]
        assert name in forged["transactions"][0]["transaction"]
    assert set(forged["transactions"][1]["meta"]) == set(real["transactions"][0]["meta"])
    assert msgspec.json.decode(body(forged)) == json.loads(body(forged))

"""Slots and blocks over HTTP: every form of getBlock, ranges, holes, ages."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from localnet import Validator

from .helpers import SOL, Rpc, legacy, pay, v0, v1
from .test_ledger import table_account

BLOCK_MEMBERS = {"blockHeight", "blockTime", "blockhash", "parentSlot", "previousBlockhash"}


@pytest.fixture
def node() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0, finality_lag=4, seed=b"blocks") as validator:
        yield validator


@pytest.fixture
def rpc(node: Validator) -> Rpc:
    return Rpc(node.rpc_url)


@pytest.fixture
def filled(node: Validator, rpc: Rpc) -> tuple[int, list[str], Keypair]:
    """The slot of a finalized block with a legacy, a v0 and a failed transaction, and their signatures."""
    payer, target = Keypair(), Pubkey.new_unique()
    node.airdrop(payer.pubkey(), 10 * SOL)
    slot = node.ledger.open.slot
    blockhash = rpc.blockhash()
    sent = [
        rpc.send(legacy(payer, blockhash, pay(payer.pubkey(), target, SOL))),
        rpc.send(v0(payer, blockhash, pay(payer.pubkey(), target, 2 * SOL))),
        rpc.send(v0(payer, blockhash, pay(payer.pubkey(), target, 99 * SOL)), skipPreflight=True),
    ]
    node.finalize()
    return slot, sent, payer


def block(rpc: Rpc, slot: int, **config: Any) -> Any:
    return rpc.call("getBlock", slot, {"maxSupportedTransactionVersion": 1} | config)


def test_the_accounts_form_is_that_of_mainnet(rpc: Rpc, filled: tuple[int, list[str], Keypair]) -> None:
    slot, sent, payer = filled
    found = block(rpc, slot, transactionDetails="accounts", rewards=False)
    assert set(found) == BLOCK_MEMBERS | {"transactions"}
    assert found["parentSlot"] == slot - 1
    assert [t["transaction"]["signatures"] for t in found["transactions"]] == [[s] for s in sent]
    assert [t["version"] for t in found["transactions"]] == ["legacy", 0, 0]
    for entry in found["transactions"]:
        assert set(entry) == {"meta", "transaction", "version"}
        assert set(entry["transaction"]) == {"accountKeys", "signatures"}
        assert set(entry["meta"]) == {
            "err",
            "fee",
            "postBalances",
            "postTokenBalances",
            "preBalances",
            "preTokenBalances",
            "status",
        }
        assert entry["transaction"]["accountKeys"][0] == {
            "pubkey": str(payer.pubkey()),
            "signer": True,
            "source": "transaction",
            "writable": True,
        }
        assert entry["transaction"]["accountKeys"][2]["writable"] is False
    failed = found["transactions"][2]["meta"]
    assert failed["status"] == {"Err": {"InstructionError": [0, {"Custom": 1}]}}


def test_the_other_details(rpc: Rpc, filled: tuple[int, list[str], Keypair]) -> None:
    slot, sent, _ = filled
    bare = block(rpc, slot, transactionDetails="none")
    assert set(bare) == BLOCK_MEMBERS | {"rewards"}
    assert bare["rewards"] == []
    signatures = block(rpc, slot, transactionDetails="signatures", rewards=False)
    assert set(signatures) == BLOCK_MEMBERS | {"signatures"}
    assert signatures["signatures"] == sent
    full = block(rpc, slot)
    assert full["transactions"][0]["meta"]["rewards"] == []
    assert block(rpc, slot, rewards=False)["transactions"][0]["meta"]["rewards"] is None
    assert len(full["transactions"]) == 3


@pytest.mark.parametrize("encoding", ["base58", "base64", "json", "jsonParsed"])
def test_every_encoding_names_the_same_transaction(
    rpc: Rpc, filled: tuple[int, list[str], Keypair], encoding: str
) -> None:
    slot, sent, payer = filled
    entry = block(rpc, slot, encoding=encoding)["transactions"][1]
    transaction = entry["transaction"]
    if encoding == "base64":
        decoded = VersionedTransaction.from_bytes(base64.b64decode(transaction[0]))
        assert str(decoded.signatures[0]) == sent[1]
        assert transaction[1] == "base64"
    elif encoding == "base58":
        assert transaction[1] == "base58"
    else:
        assert transaction["signatures"] == [sent[1]]
        message = transaction["message"]
        first = message["accountKeys"][0]
        assert (first if encoding == "json" else first["pubkey"]) == str(payer.pubkey())
        assert ("header" in message) == (encoding == "json")
        assert message["addressTableLookups"] == []
    assert ("loadedAddresses" in entry["meta"]) == (encoding != "jsonParsed")


def test_a_block_with_versions_needs_the_version_parameter(
    rpc: Rpc, filled: tuple[int, list[str], Keypair]
) -> None:
    slot = filled[0]
    for details in ("full", "accounts"):
        error = rpc.error("getBlock", slot, {"transactionDetails": details})
        assert error["code"] == -32015
        assert error["message"].startswith("Transaction version (0) is not supported")
    assert len(rpc.call("getBlock", slot, {"transactionDetails": "signatures"})["signatures"]) == 3


def test_v1_needs_version_one(node: Validator, rpc: Rpc) -> None:
    payer = Keypair()
    node.airdrop(payer.pubkey(), 10 * SOL)
    slot = node.ledger.open.slot
    rpc.send(v1(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL)))
    node.finalize()
    error = rpc.error("getBlock", slot, {"maxSupportedTransactionVersion": 0})
    assert error["code"] == -32015
    assert block(rpc, slot, transactionDetails="accounts")["transactions"][0]["version"] == 1
    parsed = block(rpc, slot, encoding="jsonParsed")["transactions"][0]
    assert parsed["transaction"]["message"]["instructions"][0]["parsed"]["type"] == "transfer"


def test_loaded_addresses_and_their_source(node: Validator, rpc: Rpc) -> None:
    payer, target, table = Keypair(), Pubkey.new_unique(), Pubkey.new_unique()
    node.airdrop(payer.pubkey(), 10 * SOL)
    account = table_account([target], node.ledger.open.slot)
    node.set_account(table, lamports=SOL, data=account.data, owner=account.owner)
    node.advance()
    slot = node.ledger.open.slot
    tables = [AddressLookupTableAccount(table, [target])]
    rpc.send(v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL), tables=tables))
    node.finalize()
    entry = block(rpc, slot, transactionDetails="accounts")["transactions"][0]
    keys = entry["transaction"]["accountKeys"]
    position = [key["pubkey"] for key in keys].index(str(target))
    assert keys[position] == {
        "pubkey": str(target),
        "signer": False,
        "source": "lookupTable",
        "writable": True,
    }
    assert entry["meta"]["postBalances"][position] - entry["meta"]["preBalances"][position] == SOL
    full = block(rpc, slot)["transactions"][0]
    assert full["meta"]["loadedAddresses"] == {"writable": [str(target)], "readonly": []}
    assert str(target) not in full["transaction"]["message"]["accountKeys"]
    lookups = full["transaction"]["message"]["addressTableLookups"]
    assert lookups == [{"accountKey": str(table), "writableIndexes": [0], "readonlyIndexes": []}]


def test_blocks_are_linked(node: Validator, rpc: Rpc) -> None:
    node.advance(3)
    node.ledger.skip_slots(2)
    node.advance(10)
    slots = rpc.call("getBlocks", 0)
    assert slots[:6] == [0, 1, 2, 3, 6, 7]
    blocks = [block(rpc, slot) for slot in slots]
    for older, newer, slot in zip(blocks, blocks[1:], slots, strict=False):
        assert newer["previousBlockhash"] == older["blockhash"]
        assert newer["parentSlot"] == slot
        assert newer["blockHeight"] == older["blockHeight"] + 1
        assert newer["blockTime"] >= older["blockTime"]
    assert len({found["blockhash"] for found in blocks}) == len(blocks)


def test_missing_blocks_are_told_apart(node: Validator, rpc: Rpc) -> None:
    node.advance(3)
    node.call(node.ledger.skip_slots, 1)
    skipped, newest = 4, 5
    assert node.ledger.open.slot == newest
    assert rpc.error("getBlock", skipped) == {
        "code": -32004,
        "message": "Block not available for slot 4",
    }
    node.advance(6)
    assert rpc.error("getBlock", skipped) == {
        "code": -32007,
        "message": "Slot 4 was skipped, or missing due to ledger jump to recent snapshot",
    }
    assert rpc.error("getBlockTime", skipped)["code"] == -32007
    above_root = node.ledger.root_slot + 1
    assert rpc.error("getBlock", above_root)["code"] == -32004
    assert block(rpc, above_root, commitment="confirmed")["parentSlot"] == above_root - 1
    assert rpc.error("getBlock", node.ledger.open.slot, {"commitment": "confirmed"})["code"] == -32004
    assert rpc.error("getBlock", 10**9)["code"] == -32004
    error = rpc.error("getBlock", above_root, {"commitment": "processed"})
    assert error["message"] == "Method does not support commitment below `confirmed`"


def test_ranges(node: Validator, rpc: Rpc) -> None:
    node.advance(9)
    root, confirmed = node.ledger.root_slot, node.ledger.slot_at("confirmed")
    assert rpc.call("getBlocks", 2) == list(range(2, root + 1))
    assert rpc.call("getBlocks", 2, 4) == [2, 3, 4]
    assert rpc.call("getBlocks", 2, {"commitment": "confirmed"}) == list(range(2, confirmed + 1))
    assert rpc.call("getBlocks", 2, None, {"commitment": "confirmed"})[-1] == confirmed
    assert rpc.call("getBlocks", root + 1) == rpc.call("getBlocks", 5, 4) == []
    assert rpc.call("getBlocksWithLimit", 1, 2) == [1, 2]
    assert rpc.call("getBlocksWithLimit", root, 9) == [root]
    assert rpc.error("getBlocksWithLimit", 0, 500_001)["message"] == "Limit too large; max 500000"
    assert rpc.call("getFirstAvailableBlock") == rpc.call("minimumLedgerSlot") == 0


def test_a_range_that_is_too_large(node: Validator, rpc: Rpc) -> None:
    node.warp(slot=600_000)
    node.advance(6)
    error = rpc.error("getBlocks", 0, 600_001)
    assert error == {"code": -32602, "message": "Slot range too large; max 500000"}
    assert rpc.call("getEpochInfo")["epoch"] == 1


def test_a_reorg_is_seen_over_http(node: Validator, rpc: Rpc) -> None:
    node.advance(6)
    tip = node.ledger.tip
    assert block(rpc, tip.slot, commitment="confirmed")["blockhash"] == tip.blockhash
    node.faults.reorg(1)
    assert rpc.error("getBlock", tip.slot, {"commitment": "confirmed"})["code"] == -32004
    newest = node.ledger.tip
    assert block(rpc, newest.slot, commitment="confirmed")["parentSlot"] == tip.parent_slot
    node.finalize()
    assert rpc.error("getBlock", tip.slot)["code"] == -32007


def test_heights_and_blockhashes_per_commitment(node: Validator, rpc: Rpc) -> None:
    node.advance(8)
    ledger = node.ledger

    def ask(method: str, level: str) -> Any:
        return rpc.call(method, {"commitment": level})

    assert [ask("getSlot", level) for level in ("processed", "confirmed", "finalized")] == [9, 8, 5]
    assert [ask("getBlockHeight", level) for level in ("processed", "confirmed", "finalized")] == [9, 8, 5]
    latest = rpc.value("getLatestBlockhash", {"commitment": "finalized"})
    assert latest == {"blockhash": ledger.chain[5].blockhash, "lastValidBlockHeight": 155}
    processed = rpc.value("getLatestBlockhash", {"commitment": "processed"})
    assert processed["blockhash"] == ledger.tip.blockhash
    assert rpc.value("isBlockhashValid", processed["blockhash"], {"commitment": "confirmed"}) is True
    assert rpc.value("isBlockhashValid", processed["blockhash"]) is False
    assert rpc.value("isBlockhashValid", str(Hash.new_unique())) is False
    node.advance(151)
    assert rpc.value("isBlockhashValid", latest["blockhash"], {"commitment": "processed"}) is False


def test_slots_pass_by_themselves_with_a_clock() -> None:
    with Validator(rpc_port=0, ws_port=0, slot_ms=5) as node:
        rpc = Rpc(node.rpc_url)
        start = rpc.call("getSlot", {"commitment": "processed"})
        while rpc.call("getSlot", {"commitment": "processed"}) < start + 5:
            pass
        node.pause()
        stopped = rpc.call("getSlot", {"commitment": "processed"})
        for _ in range(20):
            assert rpc.call("getSlot", {"commitment": "processed"}) == stopped
        node.resume()
        while rpc.call("getSlot", {"commitment": "processed"}) == stopped:
            pass

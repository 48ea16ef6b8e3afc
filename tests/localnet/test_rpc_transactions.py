"""Sending, simulating and looking up transactions over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from localnet import Validator, base58, programs

from .helpers import SOL, Rpc, legacy, pay, v0, v1, wire

SYSTEM = str(programs.SYSTEM)


@pytest.fixture
def node() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0, finality_lag=4) as validator:
        yield validator


@pytest.fixture
def rpc(node: Validator) -> Rpc:
    return Rpc(node.rpc_url)


@pytest.fixture
def payer(node: Validator) -> Keypair:
    keypair = Keypair()
    node.airdrop(keypair.pubkey(), 10 * SOL)
    return keypair


def unsigned(payer: Keypair, blockhash: Hash, *instructions: Instruction) -> VersionedTransaction:
    message = MessageV0.try_compile(payer.pubkey(), list(instructions), [], blockhash)
    return VersionedTransaction.populate(message, [Signature.default()])


def status(rpc: Rpc, signature: str, **config: Any) -> Any:
    return rpc.value("getSignatureStatuses", [signature], config)[0]


def test_a_transfer_from_send_to_finalized(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    target = Pubkey.new_unique()
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL))
    signature = rpc.send(transaction)
    assert signature == str(transaction.signatures[0])
    slot = node.ledger.open.slot
    expected = {
        "slot": slot,
        "confirmations": 0,
        "status": {"Ok": None},
        "err": None,
        "confirmationStatus": "processed",
    }
    assert status(rpc, signature) == expected
    node.advance()
    assert status(rpc, signature) == expected | {"confirmations": 1, "confirmationStatus": "confirmed"}
    assert rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 0}) is None
    node.finalize()
    assert status(rpc, signature) == expected | {
        "confirmations": None,
        "confirmationStatus": "finalized",
    }
    found = rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 0})
    assert (found["slot"], found["version"], found["transactionIndex"]) == (slot, 0, 0)
    assert found["blockTime"] == rpc.call("getBlockTime", slot)
    assert found["meta"] == {
        "err": None,
        "status": {"Ok": None},
        "fee": 5_000,
        "preBalances": [10 * SOL, 0, 1],
        "postBalances": [9 * SOL - 5_000, SOL, 1],
        "preTokenBalances": [],
        "postTokenBalances": [],
        "innerInstructions": [],
        "logMessages": [f"Program {SYSTEM} invoke [1]", f"Program {SYSTEM} success"],
        "rewards": [],
        "loadedAddresses": {"readonly": [], "writable": []},
        "computeUnitsConsumed": 150,
        "costUnits": found["meta"]["costUnits"],
    }
    message = found["transaction"]["message"]
    assert message["accountKeys"] == [str(payer.pubkey()), str(target), SYSTEM]
    assert message["instructions"] == [
        {
            "programIdIndex": 2,
            "accounts": [0, 1],
            "data": base58.encode(b"\2\0\0\0" + SOL.to_bytes(8, "little")),
            "stackHeight": 1,
        }
    ]
    assert message["addressTableLookups"] == []


@pytest.mark.parametrize("encoding", ["base58", "base64"])
def test_transactions_come_back_as_they_were_sent(
    node: Validator, rpc: Rpc, payer: Keypair, encoding: str
) -> None:
    transaction = legacy(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    sent = wire(transaction) if encoding == "base64" else base58.encode(bytes(transaction))
    signature = rpc.call("sendTransaction", sent, {"encoding": encoding, "preflightCommitment": "processed"})
    node.finalize()
    found = rpc.call("getTransaction", signature, encoding)
    assert found["transaction"] == [sent, encoding]
    assert "version" not in found
    assert rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 0})["version"] == "legacy"


def test_a_v1_transaction(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    target = Pubkey.new_unique()
    signature = rpc.send(v1(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL)))
    node.finalize()
    assert rpc.value("getBalance", str(target)) == SOL
    for options in ({}, {"maxSupportedTransactionVersion": 0}):
        error = rpc.error("getTransaction", signature, options)
        assert error == {
            "code": -32015,
            "message": "Transaction version (1) is not supported by the requesting client. Please try the "
            "request again with the following configuration parameter: "
            '"maxSupportedTransactionVersion": 1',
        }
    found = rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 1})
    assert found["version"] == 1
    assert found["transaction"]["message"]["accountKeys"][1] == str(target)


def test_preflight_failure_says_why(rpc: Rpc, payer: Keypair) -> None:
    transaction = v0(payer, rpc.blockhash("finalized"), pay(payer.pubkey(), Pubkey.new_unique(), 99 * SOL))
    error = rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"})
    data = error.pop("data")
    assert error == {
        "code": -32002,
        "message": "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1",
    }
    assert data["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert data["logs"] == [
        f"Program {SYSTEM} invoke [1]",
        "Transfer: insufficient lamports 9999995000, need 99000000000",
        f"Program {SYSTEM} failed: custom program error: 0x1",
    ]
    assert data["unitsConsumed"] == 150
    for name in ("accounts", "returnData", "innerInstructions", "replacementBlockhash"):
        assert data[name] is None


def test_preflight_runs_at_its_own_commitment(node: Validator, rpc: Rpc) -> None:
    fresh = Keypair()
    node.airdrop(fresh.pubkey(), SOL, settle=False)
    transaction = v0(fresh, rpc.blockhash("finalized"), pay(fresh.pubkey(), Pubkey.new_unique(), SOL // 2))
    refused = rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"})
    assert refused["data"]["err"] == "AccountNotFound"
    assert refused["message"] == (
        "Transaction simulation failed: Attempt to debit an account but found no record of a prior credit."
    )
    assert rpc.send(transaction, preflightCommitment="processed") == str(transaction.signatures[0])


def test_a_blockhash_that_the_preflight_commitment_has_not_seen(
    node: Validator, rpc: Rpc, payer: Keypair
) -> None:
    node.advance()
    newest = rpc.blockhash("confirmed")
    transaction = v0(payer, newest, pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    error = rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"})
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    assert error["message"] == "Transaction simulation failed: Blockhash not found"
    assert error["data"]["logs"] == []
    rpc.send(transaction, preflightCommitment="confirmed")


def test_the_same_transaction_twice(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    target = Pubkey.new_unique()
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL))
    signature = rpc.send(transaction)
    error = rpc.error(
        "sendTransaction", wire(transaction), {"encoding": "base64", "preflightCommitment": "processed"}
    )
    assert error["message"] == ("Transaction simulation failed: This transaction has already been processed")
    assert rpc.send(transaction, skipPreflight=True) == signature
    node.finalize()
    assert rpc.value("getBalance", str(target)) == SOL


def test_without_preflight_a_failing_transaction_lands_and_pays(
    node: Validator, rpc: Rpc, payer: Keypair
) -> None:
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), 99 * SOL))
    signature = rpc.send(transaction, skipPreflight=True)
    err = {"InstructionError": [0, {"Custom": 1}]}
    assert status(rpc, signature)["err"] == err
    assert status(rpc, signature)["status"] == {"Err": err}
    assert rpc.value("getBalance", str(payer.pubkey()), {"commitment": "processed"}) == 10 * SOL - 5_000


def test_a_wrong_signature(rpc: Rpc, payer: Keypair) -> None:
    transaction = unsigned(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    error = rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"})
    assert error == {"code": -32003, "message": "Transaction signature verification failure"}
    signature = rpc.send(transaction, skipPreflight=True)
    assert status(rpc, signature) is None


def test_an_unhealthy_node_refuses_to_preflight(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    node.node.slots_behind = 42
    expected = {
        "code": -32005,
        "message": "Node is behind by 42 slots",
        "data": {"numSlotsBehind": 42},
    }
    assert rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"}) == expected
    assert rpc.error("getHealth") == expected


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        ("!!", {"encoding": "base64"}, "invalid base64 encoding: InvalidByte(0, 33)"),
        ("0OIl", {}, "invalid base58 encoding: InvalidCharacter { character: '0', index: 0 }"),
        ("AA==", {"encoding": "json"}, "unsupported encoding: json. Supported encodings: base58, base64"),
        (
            base64.b64encode(bytes(1_233)).decode(),
            {"encoding": "base64"},
            "decoded solana_transaction::versioned::VersionedTransaction too large: 1233 bytes "
            "(max: 1232 bytes)",
        ),
        (
            "A" * 6_000,
            {"encoding": "base64"},
            "base64 encoded solana_transaction::versioned::VersionedTransaction too large: 6000 bytes "
            "(max: encoded/raw 5464/4096)",
        ),
    ],
)
def test_what_is_no_transaction(rpc: Rpc, text: str, config: dict[str, str], message: str) -> None:
    assert rpc.error("sendTransaction", text, config) == {"code": -32602, "message": message}


@pytest.mark.parametrize("cut", [0, 1, 10, 64, 65, 100, 200])
def test_truncated_transactions_never_break_the_server(rpc: Rpc, payer: Keypair, cut: int) -> None:
    whole = bytes(v0(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL)))
    text = base64.b64encode(whole[:cut]).decode()
    error = rpc.error("sendTransaction", text, {"encoding": "base64"})
    assert error["code"] == -32602
    assert error["message"].startswith("failed to deserialize solana_transaction")
    assert rpc.call("getHealth") == "ok"


def test_simulation_reports_and_keeps_nothing(rpc: Rpc, payer: Keypair) -> None:
    target = str(Pubkey.new_unique())
    transaction = unsigned(payer, Hash.new_unique(), pay(payer.pubkey(), Pubkey.from_string(target), SOL))
    config = {
        "encoding": "base64",
        "replaceRecentBlockhash": True,
        "accounts": {"encoding": "base64", "addresses": [target]},
        "innerInstructions": True,
    }
    value = rpc.value("simulateTransaction", wire(transaction), config)
    latest = rpc.value("getLatestBlockhash")
    assert (value["err"], value["unitsConsumed"], value["fee"]) == (None, 150, 5_000)
    assert value["replacementBlockhash"] == latest
    assert value["accounts"][0]["lamports"] == SOL
    assert value["innerInstructions"] == []
    assert value["preBalances"] == [10 * SOL, 0, 1]
    assert value["postBalances"] == [9 * SOL - 5_000, SOL, 1]
    assert value["loadedAccountsDataSize"] == 64 + 64 + 14
    assert rpc.value("getBalance", target, {"commitment": "processed"}) == 0


def test_a_landed_transaction_can_be_simulated_on_another_blockhash(
    node: Validator, rpc: Rpc, payer: Keypair
) -> None:
    """A validator remembers the message: with its own blockhash it is known, with another one it is new."""
    landed = v0(payer, rpc.blockhash("finalized"), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    rpc.send(landed)
    node.advance(10)
    config = {"encoding": "base64"}
    assert rpc.value("simulateTransaction", wire(landed), config)["err"] == "AlreadyProcessed"
    again = rpc.value("simulateTransaction", wire(landed), {**config, "replaceRecentBlockhash": True})
    assert (again["err"], again["unitsConsumed"]) == (None, 150)
    assert again["postBalances"][0] == 8 * SOL - 2 * 5_000


def test_simulation_refusals(rpc: Rpc, payer: Keypair) -> None:
    good = v0(payer, rpc.blockhash("finalized"), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    both = {"encoding": "base64", "sigVerify": True, "replaceRecentBlockhash": True}
    error = rpc.error("simulateTransaction", wire(good), both)
    assert error["message"] == "sigVerify may not be used with replaceRecentBlockhash"
    bad = unsigned(payer, rpc.blockhash("finalized"), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    error = rpc.error("simulateTransaction", wire(bad), {"encoding": "base64", "sigVerify": True})
    assert error["code"] == -32003
    stale = unsigned(payer, Hash.new_unique(), pay(payer.pubkey(), Pubkey.new_unique(), SOL))
    value = rpc.value("simulateTransaction", wire(stale), {"encoding": "base64"})
    assert (value["err"], value["logs"], value["unitsConsumed"]) == ("BlockhashNotFound", [], 0)


def test_lookup_tables_that_cannot_be_used(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    from solders.address_lookup_table_account import AddressLookupTableAccount

    target = Pubkey.new_unique()
    table = AddressLookupTableAccount(Pubkey.new_unique(), [target])
    transaction = v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL), tables=[table])
    error = rpc.error("sendTransaction", wire(transaction), {"encoding": "base64"})
    assert error == {
        "code": -32602,
        "message": "invalid transaction: Transaction loads an address table account that doesn't exist",
    }


def test_fees(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    instructions = [
        set_compute_unit_limit(1_000),
        set_compute_unit_price(2_500_001),
        pay(payer.pubkey(), Pubkey.new_unique(), SOL),
    ]
    transaction = v0(payer, rpc.blockhash("finalized"), *instructions)
    text = base64.b64encode(to_bytes_versioned(transaction.message)).decode()
    assert rpc.value("getFeeForMessage", text) == 5_000 + 2_501
    signature = rpc.send(transaction)
    node.finalize()
    found = rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 0})
    assert found["meta"]["fee"] == 7_501
    fees = rpc.call("getRecentPrioritizationFees", [str(payer.pubkey())])
    assert {"slot": found["slot"], "prioritizationFee": 2_500_001} in fees
    assert rpc.call("getRecentPrioritizationFees", [str(Pubkey.new_unique())])[-1]["prioritizationFee"] == 0
    old = MessageV0.try_compile(payer.pubkey(), instructions, [], Hash.new_unique())
    assert rpc.value("getFeeForMessage", base64.b64encode(to_bytes_versioned(old)).decode()) is None


def test_priority_fees_are_the_least_that_got_in(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    other = Keypair()
    node.airdrop(other.pubkey(), SOL)
    blockhash, target = rpc.blockhash(), Pubkey.new_unique()
    slot = node.ledger.open.slot
    for keypair, price in ((payer, 900), (payer, 300), (other, 100), (other, 0)):
        bid = [set_compute_unit_price(price)] if price else []
        rpc.send(v0(keypair, blockhash, *bid, pay(keypair.pubkey(), target, SOL // 10)))
    node.advance()

    def fee(*keys: Pubkey) -> int:
        entries = rpc.call("getRecentPrioritizationFees", [str(key) for key in keys])
        return next(entry["prioritizationFee"] for entry in entries if entry["slot"] == slot)

    assert fee() == 0
    assert fee(payer.pubkey()) == 300
    assert fee(other.pubkey()) == fee(target) == fee(Pubkey.new_unique()) == 0
    assert fee(other.pubkey(), payer.pubkey()) == 300


def test_token_balances_inner_instructions_and_accounts_form(
    node: Validator, rpc: Rpc, payer: Keypair
) -> None:
    mint = node.create_mint(decimals=2)
    account = node.mint_to(mint, payer.pubkey(), 250)
    signature = rpc.call("getSignaturesForAddress", str(account))[0]["signature"]
    found = rpc.call("getTransaction", signature, {"encoding": "jsonParsed"})
    meta, message = found["meta"], found["transaction"]["message"]
    keys = [key["pubkey"] for key in message["accountKeys"]]
    assert meta["preTokenBalances"] == []
    assert meta["postTokenBalances"] == [
        {
            "accountIndex": keys.index(str(account)),
            "mint": str(mint),
            "owner": str(payer.pubkey()),
            "programId": str(programs.TOKEN),
            "uiTokenAmount": {
                "amount": "250",
                "decimals": 2,
                "uiAmount": 2.5,
                "uiAmountString": "2.5",
            },
        }
    ]
    assert "loadedAddresses" not in meta
    create, issue = message["instructions"][0], message["instructions"][1]
    assert create["program"] == "spl-associated-token-account"
    assert create["parsed"]["type"] == "createIdempotent"
    assert create["parsed"]["info"]["wallet"] == str(payer.pubkey())
    assert issue["parsed"]["type"] == "mintToChecked"
    assert issue["parsed"]["info"]["tokenAmount"]["uiAmountString"] == "2.5"
    inner = meta["innerInstructions"]
    assert [group["index"] for group in inner] == [0]
    assert {item["stackHeight"] for item in inner[0]["instructions"]} == {2}
    kinds = [item["parsed"]["type"] for item in inner[0]["instructions"]]
    assert kinds == [
        "getAccountDataSize",
        "createAccount",
        "initializeImmutableOwner",
        "initializeAccount3",
    ]


def test_history_pages(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    target = Pubkey.new_unique()
    sent = []
    for number in range(5):
        sent.append(rpc.send(v0(payer, rpc.blockhash(), pay(payer.pubkey(), target, SOL + number))))
        if number % 2:
            node.advance()
    node.finalize()
    newest_first = sent[::-1]

    def page(**config: Any) -> list[str]:
        return [e["signature"] for e in rpc.call("getSignaturesForAddress", str(target), config)]

    assert page() == newest_first
    assert page(limit=2) == newest_first[:2]
    assert page(before=newest_first[1]) == newest_first[2:]
    assert page(until=newest_first[3]) == newest_first[:3]
    assert page(before=newest_first[0], until=newest_first[4], limit=2) == newest_first[1:3]
    assert page(before=str(Signature.new_unique())) == []
    assert page(minContextSlot=1) == newest_first
    assert rpc.error("getSignaturesForAddress", str(target), {"limit": 0}) == {
        "code": -32602,
        "message": "Invalid limit; max 1000",
    }


def test_history_says_how_far_and_shows_memos(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    memo = Instruction(programs.MEMO, b"for lunch", [])
    signature = rpc.send(v0(payer, rpc.blockhash(), memo))
    assert rpc.call("getSignaturesForAddress", str(payer.pubkey()), {"limit": 1})[0]["signature"] != signature
    node.advance()
    config = {"commitment": "confirmed", "limit": 1}
    entry = rpc.call("getSignaturesForAddress", str(payer.pubkey()), config)[0]
    slot = entry["slot"]
    assert entry == {
        "signature": signature,
        "slot": slot,
        "err": None,
        "memo": "[9] for lunch",
        "blockTime": rpc.call("getBlockTime", slot),
        "confirmationStatus": "confirmed",
        "transactionIndex": 0,
    }
    refused = rpc.error("getSignaturesForAddress", str(payer.pubkey()), {"commitment": "processed"})
    assert refused["message"] == "Method does not support commitment below `confirmed`"


def test_an_old_status_needs_a_search(node: Validator, rpc: Rpc, payer: Keypair) -> None:
    signature = rpc.send(v0(payer, rpc.blockhash(), pay(payer.pubkey(), Pubkey.new_unique(), SOL)))
    node.advance(300)
    assert status(rpc, signature) is not None
    node.advance()
    assert status(rpc, signature) is None
    assert status(rpc, signature, searchTransactionHistory=True)["confirmationStatus"] == "finalized"
    assert status(rpc, str(Signature.new_unique()), searchTransactionHistory=True) is None


def test_airdrops(node: Validator, rpc: Rpc) -> None:
    target = str(Pubkey.new_unique())
    first, second = (rpc.call("requestAirdrop", target, SOL) for _ in range(2))
    assert first != second
    node.finalize()
    assert rpc.value("getBalance", target) == 2 * SOL
    assert status(rpc, second)["err"] is None

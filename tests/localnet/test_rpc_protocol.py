"""The JSON-RPC envelope and HTTP: batches, errors in a validator's words, CORS, health."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from solders.pubkey import Pubkey

from localnet import Validator
from localnet.methods import METHODS

from .helpers import Rpc

KEY = str(Pubkey([7] * 32))
ODD_PARAMS = [[], [None], [{}], [[]], [-1], ["x"], [KEY], [0, None], [2**70], ["", {}], [[None], {}]]


@pytest.fixture(scope="module")
def node() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0) as validator:
        yield validator


@pytest.fixture(scope="module")
def rpc(node: Validator) -> Rpc:
    return Rpc(node.rpc_url)


def post(rpc: Rpc, body: bytes) -> Any:
    status, answer = rpc.post(body)
    assert status == 200
    return json.loads(answer) if answer else None


def test_batches_answer_every_request_in_order(rpc: Rpc) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": 2, "method": "nope"},
        {"jsonrpc": "2.0", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": None, "method": "getBalance", "params": [KEY]},
        5,
    ]
    answers = post(rpc, json.dumps(batch).encode())
    assert answers[0] == {"jsonrpc": "2.0", "id": "a", "result": "ok"}
    assert answers[1]["error"] == {"code": -32601, "message": "Method not found"}
    assert (answers[2]["id"], answers[2]["result"]["value"]) == (None, 0)
    assert answers[3]["error"] == {"code": -32600, "message": "Invalid request"}
    assert len(answers) == 4


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", -32700, "Parse error"),
        (b"\xff\xfe", -32700, "Parse error"),
        (b"", -32700, "Parse error"),
        (b"[]", -32600, "Invalid request"),
        (b"{}", -32600, "Invalid request"),
        (b'{"id":1,"method":"getHealth"}', -32600, "Invalid request"),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600, "Invalid request"),
    ],
)
def test_what_is_no_request(rpc: Rpc, body: bytes, code: int, message: str) -> None:
    assert post(rpc, body)["error"] == {"code": code, "message": message}


def test_a_notification_gets_no_answer(rpc: Rpc) -> None:
    assert post(rpc, b'{"jsonrpc":"2.0","method":"getHealth"}') is None


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("getBalance", [], "`params` should have at least 1 argument(s)"),
        ("getBalance", {"a": 1}, "`params` should be an array"),
        ("getBalance", ["abc"], "Invalid param: WrongSize"),
        ("getBalance", ["0" * 40], "Invalid param: Invalid"),
        ("getBalance", ["1" * 100], "Invalid param: WrongSize"),
        ("getBalance", [5], "Invalid params: invalid type: integer `5`, expected a string."),
        ("getBalance", [None], "Invalid params: invalid type: null, expected a string."),
        (
            "getBalance",
            [KEY, "confirmed"],
            'Invalid params: invalid type: string "confirmed", expected struct RpcContextConfig.',
        ),
        (
            "getBalance",
            [KEY, {"commitment": "soon"}],
            "Invalid params: unknown variant `soon`, expected one of `max`, `recent`, `root`, `single`, "
            "`singleGossip`, `processed`, `confirmed`, `finalized`.",
        ),
        (
            "getBalance",
            [KEY, {}, 1],
            "Invalid params: invalid length 3, expected fewer elements in array.",
        ),
        (
            "getBalance",
            [KEY, {"minContextSlot": -1}],
            "Invalid params: invalid value: integer `-1`, expected u64.",
        ),
        ("getBlock", ["1"], 'Invalid params: invalid type: string "1", expected u64.'),
        ("getBlock", [1.5], "Invalid params: invalid type: floating point `1.5`, expected u64."),
        ("getBlock", [True], "Invalid params: invalid type: boolean `true`, expected u64."),
        (
            "getBlock",
            [0, {"maxSupportedTransactionVersion": 256}],
            "Invalid params: invalid value: integer `256`, expected u8.",
        ),
        (
            "getAccountInfo",
            [KEY, {"dataSlice": {"offset": 1}}],
            "Invalid params: missing field `length`.",
        ),
        (
            "getAccountInfo",
            [KEY, {"encoding": "hex"}],
            "Invalid params: unknown variant `hex`, expected one of `binary`, `base58`, `base64`, "
            "`jsonParsed`, `base64+zstd`.",
        ),
        ("getMultipleAccounts", [KEY], f'Invalid params: invalid type: string "{KEY}", expected a sequence.'),
        ("getSignatureStatuses", [["x"] * 257], "Too many inputs provided; max 256"),
        ("getSignatureStatuses", [["abc"]], "Invalid param: WrongSize"),
        ("getTransaction", ["abc"], "Invalid param: WrongSize"),
        ("isBlockhashValid", ["abc"], "WrongSize"),
        ("requestAirdrop", [KEY, 1, {"recentBlockhash": "abc"}], "Invalid param: WrongSize"),
    ],
)
def test_bad_parameters_are_refused_in_a_validators_words(
    rpc: Rpc, method: str, params: object, message: str
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    assert post(rpc, json.dumps(body).encode())["error"] == {"code": -32602, "message": message}


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("params", ODD_PARAMS, ids=str)
def test_no_parameters_break_a_method(rpc: Rpc, name: str, params: object) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
    answer = post(rpc, json.dumps(body).encode())
    assert answer.get("error", {}).get("code") != -32603, answer


def test_health_and_other_paths(node: Validator) -> None:
    def get(path: str, method: str = "GET", headers: Any = None) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", node.rpc_port, timeout=60)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        answer = response.status, response.read(), response.headers
        connection.close()
        return answer

    assert get("/health")[:2] == (200, b"ok")
    node.node.slots_behind = 3
    assert get("/health")[:2] == (200, b"behind")
    node.node.slots_behind = 0
    assert get("/nothing")[0] == 405
    asked = {
        "Origin": "https://wallet.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, solana-client",
    }
    status, _, headers = get("/", "OPTIONS", asked)
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Allow-Headers"] == "content-type, solana-client"


def test_other_content_types_and_huge_bodies(rpc: Rpc) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
    assert rpc.post(body, "text/plain")[0] == 415
    assert rpc.post(body, "application/json; charset=utf-8")[0] == 200
    assert rpc.post(b'"' + b"x" * (50 * 1024) + b'"')[0] == 413


def test_every_method_of_the_contract_is_there() -> None:
    wanted = """getAccountInfo getMultipleAccounts getBalance getBlock getBlocks getBlocksWithLimit
    getBlockHeight getBlockTime getSlot getTransaction getSignaturesForAddress getSignatureStatuses
    sendTransaction simulateTransaction getLatestBlockhash isBlockhashValid getFeeForMessage
    getRecentPrioritizationFees getMinimumBalanceForRentExemption getTokenAccountBalance
    getTokenAccountsByOwner getTokenSupply getTokenLargestAccounts getSupply getEpochInfo
    getEpochSchedule getGenesisHash getHealth getIdentity getVersion getTransactionCount
    getFirstAvailableBlock minimumLedgerSlot requestAirdrop getProgramAccounts"""
    assert set(wanted.split()) <= set(METHODS)


def test_cluster_answers_have_their_members(rpc: Rpc) -> None:
    assert set(rpc.call("getVersion")) == {"solana-core", "feature-set"}
    assert set(rpc.call("getIdentity")) == {"identity"}
    assert set(rpc.call("getEpochInfo")) == {
        "absoluteSlot",
        "blockHeight",
        "epoch",
        "slotIndex",
        "slotsInEpoch",
        "transactionCount",
    }
    assert rpc.call("getEpochSchedule") == {
        "firstNormalEpoch": 0,
        "firstNormalSlot": 0,
        "leaderScheduleSlotOffset": 432_000,
        "slotsPerEpoch": 432_000,
        "warmup": False,
    }
    assert rpc.error("getHighestSnapshotSlot") == {"code": -32008, "message": "No snapshot"}


async def test_solana_py_works_unchanged(node: Validator) -> None:
    from solana.rpc.async_api import AsyncClient
    from solana.rpc.commitment import Confirmed
    from solana.rpc.models import TxOpts
    from solders.keypair import Keypair

    from .helpers import SOL, pay, v0

    payer, target = Keypair(), Pubkey.new_unique()
    await asyncio.to_thread(node.airdrop, payer.pubkey(), 10 * SOL)
    mint = await asyncio.to_thread(node.create_mint)
    account = await asyncio.to_thread(node.mint_to, mint, payer.pubkey(), 123)
    async with AsyncClient(node.rpc_url, commitment=Confirmed) as client:
        assert await client.is_connected()
        blockhash = (await client.get_latest_blockhash()).value.blockhash
        transaction = v0(payer, blockhash, pay(payer.pubkey(), target, SOL))
        simulated = await client.simulate_transaction(transaction)
        assert simulated.value.err is None
        sent = await client.send_transaction(transaction, opts=TxOpts(preflight_commitment=Confirmed))
        slot = node.ledger.open.slot
        await asyncio.to_thread(node.finalize)
        assert (await client.confirm_transaction(sent.value, Confirmed)).value[0] is not None
        assert (await client.get_balance(target)).value == SOL
        found = await client.get_transaction(sent.value, max_supported_transaction_version=0)
        assert found.value is not None
        assert found.value.slot == slot
        parsed = await client.get_transaction(
            sent.value, encoding="jsonParsed", max_supported_transaction_version=0
        )
        assert parsed.value is not None
        block = await client.get_block(slot, max_supported_transaction_version=0)
        assert block.value is not None
        assert len(block.value.transactions or []) == 1
        assert (await client.get_token_account_balance(account)).value.amount == "123"
        assert (await client.get_account_info_json_parsed(account)).value is not None
        history = await client.get_signatures_for_address(target)
        assert [entry.signature for entry in history.value] == [sent.value]
        assert (await client.get_epoch_info()).value.absolute_slot > slot
        assert (await client.get_supply()).value.total > 0
        assert (await client.get_version()).value.solana_core == "4.2.0"
        found_accounts = await client.get_program_accounts(mint.program, encoding="base64")
        assert account in [entry.pubkey for entry in found_accounts.value]
        fee = await client.get_fee_for_message(transaction.message)
        assert fee.value == 5_000

"""Subscriptions over a real socket: shapes, levels, filters, refusals, limits, slow readers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from solders.account import Account
from solders.compute_budget import set_compute_unit_price
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from localnet import minting, programs
from localnet.base58 import encode as base58_encode
from localnet.events import SignatureReceived
from localnet.faults import EndpointFaults
from localnet.ledger import Ledger
from localnet.pubsub import PubSubServer

SYSTEM = Pubkey.default()
NEVER_DUE = 2**64 - 1  # the rent epoch of every account that is exempt, which all are


class Client:
    """A JSON-RPC client over one WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.notifications: list[Any] = []
        self._id = 0

    async def ask(self, method: str, *params: Any) -> Any:
        self._id += 1
        await self.socket.send_json(
            {"jsonrpc": "2.0", "id": self._id, "method": method, "params": list(params)}
        )
        while True:
            answer = await self.socket.receive_json(timeout=60)
            if "id" in answer:
                assert answer["id"] == self._id
                return answer
            self.notifications.append(answer)

    async def subscribe(self, method: str, *params: Any) -> int:
        answer = await self.ask(method, *params)
        assert isinstance(answer.get("result"), int), answer
        return int(answer["result"])

    async def next(self) -> Any:
        if self.notifications:
            return self.notifications.pop(0)
        return await self.socket.receive_json(timeout=60)

    async def drain(self) -> list[Any]:
        """Every notification that the server sent before it answers a question."""
        await self.ask("nothing")
        found, self.notifications = self.notifications, []
        return found


class Net:
    """A ledger with a subscription server."""

    def __init__(
        self, ledger: Ledger, server: PubSubServer, port: int, session: aiohttp.ClientSession
    ) -> None:
        self.ledger = ledger
        self.server = server
        self.url = f"ws://127.0.0.1:{port}"
        self.session = session

    async def connect(self) -> Client:
        return Client(await self.session.ws_connect(self.url))

    def pay(self, target: Pubkey, lamports: int, *, source: Keypair | None = None, price: int = 0) -> str:
        """Run a transfer in the open slot; the price makes equal transfers differ."""
        source = source or self.ledger.faucet
        instructions = [
            set_compute_unit_price(price),
            transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports)),
        ]
        blockhash = self.ledger.tip.blockhash
        message = Message.new_with_blockhash(instructions, source.pubkey(), _hash(blockhash))
        transaction = VersionedTransaction(message, [source])
        record = self.ledger.process(transaction)
        assert str(transaction.signatures[0]) == getattr(record, "signature", record)
        return str(transaction.signatures[0])


def _hash(text: str) -> Any:
    from solders.hash import Hash

    return Hash.from_string(text)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Net]:
    ledger = Ledger(seed=b"pubsub", time_s=lambda slot: 1_700_000_000 + slot, confirmed_lag=2, finality_lag=4)
    server = PubSubServer(ledger, **options)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        try:
            yield Net(ledger, server, port, session)
        finally:
            await server.stop()


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with running() as net:
        yield net


# --- shapes


async def test_slot_and_root_notifications(net: Net) -> None:
    client = await net.connect()
    slot_id = await client.subscribe("slotSubscribe")
    root_id = await client.subscribe("rootSubscribe")
    assert (slot_id, root_id) == (0, 1)
    net.ledger.advance(4)
    messages = [await client.next() for _ in range(5)]
    slots = [m for m in messages if m["method"] == "slotNotification"]
    assert slots[0] == {
        "jsonrpc": "2.0",
        "method": "slotNotification",
        "params": {"result": {"parent": 1, "root": 0, "slot": 2}, "subscription": slot_id},
    }
    assert [m["params"]["result"]["slot"] for m in slots] == [2, 3, 4, 5]
    roots = [m for m in messages if m["method"] == "rootNotification"]
    assert roots == [
        {"jsonrpc": "2.0", "method": "rootNotification", "params": {"result": 1, "subscription": root_id}}
    ]


async def test_a_skipped_slot_is_never_announced(net: Net) -> None:
    client = await net.connect()
    await client.subscribe("slotSubscribe")
    net.ledger.advance(1)
    net.ledger.skip_slots(3)
    net.ledger.advance(1)
    slots = [m["params"]["result"] for m in await client.drain()]
    assert [(s["slot"], s["parent"]) for s in slots] == [(2, 1), (5, 1), (6, 5)]


async def test_signature_is_reported_at_each_level_once_and_ends_itself(net: Net) -> None:
    client = await net.connect()
    signature = net.pay(Keypair().pubkey(), 1_000_000)
    # the transaction is processed already; the others have not been reached
    levels = {}
    for commitment in ("confirmed", "finalized"):
        levels[await client.subscribe("signatureSubscribe", signature, {"commitment": commitment})] = (
            commitment
        )
    reported = {}
    for _ in range(6):
        net.ledger.advance()
        for message in await client.drain():
            assert message["method"] == "signatureNotification"
            result = message["params"]["result"]
            assert result["value"] == {"err": None}
            reported[levels[message["params"]["subscription"]]] = (
                net.ledger.open.slot,
                result["context"]["slot"],
            )
    # paid in slot 1; confirmed when two blocks lie below the open slot, finalized when four do
    assert reported == {"confirmed": (3, 1), "finalized": (5, 1)}
    assert net.server.subscriber_count == 0
    for subscription in levels:
        assert (await client.ask("signatureUnsubscribe", subscription))["error"] == {
            "code": -32602,
            "message": "Invalid subscription id.",
        }


async def test_signature_processed_before_it_was_subscribed_is_reported_at_the_next_slot(net: Net) -> None:
    client = await net.connect()
    signature = net.pay(Keypair().pubkey(), 1_000_000)
    net.ledger.advance(6)
    for commitment in ("processed", "confirmed", "finalized"):
        await client.subscribe("signatureSubscribe", signature, {"commitment": commitment})
    assert await client.drain() == []
    net.ledger.advance()
    assert [m["params"]["result"]["value"] for m in await client.drain()] == [{"err": None}] * 3
    assert net.server.subscriber_count == 0


async def test_signature_of_a_failed_transaction_carries_its_error(net: Net) -> None:
    client = await net.connect()
    poor = Keypair()
    net.pay(poor.pubkey(), 2_000_000)
    await client.subscribe("logsSubscribe", "all", {"commitment": "processed"})
    signature = net.pay(Keypair().pubkey(), 5_000_000, source=poor)
    (message,) = await client.drain()
    assert message["params"]["result"]["value"]["signature"] == signature
    assert message["params"]["result"]["value"]["err"] == {"InstructionError": [1, {"Custom": 1}]}
    assert any("insufficient lamports" in line for line in message["params"]["result"]["value"]["logs"])
    await client.subscribe("signatureSubscribe", signature, {"commitment": "confirmed"})
    net.ledger.advance(2)
    (message,) = [m for m in await client.drain() if m["method"] == "signatureNotification"]
    assert message["params"]["result"]["value"] == {"err": {"InstructionError": [1, {"Custom": 1}]}}


async def test_received_signature_is_reported_first_and_does_not_end_the_subscription(net: Net) -> None:
    client = await net.connect()
    key = Keypair()
    signature = str(key.sign_message(b"not sent yet"))
    options = {"commitment": "processed", "enableReceivedNotification": True}
    subscription = await client.subscribe("signatureSubscribe", signature, options)
    net.ledger.publish(SignatureReceived(signature, net.ledger.open.slot))
    assert await client.next() == {
        "jsonrpc": "2.0",
        "method": "signatureNotification",
        "params": {
            "result": {"context": {"slot": 1}, "value": "receivedSignature"},
            "subscription": subscription,
        },
    }
    assert net.server.subscriber_count == 1
    # without the option nothing is said
    other = await net.connect()
    await other.subscribe("signatureSubscribe", signature, {"commitment": "processed"})
    net.ledger.publish(SignatureReceived(signature, net.ledger.open.slot))
    assert await other.drain() == []


async def test_account_notifications_at_each_level_with_exact_value(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    ids = {}
    for commitment in ("processed", "confirmed", "finalized"):
        options = {"commitment": commitment, "encoding": "base64"}
        ids[await client.subscribe("accountSubscribe", str(target), options)] = commitment
    net.pay(target, 1_000_000)
    (message,) = await client.drain()
    assert message == {
        "jsonrpc": "2.0",
        "method": "accountNotification",
        "params": {
            "result": {
                "context": {"slot": 1},
                "value": {
                    "data": ["", "base64"],
                    "executable": False,
                    "lamports": 1_000_000,
                    "owner": str(SYSTEM),
                    "rentEpoch": NEVER_DUE,
                    "space": 0,
                },
            },
            "subscription": min(ids),
        },
    }
    net.pay(target, 5, price=1)
    net.ledger.advance(4)
    seen = [(ids[m["params"]["subscription"]], m["params"]["result"]) for m in await client.drain()]
    # within the slot each change is told at processed, the slot's last state at the other levels
    assert [(level, r["context"]["slot"], r["value"]["lamports"]) for level, r in seen] == [
        ("processed", 1, 1_000_005),
        ("confirmed", 1, 1_000_005),
        ("finalized", 1, 1_000_005),
    ]


async def test_account_default_encoding_is_the_old_binary_and_too_long_data_says_so(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    await client.subscribe("accountSubscribe", str(target), {"commitment": "processed"})
    await client.subscribe("accountSubscribe", str(target), {"commitment": "processed", "encoding": "base58"})
    await client.subscribe(
        "accountSubscribe", str(target), {"commitment": "processed", "encoding": "base64+zstd"}
    )
    net.ledger.set_account(target, Account(1, b"abc", SYSTEM))
    data = [m["params"]["result"]["value"]["data"] for m in await client.drain()]
    assert data[:2] == [base58_encode(b"abc"), [base58_encode(b"abc"), "base58"]]
    assert data[2][1] == "base64+zstd"
    net.ledger.set_account(target, Account(1, bytes(200), SYSTEM))
    data = [m["params"]["result"]["value"]["data"] for m in await client.drain()]
    assert data[0] == "error: data too large for bs58 encoding"
    assert data[1] == ["error: data too large for bs58 encoding", "base58"]


async def test_a_closed_account_is_reported_as_empty(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    net.ledger.set_account(target, Account(7, b"x", target))
    await client.subscribe("accountSubscribe", str(target), {"commitment": "processed", "encoding": "base64"})
    net.ledger.set_account(target, None)
    (message,) = await client.drain()
    value = message["params"]["result"]["value"]
    assert (value["lamports"], value["owner"], value["data"]) == (0, str(SYSTEM), ["", "base64"])


async def test_an_account_that_did_not_change_is_not_reported(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    net.ledger.set_account(target, Account(7, b"x", SYSTEM))
    await client.subscribe("accountSubscribe", str(target), {"commitment": "processed"})
    net.ledger.set_account(target, Account(7, b"x", SYSTEM))
    assert await client.drain() == []


async def test_program_notifications_obey_filters(net: Net) -> None:
    client = await net.connect()
    program = Keypair().pubkey()
    matched = base58_encode(b"ab")
    subscription = await client.subscribe(
        "programSubscribe",
        str(program),
        {
            "commitment": "processed",
            "encoding": "base64",
            "filters": [{"dataSize": 4}, {"memcmp": {"offset": 1, "bytes": matched}}],
        },
    )
    hit, long, other, foreign = (Keypair().pubkey() for _ in range(4))
    net.ledger.set_account(long, Account(9, b"xabyz", program))
    net.ledger.set_account(other, Account(9, b"xbay", program))
    net.ledger.set_account(foreign, Account(9, b"xaby", SYSTEM))
    net.ledger.set_account(hit, Account(9, b"xaby", program))
    (message,) = await client.drain()
    assert message["method"] == "programNotification"
    assert message["params"]["subscription"] == subscription
    assert message["params"]["result"]["value"] == {
        "pubkey": str(hit),
        "account": {
            "data": [base64.b64encode(b"xaby").decode(), "base64"],
            "executable": False,
            "lamports": 9,
            "owner": str(program),
            "rentEpoch": NEVER_DUE,
            "space": 4,
        },
    }


async def test_program_notifications_at_confirmed_come_with_the_block(net: Net) -> None:
    client = await net.connect()
    program = Keypair().pubkey()
    await client.subscribe(
        "programSubscribe", str(program), {"commitment": "confirmed", "encoding": "base64"}
    )
    key = Keypair().pubkey()
    net.ledger.set_account(key, Account(1, b"first", program))
    net.ledger.set_account(key, Account(2, b"second", program))
    net.ledger.advance()
    net.ledger.set_account(key, Account(3, b"third", program))
    assert await client.drain() == []
    net.ledger.advance()
    (message,) = await client.drain()
    # slot 1 is confirmed: its last state, not the newer one of slot 2
    assert message["params"]["result"]["context"] == {"slot": 1}
    assert message["params"]["result"]["value"]["account"]["lamports"] == 2


async def test_token_accounts_parsed_by_account_and_by_program(net: Net) -> None:
    client = await net.connect()
    owner, authority = Keypair().pubkey(), Keypair()
    mint = minting.create_mint(
        net.ledger,
        decimals=6,
        program=programs.TOKEN,
        keypair=Keypair(),
        authority=authority,
        freeze_authority=None,
    )
    account = minting.associated_token_address(owner, mint.address, programs.TOKEN)
    options = {"commitment": "confirmed", "encoding": "jsonParsed"}
    single = await client.subscribe("accountSubscribe", str(account), options)
    filters = ["tokenAccountState", {"memcmp": {"offset": 32, "bytes": str(owner)}}]
    owned = await client.subscribe("programSubscribe", str(programs.TOKEN), options | {"filters": filters})
    assert minting.mint_to(net.ledger, mint, owner, 1_500_000) == account
    minting.mint_to(net.ledger, mint, Keypair().pubkey(), 7)
    net.ledger.advance(2)
    by_id = {m["params"]["subscription"]: m["params"]["result"]["value"] for m in await client.drain()}
    assert set(by_id) == {single, owned}
    assert by_id[owned]["pubkey"] == str(account)
    assert by_id[owned]["account"] == by_id[single]
    assert by_id[single]["data"] == {
        "program": "spl-token",
        "space": 165,
        "parsed": {
            "type": "account",
            "info": {
                "isNative": False,
                "mint": str(mint.address),
                "owner": str(owner),
                "state": "initialized",
                "tokenAmount": {
                    "amount": "1500000",
                    "decimals": 6,
                    "uiAmount": 1.5,
                    "uiAmountString": "1.5",
                },
            },
        },
    }


async def test_logs_by_mention_and_of_all(net: Net) -> None:
    client = await net.connect()
    one, two = Keypair().pubkey(), Keypair().pubkey()
    ids = {
        await client.subscribe("logsSubscribe", "all", {"commitment": "processed"}): "all",
        await client.subscribe("logsSubscribe", "allWithVotes", {"commitment": "confirmed"}): "confirmed",
        await client.subscribe("logsSubscribe", {"mentions": [str(one)]}, {"commitment": "processed"}): "one",
    }
    first = net.pay(one, 1_000_000)
    second = net.pay(two, 1_000_000)
    net.ledger.advance(2)
    seen = [
        (ids[m["params"]["subscription"]], m["params"]["result"]["value"]["signature"])
        for m in await client.drain()
    ]
    assert seen == [
        ("all", first),
        ("one", first),
        ("all", second),
        ("confirmed", first),
        ("confirmed", second),
    ]


async def test_block_notifications(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    every = await client.subscribe("blockSubscribe", "all", {"commitment": "confirmed"})
    named = await client.subscribe(
        "blockSubscribe",
        {"mentionsAccountOrProgram": str(target)},
        {
            "commitment": "finalized",
            "encoding": "json",
            "transactionDetails": "signatures",
            "showRewards": False,
            "maxSupportedTransactionVersion": 0,
        },
    )
    net.pay(Keypair().pubkey(), 1_000_000)
    signature = net.pay(target, 1_000_000)
    net.ledger.advance(5)
    messages = await client.drain()
    full = [m["params"]["result"] for m in messages if m["params"]["subscription"] == every]
    assert [r["context"]["slot"] for r in full] == [1, 2, 3, 4]
    block = net.ledger.block(1)
    assert block is not None
    update = full[0]["value"]
    assert (update["slot"], update["err"]) == (1, None)
    assert update["block"]["blockhash"] == block.blockhash
    assert update["block"]["parentSlot"] == 0
    assert [t["transaction"][1] for t in update["block"]["transactions"]] == ["base64", "base64"]
    (message,) = [m["params"]["result"] for m in messages if m["params"]["subscription"] == named]
    assert message == {
        "context": {"slot": 1},
        "value": {
            "slot": 1,
            "err": None,
            "block": {
                "blockHeight": 1,
                "blockTime": block.time_s,
                "blockhash": block.blockhash,
                "parentSlot": 0,
                "previousBlockhash": block.previous_blockhash,
                "signatures": [signature],
            },
        },
    }


async def test_block_with_a_version_the_subscriber_does_not_know(net: Net) -> None:
    client = await net.connect()
    await client.subscribe("blockSubscribe", "all", {"commitment": "confirmed"})
    payer = net.ledger.faucet
    instruction = transfer(
        TransferParams(from_pubkey=payer.pubkey(), to_pubkey=Keypair().pubkey(), lamports=10**6)
    )
    message = MessageV0.try_compile(payer.pubkey(), [instruction], [], _hash(net.ledger.tip.blockhash))
    net.ledger.process(VersionedTransaction(message, [payer]))
    net.ledger.advance(2)
    (notification,) = await client.drain()
    assert notification["params"]["result"]["value"] == {
        "slot": 1,
        "block": None,
        "err": {"UnsupportedTransactionVersion": 0},
    }


async def test_slots_updates(net: Net) -> None:
    client = await net.connect()
    await client.subscribe("slotsUpdatesSubscribe")
    net.pay(Keypair().pubkey(), 1_000_000)
    net.ledger.advance(4)
    updates = [m["params"]["result"] for m in await client.drain()]
    assert all(isinstance(update.pop("timestamp"), int) for update in updates)
    frozen = {
        "numTransactionEntries": 1,
        "numSuccessfulTransactions": 1,
        "numFailedTransactions": 0,
        "maxTransactionsPerEntry": 1,
    }
    assert updates[:2] == [
        {"slot": 1, "type": "frozen", "stats": frozen},
        {"slot": 2, "type": "createdBank", "parent": 1},
    ]
    assert {(u["type"], u["slot"]) for u in updates} >= {("optimisticConfirmation", 1), ("root", 1)}


# --- reorganizations


async def test_a_fork_takes_an_account_back_and_its_slots_are_dead(net: Net) -> None:
    client = await net.connect()
    target = Keypair().pubkey()
    await client.subscribe("slotsUpdatesSubscribe")
    account = await client.subscribe("accountSubscribe", str(target), {"commitment": "processed"})
    late = await client.subscribe("accountSubscribe", str(target), {"commitment": "confirmed"})
    net.pay(target, 1_000_000)
    net.ledger.advance(3)
    await client.drain()
    net.ledger.reorg(3, drop=None)
    messages = await client.drain()
    dead = [m["params"]["result"]["slot"] for m in messages if m["params"]["result"].get("type") == "dead"]
    assert dead == [1, 2, 3]
    for subscription in (account, late):
        (message,) = [m for m in messages if m["params"]["subscription"] == subscription]
        assert message["params"]["result"]["value"]["lamports"] == 0


async def test_a_dropped_signature_is_never_reported_and_a_kept_one_in_its_new_slot(net: Net) -> None:
    client = await net.connect()
    net.ledger.advance()  # so that the blockhash survives the fork
    kept, dropped = (net.pay(Keypair().pubkey(), 1_000_000) for _ in range(2))
    ids = {
        await client.subscribe("signatureSubscribe", signature, {"commitment": "finalized"}): signature
        for signature in (kept, dropped)
    }
    net.ledger.advance()
    fork = net.ledger.reorg(1, drop=frozenset({dropped}))
    net.ledger.advance(6)
    (message,) = await client.drain()
    assert ids[message["params"]["subscription"]] == kept
    assert message["params"]["result"]["context"]["slot"] == fork.new_slots[0]


# --- requests


async def test_equal_parameters_are_one_subscription_for_all_connections(net: Net) -> None:
    one, two = await net.connect(), await net.connect()
    assert await one.subscribe("slotSubscribe") == await two.subscribe("slotSubscribe") == 0
    assert await one.subscribe("slotSubscribe") == 0
    assert await one.subscribe("rootSubscribe") == 1
    assert (await one.ask("slotUnsubscribe", 0))["result"] is True
    net.ledger.advance()
    assert await one.drain() == []
    assert [m["method"] for m in await two.drain()] == ["slotNotification"]


KINDS = ["account", "block", "logs", "program", "root", "signature", "slot", "slotsUpdates"]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_unsubscribed_once(net: Net, kind: str) -> None:
    client = await net.connect()
    params: dict[str, list[Any]] = {
        "account": [str(SYSTEM)],
        "program": [str(SYSTEM)],
        "logs": ["all"],
        "block": ["all"],
        "signature": [str(Keypair().sign_message(b"x"))],
    }
    subscription = await client.subscribe(f"{kind}Subscribe", *params.get(kind, []))
    assert (await client.ask(f"{kind}Unsubscribe", subscription))["result"] is True
    assert net.server.subscriber_count == 0
    refused = await client.ask(f"{kind}Unsubscribe", subscription)
    assert refused["error"] == {"code": -32602, "message": "Invalid subscription id."}


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("accountSubscribe", ["x"], -32602, "Invalid Request: Invalid pubkey provided"),
        ("accountSubscribe", [], -32602, "`params` should have at least 1 argument(s)"),
        ("programSubscribe", ["0"], -32602, "Invalid Request: Invalid pubkey provided"),
        ("signatureSubscribe", ["abc"], -32602, "Invalid Request: Invalid signature provided"),
        ("logsSubscribe", [{"mentions": ["a", "b"]}], -32602, "Invalid Request: Only 1 address supported"),
        ("logsSubscribe", [{"mentions": []}], -32602, "Invalid Request: Only 1 address supported"),
        ("logsSubscribe", [{"mentions": ["?"]}], -32602, "Invalid Request: Invalid mentions provided"),
        (
            "blockSubscribe",
            ["all", {"commitment": "processed"}],
            -32602,
            "Method does not support commitment below `confirmed`",
        ),
        (
            "blockSubscribe",
            [{"mentionsAccountOrProgram": "?"}],
            -32602,
            "Invalid Request: Invalid mentions_account_or_program provided",
        ),
        ("voteSubscribe", [], -32601, "Method not found"),
        ("getSlot", [], -32601, "Method not found"),
        ("slotUnsubscribe", [99], -32602, "Invalid subscription id."),
    ],
)
async def test_refusals_in_the_validators_words(
    net: Net, method: str, params: list[Any], code: int, message: str
) -> None:
    client = await net.connect()
    answer = await client.ask(method, *params)
    assert answer["error"] == {"code": code, "message": message}
    assert net.server.subscriber_count == 0


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("accountSubscribe", [str(SYSTEM), {"encoding": "hex"}], "unknown variant `hex`"),
        ("accountSubscribe", [str(SYSTEM), {"commitment": "soon"}], "unknown variant `soon`"),
        ("accountSubscribe", [5], "invalid type: integer `5`, expected a string"),
        ("logsSubscribe", ["some"], "unknown variant `some`"),
        ("logsSubscribe", [7], "Invalid params"),
        ("slotSubscribe", [1], "No parameters were expected"),
    ],
)
async def test_malformed_parameters_are_invalid_params(
    net: Net, method: str, params: list[Any], words: str
) -> None:
    client = await net.connect()
    error = (await client.ask(method, *params))["error"]
    assert error["code"] == -32602
    assert words in error["message"]


async def test_frames_that_are_no_request(net: Net) -> None:
    client = await net.connect()
    for text, code, message in [
        ("{", -32700, "Parse error"),
        ("[]", -32600, "Invalid request"),
        ('{"id":1}', -32600, "Invalid request"),
    ]:
        await client.socket.send_str(text)
        answer = await client.socket.receive_json(timeout=60)
        assert answer["error"] == {"code": code, "message": message}


async def test_batches_and_notifications(net: Net) -> None:
    client = await net.connect()
    # web3.js and kit keep the connection alive with a notification, which is never answered
    await client.socket.send_json({"jsonrpc": "2.0", "method": "ping"})
    await client.socket.send_json(
        [
            {"jsonrpc": "2.0", "id": "a", "method": "slotSubscribe"},
            {"jsonrpc": "2.0", "method": "ping", "params": None},
            {"jsonrpc": "2.0", "id": 2, "method": "rootSubscribe", "params": []},
            {"jsonrpc": "2.0", "id": 3, "method": "nope"},
        ]
    )
    answer = await client.socket.receive_json(timeout=60)
    assert answer == [
        {"jsonrpc": "2.0", "result": 0, "id": "a"},
        {"jsonrpc": "2.0", "result": 1, "id": 2},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 3},
    ]


async def test_a_request_over_4096_bytes_closes_the_connection(net: Net) -> None:
    client = await net.connect()
    await client.subscribe("slotSubscribe")
    await client.socket.send_str(" " * 4097)
    message = await client.socket.receive(timeout=60)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert await _soon(lambda: net.server.connection_count == 0)
    assert net.server.subscriber_count == 0


# --- limits


async def test_the_subscription_limit_counts_every_subscriber() -> None:
    async with running(max_subscriptions=2) as net:
        one, two = await net.connect(), await net.connect()
        await one.subscribe("slotSubscribe")
        await two.subscribe("slotSubscribe")
        refused = await one.ask("rootSubscribe")
        assert refused["error"] == {
            "code": -32603,
            "message": "Internal Error: Subscription refused. Node subscription limit reached",
        }
        await two.socket.close()
        assert await _soon(lambda: net.server.subscriber_count == 1)
        await one.subscribe("rootSubscribe")


@pytest.mark.parametrize("limits", [{"queue_notifications": 50}, {"queue_bytes": 1_000_000}])
async def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_waits(limits: dict[str, int]) -> None:
    async with running(**limits) as net:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(net.url.rsplit(":", 1)[1]), limit=1024
        )
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_masked(b'{"jsonrpc":"2.0","id":1,"method":"blockSubscribe","params":["all"]}'))
        assert await _soon(lambda: net.server.subscriber_count == 1)
        good = await net.connect()
        await good.subscribe("slotSubscribe")
        payer = net.ledger.faucet.pubkey()
        for round_number in range(400):
            for price in range(20):
                net.pay(payer, 1, price=round_number * 20 + price)
            net.ledger.advance()
            assert (await good.next())["params"]["result"]["slot"] == round_number + 2
            if net.server.connection_count == 1:
                break
        assert net.server.connection_count == 1
        assert net.server.subscriber_count == 1
        writer.close()


async def test_clients_are_pinged_and_dead_ones_dropped() -> None:
    async with running(ping_s=0.2) as net, net.session.ws_connect(net.url, autoping=False) as socket:
        message = await socket.receive(timeout=60)
        assert message.type is aiohttp.WSMsgType.PING
        # no pong: the server gives up half an interval later
        assert await _soon(lambda: net.server.connection_count == 0)


async def test_stop_closes_connections_and_the_port_is_free_again() -> None:
    async with running() as net:
        client = await net.connect()
        await client.subscribe("slotSubscribe")
        port = int(net.url.rsplit(":", 1)[1])
        await net.server.stop()
        message = await client.socket.receive(timeout=60)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        again = PubSubServer(net.ledger)
        assert await again.start("127.0.0.1", port) == port
        taken = PubSubServer(net.ledger)
        with pytest.raises(OSError, match="in use"):
            await taken.start("127.0.0.1", port)
        await again.stop()
        await again.stop()


# --- faults of the socket


async def test_muted_sockets_stay_open_and_say_nothing() -> None:
    faults = EndpointFaults()
    async with running(faults=faults) as net:
        client = await net.connect()
        await client.subscribe("slotSubscribe")
        fault = faults.mute_sockets()
        net.ledger.advance(3)
        assert await client.drain() == []
        faults.remove(fault)
        net.ledger.advance()
        assert (await client.next())["params"]["result"]["slot"] == 5


async def test_dropped_sockets_can_connect_again() -> None:
    faults = EndpointFaults()
    async with running(faults=faults) as net:
        client = await net.connect()
        await client.subscribe("slotSubscribe")
        await asyncio.to_thread(faults.drop_sockets)
        message = await client.socket.receive(timeout=60)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        again = await net.connect()
        await again.subscribe("slotSubscribe")
        net.ledger.advance()
        assert (await again.next())["params"]["result"]["slot"] == 2


async def test_a_lying_endpoint_reports_other_slots() -> None:
    faults = EndpointFaults()
    async with running(faults=faults) as net:
        client = await net.connect()
        await client.subscribe("slotSubscribe")
        await client.subscribe("rootSubscribe")
        faults.lie_height(1000)
        faults.lag(3)
        net.ledger.advance(4)
        results = [m["params"]["result"] for m in await client.drain()]
        assert results[-1] == {"parent": 4 + 997, "root": 1 + 997, "slot": 5 + 997}
        assert results[-2] == 1 + 997


async def _soon(condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


def _masked(payload: bytes) -> bytes:
    """A client's text frame with a mask of zeros."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload

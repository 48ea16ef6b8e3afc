"""Every fault of an endpoint, met over a real socket by a client that knows nothing of it."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from localnet.fault_answers import ALTERATIONS
from localnet.fault_proxy import FaultProxy
from localnet.faults import EndpointFaults, Fault, FaultKind
from localnet.ledger import Ledger
from localnet.methods import Node
from localnet.rpc import RpcServer, bind


class Endpoint:
    """A ledger's HTTP endpoint and a client of it."""

    def __init__(
        self, ledger: Ledger, faults: EndpointFaults, url: str, session: aiohttp.ClientSession
    ) -> None:
        self.ledger = ledger
        self.faults = faults
        self.url = url
        self.session = session

    async def post(self, body: Any, **headers: str) -> aiohttp.ClientResponse:
        response = await self.session.post(self.url, json=body, headers=headers)
        await response.read()
        return response

    async def ask(self, method: str, *params: Any) -> Any:
        """The whole answer of one call."""
        response = await self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        return await response.json()

    async def result(self, method: str, *params: Any) -> Any:
        answer = await self.ask(method, *params)
        assert "result" in answer, answer
        return answer["result"]

    async def block(self, slot: int, **options: Any) -> Any:
        return await self.ask(
            "getBlock", slot, {"maxSupportedTransactionVersion": 1, "rewards": False} | options
        )

    def pay(self, target: Pubkey, lamports: int = 1_000_000, source: Keypair | None = None) -> str:
        source = source or self.ledger.faucet
        pay = transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports))
        blockhash = Hash.from_string(self.ledger.tip.blockhash)
        transaction = VersionedTransaction(
            Message.new_with_blockhash([pay], source.pubkey(), blockhash), [source]
        )
        self.ledger.process(transaction)
        return str(transaction.signatures[0])


@asynccontextmanager
async def serving(ledger: Ledger, faults: EndpointFaults) -> AsyncIterator[str]:
    server = RpcServer(Node(ledger), faults)
    listener = bind("127.0.0.1", 0)
    await server.start(listener)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.stop()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    ledger = Ledger(seed=b"faults", time_s=lambda slot: 1_700_000_000 + slot, confirmed_lag=1, finality_lag=3)
    faults = EndpointFaults()
    async with serving(ledger, faults) as url, aiohttp.ClientSession() as session:
        yield Endpoint(ledger, faults, url, session)


# --- faults of the transport


async def test_without_faults_the_answer_is_the_dispatchers(endpoint: Endpoint) -> None:
    assert await endpoint.ask("getSlot", {"commitment": "processed"}) == {
        "jsonrpc": "2.0",
        "result": 1,
        "id": 1,
    }
    assert endpoint.faults.requests == 1
    assert endpoint.faults.log == []


async def test_throttle_answers_429_with_retry_after_and_uses_itself_up(endpoint: Endpoint) -> None:
    fault = endpoint.faults.throttle(retry_after_s=7, times=2)
    for _ in range(2):
        response = await endpoint.post({"jsonrpc": "2.0", "id": 9, "method": "getSlot"})
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await response.json())["error"]["code"] == 429
    assert endpoint.faults.armed == ()
    assert isinstance(await endpoint.result("getSlot"), int)
    assert [fired.fault for fired in endpoint.faults.log] == [fault, fault]


async def test_html_instead_of_json(endpoint: Endpoint) -> None:
    endpoint.faults.html(status=503, times=1)
    response = await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getSlot"})
    assert (response.status, response.content_type) == (503, "text/html")
    assert "<h1>502 Bad Gateway</h1>" in await response.text()


async def test_empty_body(endpoint: Endpoint) -> None:
    endpoint.faults.empty(times=1)
    response = await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getSlot"})
    assert (response.status, await response.read()) == (200, b"")


async def test_garbled_bytes_are_no_text(endpoint: Endpoint) -> None:
    endpoint.faults.garble(times=1)
    response = await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getSlot"})
    with pytest.raises(UnicodeDecodeError):
        (await response.read()).decode()


async def test_truncated_json_in_a_complete_answer(endpoint: Endpoint) -> None:
    whole = await (await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getVersion"})).read()
    endpoint.faults.truncate(times=1)
    response = await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getVersion"})
    assert response.status == 200
    assert await response.read() == whole[: len(whole) // 2]


async def test_cut_breaks_off_in_the_middle(endpoint: Endpoint) -> None:
    endpoint.faults.cut(times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await endpoint.ask("getVersion")
    assert "solana-core" in await endpoint.result("getVersion")


async def test_drop_happens_before_and_lost_answers_after_the_execution(endpoint: Endpoint) -> None:
    target = str(Keypair().pubkey())
    endpoint.faults.drop(times=1, methods=["requestAirdrop"])
    with pytest.raises(aiohttp.ClientError):
        await endpoint.ask("requestAirdrop", target, 1_000_000)
    assert (await endpoint.result("getBalance", target, {"commitment": "processed"}))["value"] == 0
    endpoint.faults.lose_answer(times=1, methods=["requestAirdrop"])
    with pytest.raises(aiohttp.ClientError):
        await endpoint.ask("requestAirdrop", target, 1_000_000)
    assert (await endpoint.result("getBalance", target, {"commitment": "processed"}))["value"] == 1_000_000


async def test_swallowed_transactions_are_taken_and_never_land(endpoint: Endpoint) -> None:
    target, poor = Keypair().pubkey(), Keypair()
    endpoint.faults.swallow(times=3)

    def send(payer: Keypair, lamports: int, **options: Any) -> tuple[str, Any]:
        pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=target, lamports=lamports))
        blockhash = Hash.from_string(endpoint.ledger.tip.blockhash)
        signed = VersionedTransaction(Message.new_with_blockhash([pay], payer.pubkey(), blockhash), [payer])
        wire = base64.b64encode(bytes(signed)).decode()
        config = {"encoding": "base64", "preflightCommitment": "processed"} | options
        call = {"jsonrpc": "2.0", "id": lamports, "method": "sendTransaction", "params": [wire, config]}
        return str(signed.signatures[0]), call

    signature, call = send(endpoint.ledger.faucet, 1_000_000)
    assert (await (await endpoint.post(call)).json())["result"] == signature
    # what the node would refuse it refuses, and without preflight it takes even that
    _, call = send(poor, 1_000_001)
    refused = await (await endpoint.post(call)).json()
    assert refused["error"]["code"] == -32002
    signature, call = send(poor, 1_000_002, skipPreflight=True)
    slot = {"jsonrpc": "2.0", "id": 9, "method": "getSlot", "params": [{"commitment": "processed"}]}
    answers = await (await endpoint.post([slot, call])).json()
    assert answers == [
        {"jsonrpc": "2.0", "result": 1, "id": 9},
        {"jsonrpc": "2.0", "result": signature, "id": 1_000_002},
    ]
    assert (await endpoint.result("getTransactionCount", {"commitment": "processed"})) == 0
    assert endpoint.faults.armed == ()
    signature, call = send(endpoint.ledger.faucet, 1_000_003)
    assert (await (await endpoint.post(call)).json())["result"] == signature
    assert (await endpoint.result("getTransactionCount", {"commitment": "processed"})) == 1


async def test_wrong_id(endpoint: Endpoint) -> None:
    endpoint.faults.wrong_id(times=1)
    assert (await endpoint.ask("getSlot"))["id"] == "not-1"


async def test_error_with_the_validators_words_or_ones_own(endpoint: Endpoint) -> None:
    endpoint.faults.error(-32005, times=1)
    endpoint.faults.error(-32000, "out of credits", times=1)
    assert (await endpoint.ask("getSlot"))["error"] == {"code": -32005, "message": "Node is unhealthy"}
    # both met the first request; a fault that is used up does not return
    assert isinstance(await endpoint.result("getSlot"), int)
    endpoint.faults.error(-32000, "out of credits", times=1)
    batch = [{"jsonrpc": "2.0", "id": i, "method": "getSlot"} for i in ("a", "b")]
    answers = await (await endpoint.post(batch)).json()
    assert [(a["id"], a["error"]["message"]) for a in answers] == [
        ("a", "out of credits"),
        ("b", "out of credits"),
    ]


async def test_stall_answers_late_and_true(endpoint: Endpoint) -> None:
    endpoint.faults.stall(120, times=1)
    started = time.monotonic()
    assert isinstance(await endpoint.result("getSlot"), int)
    assert time.monotonic() - started >= 0.12


async def test_oversize_is_a_small_bomb_for_who_accepts_gzip(endpoint: Endpoint) -> None:
    endpoint.faults.oversize(5_000_000, times=2)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        body = {"jsonrpc": "2.0", "id": 1, "method": "getVersion"}
        response = await session.post(endpoint.url, json=body, headers={"Accept-Encoding": "gzip"})
        packed = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
        assert len(packed) < 50_000
        assert len(zlib.decompress(packed, 31)) == 5_000_000
        response = await session.post(endpoint.url, json=body, headers={"Accept-Encoding": "identity"})
        assert len(await response.read()) == 5_000_000


async def test_honest_answers_are_compressed_on_request(endpoint: Endpoint) -> None:
    endpoint.faults.gzip = True
    response = await endpoint.post({"jsonrpc": "2.0", "id": 1, "method": "getVersion"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert "solana-core" in (await response.json())["result"]


async def test_faults_meet_only_their_methods_and_skip_first(endpoint: Endpoint) -> None:
    endpoint.faults.error(-32603, methods=["getBlockHeight"], skip=2, times=1)
    for _ in range(2):
        assert isinstance(await endpoint.result("getSlot"), int)
        assert isinstance(await endpoint.result("getBlockHeight"), int)
    assert (await endpoint.ask("getBlockHeight"))["error"]["code"] == -32603
    assert isinstance(await endpoint.result("getBlockHeight"), int)
    assert [fired.methods for fired in endpoint.faults.log] == [("getBlockHeight",)]


async def test_removed_and_cleared_faults_are_gone(endpoint: Endpoint) -> None:
    fault = endpoint.faults.empty()
    endpoint.faults.html()
    endpoint.faults.remove(fault)
    assert [armed.kind for armed in endpoint.faults.armed] == [FaultKind.HTML]
    endpoint.faults.clear()
    assert isinstance(await endpoint.result("getSlot"), int)
    endpoint.faults.remove(fault)


# --- lies about heights


async def test_lie_height_moves_heights_and_leaves_blocks_alone(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(10)
    truth = {
        method: await endpoint.result(method) for method in ("getSlot", "getBlockHeight", "getEpochInfo")
    }
    endpoint.faults.lie_height(100)
    assert await endpoint.result("getSlot") == truth["getSlot"] + 100
    assert await endpoint.result("getBlockHeight") == truth["getBlockHeight"] + 100
    info = await endpoint.result("getEpochInfo")
    assert info["absoluteSlot"] == truth["getEpochInfo"]["absoluteSlot"] + 100
    assert (await endpoint.result("getLatestBlockhash"))["context"]["slot"] == truth["getSlot"] + 100
    assert (await endpoint.block(5))["result"]["parentSlot"] == 4
    endpoint.faults.clear()
    endpoint.faults.lie_height(-5)
    assert await endpoint.result("getSlot") == truth["getSlot"] - 5


async def test_lag_is_a_consistent_past(endpoint: Endpoint) -> None:
    target = Keypair().pubkey()
    early = endpoint.pay(target)
    endpoint.ledger.advance(2)
    endpoint.ledger.skip_slots(2)
    endpoint.ledger.advance(4)
    late = endpoint.pay(target)
    endpoint.ledger.advance(6)
    slot = await endpoint.result("getSlot")
    finalized = {slot: endpoint.ledger.block(slot) for slot in range(slot + 1)}
    endpoint.faults.lag(4)
    cut = slot - 4
    assert await endpoint.result("getSlot") == cut
    newest = finalized[cut]
    assert newest is not None
    assert await endpoint.result("getBlockHeight") == newest.height
    assert newest.height < cut  # slots were skipped
    latest = await endpoint.result("getLatestBlockhash")
    assert latest["context"]["slot"] == cut
    assert latest["value"] == {"blockhash": newest.blockhash, "lastValidBlockHeight": newest.height + 150}
    info = await endpoint.result("getEpochInfo")
    assert (info["absoluteSlot"], info["blockHeight"]) == (cut, newest.height)
    assert await endpoint.result("getBlocks", 0, slot) == [s for s, b in finalized.items() if b and s <= cut]
    assert (await endpoint.block(cut + 1))["error"] == {
        "code": -32004,
        "message": f"Block not available for slot {cut + 1}",
    }
    assert (await endpoint.block(cut))["result"]["blockhash"] == newest.blockhash
    assert (await endpoint.ask("getHealth"))["error"] == {
        "code": -32005,
        "message": "Node is behind by 4 slots",
        "data": {"numSlotsBehind": 4},
    }
    statuses = (await endpoint.result("getSignatureStatuses", [early, late]))["value"]
    assert statuses[0]["confirmationStatus"] == "finalized"
    history = await endpoint.result("getSignaturesForAddress", str(target), {"commitment": "finalized"})
    assert endpoint.ledger.transaction(late).slot > cut
    assert [entry["signature"] for entry in history] == [early]


async def test_lag_hides_statuses_and_lowers_their_level(endpoint: Endpoint) -> None:
    signature = endpoint.pay(Keypair().pubkey())
    endpoint.ledger.advance(4)  # slot 1 of open slot 5: finalized
    fault = endpoint.faults.lag(3)  # open slot 2, confirmed 1, finalized 0
    (status,) = (await endpoint.result("getSignatureStatuses", [signature]))["value"]
    assert (status["confirmationStatus"], status["confirmations"]) == ("confirmed", 1)
    assert await endpoint.result("getTransaction", signature) is None
    endpoint.faults.remove(fault)
    endpoint.faults.lag(5)
    assert (await endpoint.result("getSignatureStatuses", [signature]))["value"] == [None]


# --- lies about blocks


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("-32001", "Block 2 cleaned up, does not exist on node. First available block: 2"),
        ("-32004", "Block not available for slot 2"),
        ("-32007", "Slot 2 was skipped, or missing due to ledger jump to recent snapshot"),
        ("-32009", "Slot 2 was skipped, or missing in long-term storage"),
        ("-32014", "Block status not yet available for slot 2"),
    ],
)
async def test_a_withheld_block_is_answered_with_any_code(
    endpoint: Endpoint, answer: str, message: str
) -> None:
    endpoint.ledger.advance(8)
    endpoint.faults.withhold(2, answer=answer)
    assert (await endpoint.block(2))["error"] == {"code": int(answer), "message": message}
    assert (await endpoint.block(3))["result"]["parentSlot"] == 2


async def test_a_withheld_block_may_be_null_and_is_missing_from_lists(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)
    endpoint.faults.withhold(2, 4)
    assert (await endpoint.block(2))["result"] is None
    assert await endpoint.result("getBlocks", 1, 5) == [1, 3, 5]
    assert await endpoint.result("getBlocksWithLimit", 1, 4) == [1, 3]


async def test_swapped_and_repeated_blocks(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)
    truth = {slot: (await endpoint.block(slot))["result"] for slot in range(1, 6)}
    swap = endpoint.faults.swap(2, 3)
    assert (await endpoint.block(2))["result"] == truth[3]
    assert (await endpoint.block(3))["result"] == truth[2]
    endpoint.faults.remove(swap)
    endpoint.faults.repeat(5, of=4)
    assert (await endpoint.block(5))["result"] == truth[4]
    assert (await endpoint.block(4))["result"] == truth[4]
    # only the answers that were lies are in the log
    assert len(endpoint.faults.log) == 3


async def test_every_alteration_changes_what_it_says_and_nothing_else(endpoint: Endpoint) -> None:
    poor = Keypair()
    endpoint.pay(poor.pubkey(), 2_000_000)
    endpoint.pay(Keypair().pubkey(), 3_000_000)
    endpoint.pay(Keypair().pubkey(), 5_000_000, source=poor)  # fails
    endpoint.ledger.advance(8)
    truth = (await endpoint.block(1))["result"]
    assert [entry["meta"]["err"] is None for entry in truth["transactions"]] == [True, True, False]
    lies = {}
    for name in ALTERATIONS:
        fault = endpoint.faults.alter(name, 1)
        lies[name] = (await endpoint.block(1))["result"]
        assert (await endpoint.block(2))["result"]["parentSlot"] == 1
        endpoint.faults.remove(fault)
        assert lies[name] != truth, name
    assert (await endpoint.block(1))["result"] == truth
    for name, field in [
        ("blockhash", "blockhash"),
        ("previous_blockhash", "previousBlockhash"),
        ("parent_slot", "parentSlot"),
        ("erase", "transactions"),
        ("twice", "transactions"),
        ("no_meta", "transactions"),
        ("no_error", "transactions"),
        ("inflate", "transactions"),
    ]:
        assert {key for key in truth if truth[key] != lies[name][key]} == {field}
    assert lies["erase"]["transactions"] == []
    assert len(lies["twice"]["transactions"]) == 6
    assert all(entry["meta"] is None for entry in lies["no_meta"]["transactions"])
    assert all(entry["meta"]["err"] is None for entry in lies["no_error"]["transactions"])
    before, after = truth["transactions"][1]["meta"], lies["inflate"]["transactions"][1]["meta"]
    assert after["postBalances"][1] == before["postBalances"][1] + 1_000_000_000
    assert after["postBalances"][0] == before["postBalances"][0]


async def test_an_alteration_by_a_function(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)

    def older(block: Any) -> None:
        block["blockTime"] -= 3_600

    endpoint.faults.alter(older, times=1)
    lie = (await endpoint.block(2))["result"]["blockTime"]
    truth = (await endpoint.block(2))["result"]["blockTime"]
    assert truth - lie == 3_600


async def test_lies_reach_into_batches(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)
    endpoint.faults.withhold(3)
    options = {"transactionDetails": "none", "rewards": False}
    batch = [{"jsonrpc": "2.0", "id": i, "method": "getBlock", "params": [i, options]} for i in (2, 3, 4)]
    answers = await (await endpoint.post(batch)).json()
    assert [answer["result"] is None for answer in answers] == [False, True, False]


async def test_several_lies_act_together(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)
    slot = await endpoint.result("getSlot")
    endpoint.faults.lag(2)
    endpoint.faults.lie_height(100)
    assert await endpoint.result("getSlot") == slot - 2 + 100


# --- in front of any endpoint


async def test_a_proxy_puts_faults_in_front_of_any_endpoint(endpoint: Endpoint) -> None:
    endpoint.ledger.advance(8)
    with FaultProxy(endpoint.url) as proxy:
        behind = Endpoint(endpoint.ledger, proxy.faults, proxy.url, endpoint.session)
        truth = await endpoint.result("getSlot")
        assert await behind.result("getSlot") == truth
        behind.faults.lag(3)
        assert await behind.result("getSlot") == truth - 3
        assert await endpoint.result("getSlot") == truth
        behind.faults.clear()
        behind.faults.arm(Fault(FaultKind.THROTTLE, times=1, status=429))
        assert (await behind.post({"jsonrpc": "2.0", "id": 1, "method": "getSlot"})).status == 429
    proxy.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await behind.ask("getSlot")


async def test_a_proxy_on_a_taken_port_says_so(endpoint: Endpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        FaultProxy(endpoint.url, port=int(endpoint.url.rsplit(":", 1)[1]))

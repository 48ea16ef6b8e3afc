"""The pool: meaning of error codes (D6), back-off, rotation, limits, genesis, secrets that stay secret."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from chain.errors import (
    BlockCleanedUp,
    BlockNotAvailable,
    NodeBehind,
    OutcomeUnknown,
    RpcError,
    Throttled,
    TransportError,
    UnsupportedVersion,
    WrongGenesis,
)
from chain.rpc import Endpoint, RpcFault, RpcPool

from .scripted import Node, RawReply, RpcRefusal


@contextlib.asynccontextmanager
async def pool_of(*nodes: Node, **options: Any) -> AsyncIterator[RpcPool]:
    options = {"requests_per_second": 10_000, "first_back_off_s": 0.01, "longest_back_off_s": 0.05} | options
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running(ws=False))
        yield await stack.enter_async_context(RpcPool([n.endpoint for n in nodes], **options))


def sequence(*answers: Any) -> Any:
    """Give the answers one after the other, the last one for ever; exceptions are raised."""
    left = list(answers)

    def script(params: list[Any]) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return script


async def test_a_result_is_decoded_into_the_type_asked_for() -> None:
    node = Node()
    node.script["getSlot"] = lambda params: 7
    async with pool_of(node) as pool:
        assert await pool.call("getSlot", type=int) == 7
        assert await pool.call("getSlot") == 7
        with pytest.raises(TransportError, match="unexpected form"):
            await pool.call("getSlot", type=str)
        node.script["getSlot"] = lambda params: None
        assert await pool.call("getSlot", type=int | None) is None
        with pytest.raises(TransportError, match="unexpected form"):
            await pool.call("getSlot", type=int)


# code: (class, retry is safe, what the pool does with a second endpoint at hand)
CODES = {
    -32001: (BlockCleanedUp, True, "rotates"),
    -32004: (BlockNotAvailable, True, "returns"),
    -32007: (BlockNotAvailable, True, "returns"),
    -32009: (BlockNotAvailable, True, "returns"),
    -32005: (NodeBehind, True, "rotates"),
    -32014: (NodeBehind, True, "rotates"),
    -32016: (NodeBehind, True, "rotates"),
    -32015: (UnsupportedVersion, False, "returns"),
    -32602: (RpcError, False, "returns"),
    -32002: (RpcError, False, "returns"),
    -32003: (RpcError, False, "returns"),
    -32601: (RpcError, False, "rotates"),
    -32603: (RpcError, False, "rotates"),
    -39999: (RpcError, False, "rotates"),
}


@pytest.mark.parametrize("code", CODES)
async def test_d6_errors_by_code(code: int) -> None:
    kind, retry_safe, action = CODES[code]
    one, two = Node("one"), Node("two")
    one.script["getBlock"] = sequence(RpcRefusal(code, "why"))
    two.script["getBlock"] = lambda params: "the block"
    faults: list[RpcFault] = []
    async with pool_of(one, two, on_fault=faults.append) as pool:
        with pytest.raises(RpcError) as caught:
            await pool.call("getBlock", [5], endpoint="one")
        assert type(caught.value) is kind
        assert (caught.value.code, caught.value.message, caught.value.endpoint) == (code, "why", "one")
        assert caught.value.retry_safe is retry_safe
        assert two.asked["getBlock"] == 0  # a pinned call never leaves its endpoint
        pool.states["one"].succeeded()
        if action == "rotates":
            assert await pool.call("getBlock", [5]) == "the block"
        else:
            with pytest.raises(kind):
                await pool.call("getBlock", [5])
            assert two.asked["getBlock"] == 0
    unknown = action == "rotates" and kind is RpcError
    assert bool(faults) is unknown  # anything else: the body goes to the log
    assert all("why" in fault.body_excerpt for fault in faults)


async def test_d6_when_every_node_refuses_the_last_refusal_is_raised() -> None:
    one, two = Node("one"), Node("two")
    for node in (one, two):
        node.script["getBlock"] = sequence(RpcRefusal(-32001))
    async with pool_of(one, two) as pool:
        with pytest.raises(BlockCleanedUp):
            await pool.call("getBlock", [5])
    assert (one.asked["getBlock"], two.asked["getBlock"]) == (1, 1)


NO_ANSWERS = {
    "HTML": RawReply("<html>busy</html>"),
    "empty body": RawReply(""),
    "only blanks": RawReply("  \n"),
    "cut JSON": RawReply('{"jsonrpc":"2.0","id":1,"res'),
    "a JSON list": RawReply("[]"),
    "HTTP 500": RawReply("oops", 500),
    "HTTP 502 with HTML": RawReply("<html>bad gateway</html>", 502),
    "HTTP 429": RawReply("slow down", 429),
    "HTTP 503": RawReply("later", 503),
    "code 429 in the body": RpcRefusal(429, "too many requests"),
    "the answer to somebody else": RawReply('{"jsonrpc":"2.0","id":987654,"result":1}'),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_d6_no_usable_answer_is_tried_again_and_then_raised(name: str) -> None:
    node = Node()
    node.script["getSlot"] = sequence(NO_ANSWERS[name], NO_ANSWERS[name], 7)
    async with pool_of(node) as pool:
        assert await pool.call("getSlot", type=int) == 7
        assert node.asked["getSlot"] == 3
        assert (pool.retries, pool.states["a"].failures, pool.states["a"].penalty) == (2, 2, 0)
        node.script["getSlot"] = sequence(NO_ANSWERS[name])
        with pytest.raises(TransportError) as caught:
            await pool.call("getSlot", type=int, attempts=2)
    assert caught.value.retry_safe
    assert node.asked["getSlot"] == 5


@pytest.mark.parametrize("name", sorted(set(NO_ANSWERS) - {"the answer to somebody else"}))
async def test_raw_sees_through_bodies_that_are_no_answers(name: str) -> None:
    node = Node()
    node.script["getBlock"] = sequence(NO_ANSWERS[name])
    async with pool_of(node) as pool:
        with pytest.raises(TransportError):
            await pool.raw("getBlock", [5], attempts=1)


async def test_raw_gives_the_whole_body_and_raises_errors() -> None:
    node = Node()
    node.script["getBlock"] = sequence({"big": "x" * 200_000}, RpcRefusal(-32007))
    async with pool_of(node) as pool:
        body = await pool.raw("getBlock", [5])
        assert json.loads(body)["result"] == {"big": "x" * 200_000}
        with pytest.raises(BlockNotAvailable):
            await pool.raw("getBlock", [6])
    assert pool.states["a"].bytes_received > 200_000


async def test_retry_after_is_obeyed() -> None:
    node = Node()
    node.script["getSlot"] = sequence(RawReply("", 429, {"Retry-After": "1"}), 7)
    async with pool_of(node, longest_back_off_s=0.3) as pool:
        started = asyncio.get_running_loop().time()
        assert await pool.call("getSlot", type=int) == 7
        waited_s = asyncio.get_running_loop().time() - started
    # The node's wish, capped by the longest back-off.
    assert 0.29 < waited_s < 0.9
    assert pool.states["a"].throttled == 1


async def test_retry_after_as_a_date_is_measured_by_the_nodes_own_clock() -> None:
    headers = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 08:49:49 GMT"}
    node = Node()
    node.script["getSlot"] = sequence(RawReply("", 429, headers))
    async with pool_of(node) as pool:
        with pytest.raises(Throttled) as caught:
            await pool.call("getSlot", attempts=1)
        assert caught.value.retry_after_s == 12.0
        node.script["getSlot"] = sequence(RawReply("", 429, {"Retry-After": "soon"}))
        with pytest.raises(Throttled) as caught:
            await pool.call("getSlot", attempts=1)
        assert caught.value.retry_after_s is None


async def test_a_throttled_node_is_left_alone_while_another_answers() -> None:
    one, two = Node("one"), Node("two")
    one.script["getSlot"] = sequence(RawReply("", 429, {"Retry-After": "30"}))
    two.script["getSlot"] = lambda params: 7
    async with pool_of(one, two, longest_back_off_s=30.0) as pool:
        for _ in range(5):
            assert await pool.call("getSlot", type=int) == 7
    assert (one.asked["getSlot"], two.asked["getSlot"]) == (1, 5)


async def test_back_off_grows_with_failures_in_a_row_and_is_jittered() -> None:
    pool = RpcPool(["http://127.0.0.1:1"], first_back_off_s=1.0, longest_back_off_s=10.0, jitter=lambda: 1.0)
    state = pool.states["127.0.0.1:1"]
    waits = []
    for _ in range(6):
        state.failed()
        waits.append(round(state.wait_s(), 1))
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    other = RpcPool(["http://127.0.0.1:1"], first_back_off_s=1.0, jitter=lambda: 0.0).states["127.0.0.1:1"]
    other.failed()
    assert round(other.wait_s(), 1) == 0.5
    state.succeeded()
    assert state.wait_s() == 0.0


async def test_a_dead_endpoint_is_left_for_a_live_one() -> None:
    node = Node("alive")
    node.script["getSlot"] = lambda params: 7
    async with node.running(), RpcPool([Endpoint("http://127.0.0.1:1", name="dead"), node.endpoint]) as pool:
        assert await pool.call("getSlot", type=int) == 7
        assert [e.name for e in pool.by_health()] == ["alive", "dead"]
        with pytest.raises(TransportError, match="dead: connection failed"):
            await pool.call("getSlot", endpoint="dead", attempts=1)


async def test_a_slow_answer_times_out() -> None:
    node = Node()
    node.delay_s = 5.0
    async with pool_of(node, timeout_s=0.1) as pool:
        with pytest.raises(TransportError, match="timed out"):
            await pool.call("getSlot", attempts=1)


async def test_d1_a_body_larger_than_the_cap_is_refused_even_if_it_was_small_on_the_wire() -> None:
    bomb = gzip.compress(b" " * 5_000_000)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
        )

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with RpcPool([f"http://127.0.0.1:{runner.addresses[0][1]}"], max_body_bytes=1_000_000) as pool:
        with pytest.raises(TransportError, match="larger than 1000000 bytes"):
            await pool.raw("getBlock", [1], attempts=1)
        assert pool.states[pool.endpoints[0].name].bytes_received < 2_000_000
    await runner.cleanup()


async def test_the_in_flight_cap_and_the_sliding_window_hold() -> None:
    node = Node()
    node.script["getSlot"] = node.script["getBlock"] = lambda params: 7
    node.delay_s = 0.02
    async with pool_of(node, max_in_flight=3) as pool:
        await asyncio.gather(*(pool.call("getSlot") for _ in range(12)))
    assert node.most_in_flight["getSlot"] == 3
    node.delay_s = 0.0
    async with pool_of(node, requests_per_second=10) as pool:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(pool.call("getSlot") for _ in range(10)))
        assert asyncio.get_running_loop().time() - started < 0.5
        # The window is full: one more has to wait until a second after the first.
        await pool.call("getSlot")
        assert 0.9 < asyncio.get_running_loop().time() - started < 2.0


async def test_weights_count_an_expensive_method_several_times() -> None:
    node = Node()
    node.script["getBlock"] = lambda params: 7
    async with pool_of(node, requests_per_second=10, weights={"getBlock": 5}) as pool:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(pool.call("getBlock") for _ in range(3)))
        assert 0.9 < asyncio.get_running_loop().time() - started < 2.0


async def test_what_must_not_be_repeated_ends_as_outcome_unknown() -> None:
    node = Node()
    node.script["requestAirdrop"] = sequence(RawReply("", 500))
    async with pool_of(node) as pool:
        with pytest.raises(OutcomeUnknown) as caught:
            await pool.call("requestAirdrop", ["x", 1])
    assert node.asked["requestAirdrop"] == 1
    assert not caught.value.retry_safe


async def test_the_same_transaction_bytes_may_be_sent_again() -> None:
    node = Node()
    node.script["sendTransaction"] = sequence(RawReply("", 500), "signature")
    async with pool_of(node) as pool:
        assert await pool.call("sendTransaction", ["bytes"]) == "signature"


# -- genesis ----------------------------------------------------------------------------------------------


async def test_d1_genesis_of_another_chain_is_refused_by_name_of_both() -> None:
    one, two = Node("one"), Node("two")
    one.genesis, two.genesis = "mainnet", "devnet"
    async with pool_of(one, two) as pool:
        with pytest.raises(WrongGenesis) as caught:
            await pool.check_genesis("mainnet")
        assert str(caught.value) == "two serves genesis devnet, but mainnet is expected"
        # From then on it is never asked again.
        one.script["getSlot"] = two.script["getSlot"] = lambda params: 7
        await pool.call("getSlot")
        with pytest.raises(TransportError, match="genesis devnet"):
            await pool.call("getSlot", endpoint="two")
        assert two.asked["getSlot"] == 0


async def test_d1_endpoints_must_agree_with_each_other_when_nothing_is_expected() -> None:
    one, two = Node("one"), Node("two")
    async with pool_of(one, two) as pool:
        assert await pool.check_genesis(None) == "the genesis hash"
        two.genesis = "another"
        with pytest.raises(WrongGenesis):
            await pool.check_genesis(None)


async def test_d1_a_node_that_was_down_at_the_start_is_checked_before_its_first_use() -> None:
    one, two = Node("one"), Node("two")
    two.script["getGenesisHash"] = sequence(RawReply("", 502))
    faults: list[RpcFault] = []
    async with pool_of(one, two, on_fault=faults.append) as pool:
        assert await pool.check_genesis("the genesis hash") == "the genesis hash"
        two.script = {"getGenesisHash": lambda params: "another", "getSlot": lambda params: 7}
        with pytest.raises(WrongGenesis):
            await pool.call("getSlot", endpoint="two")
        assert two.asked["getSlot"] == 0
    assert [type(fault.error) for fault in faults] == [WrongGenesis]


async def test_no_node_reachable_at_the_start_is_a_clear_error() -> None:
    async with RpcPool([Endpoint("http://127.0.0.1:1", name="dead")]) as pool:
        with pytest.raises(TransportError, match="dead: connection failed"):
            await pool.check_genesis(None)


# -- habits -----------------------------------------------------------------------------------------------


async def test_k1_an_api_key_in_the_address_shows_nowhere() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1/SECRETKEY?api-key=SECRETKEY", "ws://127.0.0.1:2/SECRETKEY")
    assert "SECRETKEY" not in repr(endpoint) + endpoint.name
    async with RpcPool([endpoint]) as pool:
        with pytest.raises(TransportError) as caught:
            await pool.call("getSlot", attempts=1)
    assert "SECRETKEY" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_endpoints_are_checked_when_they_are_named() -> None:
    for url in ("127.0.0.1:8899", "ftp://x", "http://", ""):
        with pytest.raises(ValueError, match="http"):
            Endpoint(url)
    with pytest.raises(ValueError, match="ws://"):
        Endpoint("http://x", "http://x")
    with pytest.raises(ValueError, match="names must differ"):
        RpcPool(["http://x:1", "http://x:1"])
    with pytest.raises(ValueError, match="at least one"):
        RpcPool([])
    with pytest.raises(ValueError, match="at least 1"):
        RpcPool(["http://x"], requests_per_second=0)
    assert Endpoint("https://node.example:8899/key").name == "node.example:8899"


async def test_a_pool_outside_its_context_says_so() -> None:
    pool = RpcPool(["http://127.0.0.1:1"])
    with pytest.raises(RuntimeError, match="async with"):
        await pool.call("getSlot")
    with pytest.raises(ValueError, match="no endpoint named"):
        await pool.call("getSlot", endpoint="nobody")


async def test_requests_ask_for_gzip_and_are_plain_json_rpc() -> None:
    got: list[tuple[dict[str, Any], str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        got.append((asked, request.headers["Accept-Encoding"]))
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": 1})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with RpcPool([f"http://127.0.0.1:{runner.addresses[0][1]}"]) as pool:
        await pool.call("getSlot", [{"commitment": "finalized"}])
    await runner.cleanup()
    expected = {"jsonrpc": "2.0", "id": 1, "method": "getSlot", "params": [{"commitment": "finalized"}]}
    assert got == [(expected, "gzip")]

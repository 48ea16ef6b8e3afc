"""The driver: order, checkpoints, back-fill, hints, early notices, starting points, clean endings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import chain.watcher
from chain.errors import TransportError
from chain.rpc import RpcPool
from chain.scanner import Checkpoint, Credit, ScannedBlock, Watchlist
from chain.watcher import Alarm, AlarmKind, DepositWatcher, WatcherOptions

from .forge import ALICE, BOB, PYUSD, TOKENS, USDC, ata, blockhash, sol_transfer, token_transfer, watchlist
from .scripted import Node, RpcRefusal

FAST = WatcherOptions(poll_interval_s=0.02, longest_retry_s=0.05, early_notice=False)
AT_99 = Checkpoint(99, blockhash("main", 99))


@contextlib.asynccontextmanager
async def pool_of(*nodes: Node, ws: bool = True, **options: Any) -> AsyncIterator[RpcPool]:
    options = {"requests_per_second": 10_000, "first_back_off_s": 0.01, "longest_back_off_s": 0.05} | options
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running(ws=ws))
        yield await stack.enter_async_context(RpcPool([n.endpoint for n in nodes], **options))


async def until(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - the condition is somebody else's state
            await asyncio.sleep(0.005)


async def take(watcher: DepositWatcher, count: int, limit_s: float = 60.0) -> list[ScannedBlock]:
    """The next blocks, committed as a consumer would."""
    taken = []
    async with asyncio.timeout(limit_s), contextlib.aclosing(watcher.blocks()) as blocks:
        async for block in blocks:
            taken.append(block)
            if len(taken) == count:
                break
    return taken


async def take_deposits(watcher: DepositWatcher, count: int, limit_s: float = 60.0) -> list[Credit]:
    taken = []
    async with asyncio.timeout(limit_s), contextlib.aclosing(watcher.deposits()) as deposits:
        async for deposit in deposits:
            taken.append(deposit)
            if len(taken) == count:
                break
    return taken


def chain_of(name: str = "a", last: int = 110) -> Node:
    """Slots 100 to `last`, without 103 and 104, with deposits in 101, 105 and 108."""
    node = Node(name)
    node.add(100, parent=99)
    node.add(101, sol_transfer(ALICE, 1_000), token_transfer(BOB, USDC, 7))
    node.add(102)
    node.add(105, token_transfer(ALICE, PYUSD, 5), parent=102)
    node.add(106)
    node.add(107)
    node.add(108, sol_transfer(BOB, 2_000))
    node.fill(109, last)
    node.finalized = node.confirmed = last
    return node


DEPOSITS = [(ALICE, 1_000), (ata(BOB, USDC), 7), (ata(ALICE, PYUSD), 5), (BOB, 2_000)]


async def test_d1_every_finalized_block_in_order_and_nothing_twice() -> None:
    async with pool_of(chain_of()) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        blocks = await take(watcher, 9)
    assert [b.slot for b in blocks] == [100, 101, 102, 105, 106, 107, 108, 109, 110]
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS
    assert watcher.alarms.raised == 0


async def test_d1_blocks_are_asked_for_in_the_one_form() -> None:
    node = chain_of()
    async with pool_of(node) as pool:
        await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST), 1)
    asked = next(params for method, params in node.requests if method == "getBlock")
    assert asked[1] == {
        "commitment": "finalized",
        "encoding": "json",
        "transactionDetails": "accounts",
        "rewards": False,
        "maxSupportedTransactionVersion": 1,
    }


async def test_ten_lines_for_a_wallet() -> None:
    """The example of the module's docstring, as it stands there, against a node."""
    node = chain_of()
    doc = chain.watcher.__doc__ or ""
    lines = doc[doc.index("    watchlist = ") : doc.index("`watcher.checkpoint` never")].rstrip().splitlines()
    assert len(lines) <= 10
    async with node.running():
        saved: list[tuple[str, Credit, Checkpoint | None]] = []

        class Enough(Exception):
            pass

        def save(key: str, deposit: Credit, checkpoint: Checkpoint | None) -> None:
            saved.append((key, deposit, checkpoint))
            if len(saved) == 2:
                raise Enough

        source = "async def wallet():\n" + "\n".join(lines)
        source = source.replace("http://127.0.0.1:8899", node.endpoint.url)
        source = source.replace("ws://127.0.0.1:8900", node.endpoint.ws_url or "")
        scope: dict[str, Any] = {"usdc": USDC, "address": ALICE, "saved_checkpoint": AT_99, "save": save}
        for name in ("Watchlist", "NATIVE_SOL", "RpcPool", "Endpoint", "DepositWatcher"):
            module = __import__(
                {
                    "Watchlist": "chain.scanner",
                    "NATIVE_SOL": "chain.tokens",
                    "DepositWatcher": "chain.watcher",
                }.get(name, "chain.rpc"),
                fromlist=[name],
            )
            scope[name] = getattr(module, name)
        exec(source, scope)  # noqa: S102 - the documentation is the test
        # Alice's PYUSD is not accepted by this wallet, so the second deposit comes later.
        node.add(111, token_transfer(ALICE, USDC, 9), parent=110)
        node.finalized = 111
        with pytest.raises(Enough):
            async with asyncio.timeout(60):
                await scope["wallet"]()
    assert [(d.account, d.units) for _, d, _ in saved] == [(ALICE, 1_000), (ata(ALICE, USDC), 9)]
    # Stored with the deposit, the checkpoint is still before the deposit's block.
    assert [c.slot for _, _, c in saved if c is not None] == [100, 110]


async def test_d4_a_restart_from_any_checkpoint_gives_the_same_keys() -> None:
    async with pool_of(chain_of()) as pool:
        whole = await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST), 9)
        for position in range(1, 8):
            at = whole[position - 1].checkpoint
            rest = await take(DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST), 9 - position)
            assert rest == whole[position:]


async def test_d4_the_checkpoint_moves_only_after_the_consumer_is_done() -> None:
    async with pool_of(chain_of()) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        async with asyncio.timeout(60), contextlib.aclosing(watcher.blocks()) as blocks:
            assert watcher.checkpoint == AT_99
            first = await anext(blocks)
            assert watcher.checkpoint == AT_99
            await anext(blocks)
            assert watcher.checkpoint == first.checkpoint
        # A consumer that died in the middle continues with the block it did not finish.
        again = await take(watcher, 1)
    assert [b.slot for b in again] == [101]


async def test_starting_points() -> None:
    node = chain_of()
    async with pool_of(node) as pool:
        at_slot = DepositWatcher(pool, watchlist(), start_slot=103, options=FAST)
        assert [b.slot for b in await take(at_slot, 2)] == [105, 106]
        at_slot = DepositWatcher(pool, watchlist(), start_slot=105, options=FAST)
        assert [b.slot for b in await take(at_slot, 1)] == [105]
        now = DepositWatcher(pool, watchlist(), options=FAST)
        waiting = asyncio.create_task(take(now, 1))
        await until(lambda: now.checkpoint is not None)
        assert now.checkpoint == Checkpoint(110, blockhash("main", 110))
        node.add(111, sol_transfer(ALICE, 3))
        await node.finalize(111)
        (block,) = await waiting
    assert [(c.account, c.units) for c in block.credits] == [(ALICE, 3)]


async def test_start_before_the_first_block_waits_for_it() -> None:
    node = Node()
    async with pool_of(node) as pool:
        waiting = asyncio.create_task(take(DepositWatcher(pool, watchlist(), start_slot=0, options=FAST), 2))
        await asyncio.sleep(0.05)
        node.add(1, parent=0)
        node.add(2, sol_transfer(ALICE, 3))
        await node.finalize(2)
        blocks = await waiting
    assert [b.slot for b in blocks] == [1, 2]


async def test_d10_an_address_added_while_running_is_active_before_it_is_shown() -> None:
    node, watched = chain_of(), Watchlist(TOKENS)
    async with pool_of(node) as pool:
        watcher = DepositWatcher(
            pool, watched, checkpoint=Checkpoint(110, blockhash("main", 110)), options=FAST
        )
        waiting = asyncio.create_task(take_deposits(watcher, 2))
        await asyncio.sleep(0.05)
        watched.add(ALICE)  # and only now could a customer know it
        assert ALICE in watched
        node.add(111, sol_transfer(ALICE, 3), token_transfer(ALICE, USDC, 4))
        await node.finalize(111)
        deposits = await waiting
    assert [(d.account, d.units) for d in deposits] == [(ALICE, 3), (ata(ALICE, USDC), 4)]


async def test_d7_backfill_is_parallel_bounded_and_in_order() -> None:
    node = Node()
    node.add(100, parent=99)
    node.fill(101, 180)
    node.finalized = node.confirmed = 180
    node.delay_s = 0.01
    options = WatcherOptions(poll_interval_s=0.02, early_notice=False, parallel_blocks=6)
    async with pool_of(node, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=options)
        first: list[int] = []
        lags: list[int] = []
        async with asyncio.timeout(60), contextlib.aclosing(watcher.blocks()) as blocks:
            async for block in blocks:
                first.append(block.slot)
                lags.append(watcher.lag.slots)
                if block.slot == 180:
                    break
    assert first == list(range(100, 181))
    assert node.most_in_flight["getBlock"] == 6
    # Lag in slots is a metric, counted from the checkpoint: it shrinks with every commit.
    assert lags == list(range(81, 0, -1))


async def test_d7_the_head_is_not_starved_by_backfill() -> None:
    """While 300 old blocks are read, the confirmed head is still followed."""
    node = Node()
    node.add(100, parent=99)
    node.fill(101, 400)
    node.finalized = 400
    node.add(401, sol_transfer(ALICE, 5))
    node.confirmed = 401
    node.delay_s = 0.005
    seen_at: list[int] = []
    options = WatcherOptions(poll_interval_s=0.02, parallel_blocks=4)
    async with pool_of(node, ws=False, max_in_flight=6) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=AT_99, options=options,
            on_seen=lambda credit: seen_at.append(watcher.blocks_yielded),
        )  # fmt: skip
        await take(watcher, 301, limit_s=60)
    assert seen_at
    assert seen_at[0] < 300


async def test_d1_a_hint_shortens_the_wait() -> None:
    """With a poll every 5 s, a deposit still arrives at once when a node says that the root moved."""
    node = chain_of()
    options = WatcherOptions(poll_interval_s=5.0, early_notice=False)
    async with pool_of(node) as pool:
        at = Checkpoint(110, blockhash("main", 110))
        waiting = asyncio.create_task(
            take(DepositWatcher(pool, watchlist(), checkpoint=at, options=options), 1)
        )
        await until(lambda: node.sockets and node.asked["slotSubscribe"] and node.asked["getBlocks"])
        node.add(111, sol_transfer(ALICE, 3))
        started = asyncio.get_running_loop().time()
        await node.finalize(111)
        await waiting
        assert asyncio.get_running_loop().time() - started < 1.0


async def test_d1_losing_the_websocket_costs_latency_only() -> None:
    node = chain_of()
    async with pool_of(node) as pool:
        at = Checkpoint(110, blockhash("main", 110))
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST)
        waiting = asyncio.create_task(take(watcher, 1))
        await until(lambda: node.sockets)
        await node.drop_sockets()
        node.add(111, sol_transfer(ALICE, 3))
        node.finalized = 111  # and nobody says so
        (block,) = await waiting
    assert [c.units for c in block.credits] == [3]


async def test_d1_a_silent_websocket_is_dropped_and_connected_again() -> None:
    node = chain_of()
    options = WatcherOptions(poll_interval_s=0.02, early_notice=False, hint_silence_s=0.05)
    async with pool_of(node, timeout_s=0.2) as pool:
        at = Checkpoint(110, blockhash("main", 110))
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=options)
        waiting = asyncio.create_task(take(watcher, 1))
        async with asyncio.timeout(60):
            await until(lambda: node.asked["rootSubscribe"] >= 3)
        node.add(111)
        node.finalized = 111
        await waiting


async def test_hints_survive_the_pools_request_timeout() -> None:
    """A WebSocket lives longer than the timeout of a request: that limits the handshake, not the talk."""
    node = chain_of()
    async with pool_of(node, timeout_s=0.1) as pool:
        at = Checkpoint(110, blockhash("main", 110))
        waiting = asyncio.create_task(take(DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST), 1))
        await until(lambda: node.sockets)
        await asyncio.sleep(0.4)
        assert node.asked["rootSubscribe"] == 1
        node.add(111)
        await node.finalize(111)
        await waiting


@pytest.mark.parametrize("text", ["not json", '{"method":"rootNotification","params":{"result":"x"}}', "[1]"])
async def test_rubbish_on_the_websocket_harms_nothing(text: str) -> None:
    node = chain_of()
    async with pool_of(node) as pool:
        at = Checkpoint(110, blockhash("main", 110))
        waiting = asyncio.create_task(take(DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST), 1))
        await until(lambda: node.sockets)
        await node.sockets[0].send_str(text)
        await asyncio.sleep(0.03)
        node.add(111, sol_transfer(ALICE, 3))
        await node.finalize(111)
        (block,) = await waiting
    assert [c.units for c in block.credits] == [3]


# -- D8 ---------------------------------------------------------------------------------------------------

EARLY = WatcherOptions(poll_interval_s=0.02, longest_retry_s=0.05)


async def test_d8_seen_at_confirmed_is_news_and_settles_at_finalized() -> None:
    node = chain_of()
    seen: list[Credit] = []
    voided: list[Credit] = []
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=at, options=EARLY, on_seen=seen.append, on_voided=voided.append
        )
        waiting = asyncio.create_task(take(watcher, 2))
        node.add(111, sol_transfer(ALICE, 3))
        node.add(112)
        await node.confirm(111)
        await until(lambda: seen)
        assert [c.units for c in watcher.seen] == [3]
        assert watcher.credits_yielded == 0
        await node.finalize(112)
        blocks = await waiting
    assert [c for b in blocks for c in b.credits] == seen
    assert voided == []


async def test_d8_a_reorg_voids_what_was_seen_and_never_credits_it() -> None:
    """Confirmed in slot 111, which then never becomes final; the fork's slot 112 holds no deposit."""
    node = chain_of()
    seen: list[Credit] = []
    voided: list[Credit] = []
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=at, options=EARLY, on_seen=seen.append, on_voided=voided.append
        )
        waiting = asyncio.create_task(take(watcher, 2))
        node.add(111, sol_transfer(ALICE, 3))
        await node.confirm(111)
        await until(lambda: seen)
        del node.blocks[111]
        node.add(112, parent=110, fork="b")
        node.add(113, parent=112, parent_fork="b")
        await node.finalize(113)
        blocks = await waiting
        assert watcher.seen == ()
    assert [b.slot for b in blocks] == [112, 113]
    assert [c for b in blocks for c in b.credits] == []
    assert voided == seen


async def test_d8_same_slot_other_blockhash_is_voided_and_counted_once() -> None:
    """The same transaction in the same slot of another fork: the first row is void, the final one counts."""
    node = chain_of()
    seen: list[Credit] = []
    voided: list[Credit] = []
    at = Checkpoint(110, blockhash("main", 110))
    deposit = sol_transfer(ALICE, 3)
    deposit.sig = "5" * 88
    async with pool_of(node) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=at, options=EARLY, on_seen=seen.append, on_voided=voided.append
        )
        waiting = asyncio.create_task(take(watcher, 2))
        node.add(111, deposit)
        await node.confirm(111)
        await until(lambda: seen)
        node.add(111, deposit, parent=110, fork="b")
        node.add(112, parent=111, parent_fork="b")
        await node.finalize(112)
        blocks = await waiting
    final = [c for b in blocks for c in b.credits]
    assert [(c.key, c.blockhash) for c in final] == [(seen[0].key, blockhash("b", 111))]
    assert voided == [seen[0]]
    assert seen[0].blockhash == blockhash("main", 111)


# -- lag, alarms, endings ---------------------------------------------------------------------------------


async def test_d7_lag_is_zero_at_the_head() -> None:
    async with pool_of(chain_of()) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        waiting = asyncio.create_task(take(watcher, 10))
        await until(lambda: watcher.checkpoint == Checkpoint(110, blockhash("main", 110)))
        assert (watcher.lag.slots, watcher.lag.seconds) == (0, 0.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_no_progress_raises_an_alarm_and_progress_clears_it() -> None:
    node = chain_of()
    alarms: list[Alarm] = []
    options = WatcherOptions(poll_interval_s=0.02, early_notice=False, stall_alarm_s=0.1)
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=options, on_alarm=alarms.append)
        waiting = asyncio.create_task(take(watcher, 2))
        await until(lambda: alarms)
        assert watcher.alarms.active[AlarmKind.STALLED].slot == 110
        node.add(111)
        node.add(112)
        await node.finalize(112)
        await waiting
    assert [(a.kind, a.active) for a in alarms] == [(AlarmKind.STALLED, True), (AlarmKind.STALLED, False)]


async def test_cancelling_leaves_nothing_behind() -> None:
    node = chain_of()
    node.delay_s = 0.01
    async with pool_of(node) as pool:
        before = asyncio.all_tasks()
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=EARLY)
        for moment_s in (0.0, 0.005, 0.03, 0.1):
            waiting = asyncio.create_task(take(watcher, 1_000))
            await asyncio.sleep(moment_s)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert {t.get_name() for t in asyncio.all_tasks() - before if "watcher" in t.get_name()} == set()
        # And it can go on afterwards, from where its consumer was.
        node.add(111)
        node.finalized = 111
        at = watcher.checkpoint
        assert at is not None
        (block,) = await take(watcher, 1)
        assert (block.parent_slot, block.previous_blockhash) == (at.slot, at.blockhash)


async def test_one_consumer_at_a_time() -> None:
    async with pool_of(chain_of()) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        async with contextlib.aclosing(watcher.blocks()) as blocks:
            await anext(blocks)
            with pytest.raises(RuntimeError, match="one consumer"):
                await anext(watcher.blocks())


async def test_a_callback_that_fails_is_not_swallowed() -> None:
    node = chain_of()

    def broken(credit: Credit) -> None:
        raise LookupError(credit.key)

    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=EARLY, on_seen=broken)
        waiting = asyncio.create_task(take(watcher, 5))
        node.add(111, sol_transfer(ALICE, 3))
        await node.confirm(111)
        await asyncio.sleep(0.1)
        await node.finalize(111)
        with pytest.raises(LookupError):
            await waiting


async def test_every_endpoint_of_another_chain_ends_the_watch() -> None:
    node = chain_of()
    async with pool_of(node) as pool:
        await pool.check_genesis(None)
        node.genesis = "another"
        pool.states["a"].genesis_checked = False
        with pytest.raises(TransportError, match=r"genesis another, but the genesis hash"):
            await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST), 1)


def test_a_cross_check_needs_somebody_to_ask() -> None:
    pool = RpcPool(["http://127.0.0.1:1"])
    with pytest.raises(ValueError, match="second endpoint"):
        DepositWatcher(pool, watchlist(), options=WatcherOptions(cross_check_units={"SOL": 1}))
    two = RpcPool(["http://127.0.0.1:1", "http://127.0.0.1:2"])
    with pytest.raises(ValueError, match="not accepted: DOGE"):
        DepositWatcher(two, watchlist(), options=WatcherOptions(cross_check_units={"DOGE": 1}))


async def test_d6_unsupported_version_is_an_alarm_that_names_the_cure() -> None:
    node = chain_of()

    def refuse(params: list[Any]) -> Any:
        if params[1]["maxSupportedTransactionVersion"] < 1:
            raise RpcRefusal(-32015, "Transaction version (1) is not supported")
        return node.answer("getBlock", params)

    node.script["getBlock"] = refuse
    alarms: list[Alarm] = []
    old = WatcherOptions(poll_interval_s=0.02, early_notice=False, max_supported_transaction_version=0)
    async with pool_of(node) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=old, on_alarm=alarms.append)
        waiting = asyncio.create_task(take(watcher, 1))
        await until(lambda: AlarmKind.UNSUPPORTED_VERSION in watcher.alarms.active)
        assert watcher.checkpoint == AT_99
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert [
            b.slot for b in await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST), 1)
        ] == [100]

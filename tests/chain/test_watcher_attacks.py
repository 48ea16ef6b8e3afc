"""Nodes that lag, lie, lose, swap or repeat blocks: no credit from them, an alarm, never a skipped block.

D2 (parent link), D5 (unreadable blocks), D6 (codes), D9 (second opinion). Every case ends by letting the
truth through and checking that each deposit is credited exactly once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chain.blocksource import BlockSource
from chain.early import EarlyNotices
from chain.scanner import Checkpoint, Credit, NoticeKind
from chain.watcher import Alarm, AlarmKind, DepositWatcher, WatcherOptions

from .forge import (
    ALICE,
    BOB,
    FEE_PAYER,
    PROGRAMS,
    PYUSD,
    STRANGER,
    Tx,
    ata,
    block,
    blockhash,
    sol_transfer,
    token_account,
    watchlist,
)
from .scripted import Node, RawReply, RpcRefusal, wants_header
from .test_watcher import AT_99, DEPOSITS, FAST, chain_of, pool_of, take, until

HONEST_SLOTS = [100, 101, 102, 105, 106, 107, 108, 109, 110]
Sabotage = Callable[[Node], None]
# No second opinions, so that only the parent link stands between a bad block and a credit.
LINKS_ONLY = WatcherOptions(
    poll_interval_s=0.02, longest_retry_s=0.05, early_notice=False, cross_check_units={}
)


def on_block(node: Node, slot: int, answer: Callable[[], Any]) -> None:
    """Replace the answer for one block."""

    def script(params: list[Any]) -> Any:
        return answer() if params[0] == slot else node.answer("getBlock", params)

    node.script["getBlock"] = script


def refuse(code: int) -> Callable[[], Any]:
    def answer() -> Any:
        raise RpcRefusal(code)

    return answer


def raw(text: str, status: int = 200) -> Callable[[], Any]:
    def answer() -> Any:
        raise RawReply(text, status)

    return answer


def withheld_from_list(node: Node) -> None:
    def script(params: list[Any]) -> Any:
        return [slot for slot in node.answer("getBlocks", params) if slot != 101]

    node.script["getBlocks"] = script


def withheld_everywhere(node: Node) -> None:
    """Not in the list, and "skipped" when asked: exactly what a node says of a slot that had no block."""
    withheld_from_list(node)
    on_block(node, 101, refuse(-32007))


def without(field: str) -> Callable[[Node], None]:
    def sabotage(node: Node) -> None:
        forged = {**node.blocks[101]}
        del forged[field]
        on_block(node, 101, lambda: forged)

    return sabotage


def without_meta(node: Node) -> None:
    first, *rest = node.blocks[101]["transactions"]
    forged = {**node.blocks[101], "transactions": [{**first, "meta": None}, *rest]}
    on_block(node, 101, lambda: forged)


OTHER_FORK = block(slot=101, parent=100, parent_fork="b")

# Each of these stands between the checkpoint and block 101, whose deposits must not be lost.
HOLES: dict[str, Sabotage] = {
    "withheld: skipped, says the node (-32007)": withheld_everywhere,
    "-32007 for a listed slot": lambda n: on_block(n, 101, refuse(-32007)),
    "-32009 skipped in long-term storage": lambda n: on_block(n, 101, refuse(-32009)),
    "-32004 not available": lambda n: on_block(n, 101, refuse(-32004)),
    "-32001 cleaned up": lambda n: on_block(n, 101, refuse(-32001)),
    "-32014 status not yet available": lambda n: on_block(n, 101, refuse(-32014)),
    "-32005 node is behind": lambda n: on_block(n, 101, refuse(-32005)),
    "-32603 internal error": lambda n: on_block(n, 101, refuse(-32603)),
    "null": lambda n: on_block(n, 101, lambda: None),
    "HTML": lambda n: on_block(n, 101, raw("<html>busy</html>")),
    "HTTP 429": lambda n: on_block(n, 101, raw("slow down", 429)),
    "HTTP 500": lambda n: on_block(n, 101, raw("oops", 500)),
    "empty body": lambda n: on_block(n, 101, raw("")),
    "cut body": lambda n: on_block(n, 101, raw('{"jsonrpc":"2.0","result":{"blockhash":')),
    "repeated: the block before again": lambda n: on_block(n, 101, lambda: n.blocks[100]),
    "swapped with a later block": lambda n: on_block(n, 101, lambda: n.blocks[102]),
    "a block of another fork": lambda n: on_block(
        n, 101, lambda: block(slot=101, parent=100, parent_fork="b")
    ),
    "missing meta": without_meta,
    "no transactions field": without("transactions"),
    "no previous blockhash": without("previousBlockhash"),
}


@pytest.mark.parametrize("name", HOLES)
async def test_d2_one_node_with_a_hole_halts_and_never_skips(name: str) -> None:
    node = chain_of()
    HOLES[name](node)
    alarms: list[Alarm] = []
    async with pool_of(node, ws=False, attempts=1) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST, on_alarm=alarms.append)
        waiting = asyncio.create_task(take(watcher, 9))
        await until(lambda: watcher.alarms.active)
        await asyncio.sleep(0.05)
        assert watcher.checkpoint == Checkpoint(100, blockhash("main", 100))
        assert watcher.credits_yielded == 0
        # The node recovers; nothing was lost and nothing comes twice.
        node.script.clear()
        blocks = await waiting
        assert watcher.alarms.active == {}
    assert [b.slot for b in blocks] == HONEST_SLOTS
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS
    halting = [alarm for alarm in alarms if alarm.is_halting]
    assert [alarm.active for alarm in halting] == [True, False]
    assert halting[0].slot == 100


@pytest.mark.parametrize("name", HOLES)
async def test_d2_a_second_node_fills_the_hole(name: str) -> None:
    bad, good = chain_of("bad"), chain_of("good")
    HOLES[name](bad)
    alarms: list[Alarm] = []
    async with pool_of(bad, good, ws=False, attempts=1) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=AT_99, options=LINKS_ONLY, on_alarm=alarms.append
        )
        blocks = await take(watcher, 9)
    assert [b.slot for b in blocks] == HONEST_SLOTS
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS
    assert not [alarm for alarm in alarms if alarm.is_halting]
    assert {alarm.endpoint for alarm in alarms} == {"bad"}


async def test_d2_a_block_missing_from_the_list_is_found_by_its_childs_parent_link() -> None:
    node = chain_of()
    withheld_from_list(node)
    async with pool_of(node, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        blocks = await take(watcher, 9)
    assert [b.slot for b in blocks] == HONEST_SLOTS
    assert watcher.repairs == 1


async def test_d2_a_long_gap_is_walked_back_block_by_block() -> None:
    """The list shows only the head; ten blocks before it exist and hold deposits."""
    node = chain_of()
    node.script["getBlocks"] = lambda params: [
        slot for slot in node.answer("getBlocks", params) if slot == 110
    ]
    async with pool_of(node, ws=False) as pool:
        blocks = await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST), 9)
    assert [b.slot for b in blocks] == HONEST_SLOTS
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


async def test_d2_a_checkpoint_that_no_chain_contains_halts_for_ever() -> None:
    node = chain_of()
    alarms: list[Alarm] = []
    foreign = Checkpoint(99, blockhash("another chain", 99))
    async with pool_of(node, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=foreign, options=FAST, on_alarm=alarms.append)
        waiting = asyncio.create_task(take(watcher, 1))
        await until(lambda: any(alarm.is_halting for alarm in alarms))
        asked = node.asked["getBlocks"]
        await until(lambda: node.asked["getBlocks"] > asked + 5)  # it goes on asking, and nothing comes of it
        assert not waiting.done()
        waiting.cancel()
    (halting,) = [alarm for alarm in alarms if alarm.is_halting]
    assert halting.kind is AlarmKind.CHECKPOINT_CONTRADICTED
    assert foreign.blockhash in halting.detail
    assert watcher.checkpoint == foreign


async def test_a_lagging_node_delays_nothing_when_another_is_ahead() -> None:
    lagging, good = chain_of("lagging"), chain_of("good")
    lagging.finalized = 100
    async with pool_of(lagging, good, ws=False) as pool:
        blocks = await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=LINKS_ONLY), 9)
    assert [b.slot for b in blocks] == HONEST_SLOTS


async def test_a_node_lying_about_height_moves_nothing() -> None:
    """It claims root 10,000 over every channel, and lists slots that do not exist."""
    node = chain_of()
    node.script["getSlot"] = lambda params: 10_000
    node.script["getBlocks"] = lambda params: [*node.answer("getBlocks", params), 300, 301]
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST)
        waiting = asyncio.create_task(take(watcher, 1))
        await until(lambda: node.sockets)
        await node.hint(root=10_000, slot=10_001)
        await until(lambda: AlarmKind.HOLE in watcher.alarms.active)
        assert watcher.checkpoint == at
        node.add(111, sol_transfer(ALICE, 3), parent=110)
        await node.finalize(111)
        (found,) = await waiting
    assert [c.units for c in found.credits] == [3]


# -- D9 ---------------------------------------------------------------------------------------------------


def inflate(node: Node) -> None:
    """The right blockhash and parent, and a deposit a thousand times too large."""
    forged = block(sol_transfer(ALICE, 1_000_000), slot=101, parent=100)
    on_block(node, 101, lambda: forged)


def invent(node: Node) -> None:
    """A deposit that never happened, in the block after the checkpoint."""
    forged = block(sol_transfer(BOB, 77), slot=100, parent=99)
    on_block(node, 100, lambda: forged)


def unfail(node: Node) -> None:
    """A failed transfer shown as one that succeeded."""
    honest = sol_transfer(BOB, 55)
    honest.err = {"InstructionError": [0, {"Custom": 1}]}
    node.blocks[106] = block(honest, slot=106, parent=105)
    on_block(node, 106, lambda: block(sol_transfer(BOB, 55), slot=106, parent=105))


def erase(node: Node) -> None:
    """The right blockhash and parent, without the deposits."""
    on_block(node, 101, lambda: block(slot=101, parent=100))


async def test_d9_a_deposit_that_one_node_erases_is_not_lost_once_disputed() -> None:
    """The honest node is asked first, the other one denies: who is asked next decides nothing."""
    honest, liar = chain_of("honest"), chain_of("liar")
    erase(liar)
    async with pool_of(honest, liar, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        waiting = asyncio.create_task(take(watcher, 9))
        await until(lambda: AlarmKind.ENDPOINTS_DISAGREE in watcher.alarms.active)
        await asyncio.sleep(0.1)
        assert watcher.checkpoint == Checkpoint(100, blockhash("main", 100))
        liar.script.clear()
        blocks = await waiting
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


def other_blockhash(node: Node) -> None:
    """A block without deposits, with the right parent and a blockhash of its own."""
    on_block(node, 102, lambda: {**node.blocks[102], "blockhash": blockhash("lie", 102)})


@pytest.mark.parametrize("sabotage", [erase, other_blockhash])
async def test_d2_the_witness_finds_what_no_credit_points_to(sabotage: Sabotage) -> None:
    """The liar is asked first; it leaves out deposits, or its blockhash would spoil the checkpoint."""
    liar, one, two = chain_of("liar"), chain_of("one"), chain_of("two")
    sabotage(liar)
    alarms: list[Alarm] = []
    async with pool_of(liar, one, two, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST, on_alarm=alarms.append)
        blocks = await take(watcher, 9)
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS
    assert "liar" in {alarm.endpoint for alarm in alarms}


@pytest.mark.parametrize("sabotage", [erase, other_blockhash])
async def test_d2_with_two_nodes_the_witness_halts_until_they_agree(sabotage: Sabotage) -> None:
    liar, honest = chain_of("liar"), chain_of("honest")
    sabotage(liar)
    async with pool_of(liar, honest, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        waiting = asyncio.create_task(take(watcher, 9))
        await until(lambda: AlarmKind.ENDPOINTS_DISAGREE in watcher.alarms.active)
        liar.script.clear()
        blocks = await waiting
    assert [b.slot for b in blocks] == HONEST_SLOTS
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


async def test_d2_a_silent_witness_is_no_objection() -> None:
    node, silent = chain_of(), chain_of("silent")
    silent.script["getBlock"] = lambda params: raw("", 502)()
    async with pool_of(node, silent, ws=False) as pool:
        blocks = await take(DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=LINKS_ONLY), 9)
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


async def test_d9_a_dispute_found_while_filling_a_hole_is_not_settled_by_one_node() -> None:
    """One node has a hole, one is honest, one denies the deposits: two equal answers are needed."""
    hole, honest, liar = chain_of("hole"), chain_of("honest"), chain_of("liar")
    on_block(hole, 101, refuse(-32007))
    erase(liar)
    async with pool_of(hole, honest, liar, ws=False, attempts=1) as pool:
        options = WatcherOptions(
            poll_interval_s=0.02, longest_retry_s=0.05, early_notice=False, witness=False
        )
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=options)
        waiting = asyncio.create_task(take(watcher, 9))
        await until(lambda: AlarmKind.ENDPOINTS_DISAGREE in watcher.alarms.active)
        await asyncio.sleep(0.1)
        assert watcher.checkpoint == Checkpoint(100, blockhash("main", 100))
        hole.script.clear()  # now two of three agree
        blocks = await waiting
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


async def test_d8_news_that_finality_overtook_is_no_news() -> None:
    node = chain_of()
    seen: list[Credit] = []
    async with pool_of(node, ws=False) as pool:
        watched = watchlist()
        source = BlockSource(pool, watched)
        early = EarlyNotices(pool, source, on_seen=seen.append)
        found = (await source.block(101, node.endpoint)).block
        early.settle(found)
        early._see(found)
        assert (early.seen, seen) == ({}, [])
        early._see(replace(found, slot=102))
        assert len(seen) == 2
    assert early.voided == 0


@pytest.mark.parametrize("sabotage", [inflate, invent, unfail])
async def test_d9_two_nodes_that_disagree_credit_nothing(sabotage: Sabotage) -> None:
    liar, honest = chain_of("liar"), chain_of("honest")
    sabotage(liar)
    honest.blocks = dict(liar.blocks)
    alarms: list[Alarm] = []
    async with pool_of(liar, honest, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST, on_alarm=alarms.append)
        credited: list[Credit] = []

        async def consume() -> None:
            async with contextlib.aclosing(watcher.deposits()) as deposits:
                async for deposit in deposits:
                    credited.append(deposit)

        waiting = asyncio.create_task(consume())
        await until(lambda: AlarmKind.ENDPOINTS_DISAGREE in watcher.alarms.active)
        await asyncio.sleep(0.05)
        assert (BOB, 77) not in [(c.account, c.units) for c in credited]
        assert (BOB, 55) not in [(c.account, c.units) for c in credited]
        assert (ALICE, 1_000_000) not in [(c.account, c.units) for c in credited]
        liar.script.clear()
        await until(lambda: len(credited) == 4)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert [(c.account, c.units) for c in credited] == DEPOSITS


@pytest.mark.parametrize("sabotage", [inflate, invent, unfail])
async def test_d9_two_honest_nodes_outvote_a_liar_and_it_is_named(sabotage: Sabotage) -> None:
    liar, one, two = chain_of("liar"), chain_of("one"), chain_of("two")
    sabotage(liar)
    one.blocks = two.blocks = liar.blocks
    alarms: list[Alarm] = []
    async with pool_of(liar, one, two, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST, on_alarm=alarms.append)
        blocks = await take(watcher, 9)
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS
    assert {alarm.endpoint for alarm in alarms} == {"liar"}


async def test_d9_only_credits_at_or_above_the_threshold_are_cross_checked() -> None:
    one, two = chain_of("one"), chain_of("two")
    options = WatcherOptions(
        poll_interval_s=0.02, early_notice=False, cross_check_units={"SOL": 2_000}, parallel_blocks=4
    )
    async with pool_of(one, two, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=options)
        await take(watcher, 9)
        asked = [p for n in (one, two) for m, p in n.requests if m == "getBlock"]
    assert sorted(p[0] for p in asked if not wants_header(p)) == sorted([*HONEST_SLOTS, 108])
    # And every block has a witness, by its header alone.
    assert sorted(p[0] for p in asked if wants_header(p)) == HONEST_SLOTS


async def test_d9_the_second_node_is_down_so_large_credits_wait() -> None:
    one, two = chain_of("one"), chain_of("two")
    two.script["getBlock"] = lambda params: raw("", 502)()
    async with pool_of(one, two, ws=False) as pool:
        pool.states["two"].fell_behind()
        watcher = DepositWatcher(pool, watchlist(), checkpoint=AT_99, options=FAST)
        waiting = asyncio.create_task(take(watcher, 9))
        await until(lambda: watcher.alarms.active)
        assert watcher.checkpoint == Checkpoint(100, blockhash("main", 100))
        two.script.clear()
        blocks = await waiting
    assert [(c.account, c.units) for b in blocks for c in b.credits] == DEPOSITS


async def test_d8_a_lie_at_confirmed_is_news_at_worst() -> None:
    """A node that shows a deposit only at confirmed causes a "seen" that is voided, and no credit."""
    node = chain_of()
    seen: list[Credit] = []
    voided: list[Credit] = []
    lie = block(sol_transfer(BOB, 77), slot=111, parent=110)

    def script(params: list[Any]) -> Any:
        if params[0] == 111 and params[1]["commitment"] == "confirmed":
            return lie
        return node.answer("getBlock", params)

    node.script["getBlock"] = script
    at = Checkpoint(110, blockhash("main", 110))
    options = WatcherOptions(poll_interval_s=0.02)
    async with pool_of(node) as pool:
        watcher = DepositWatcher(
            pool, watchlist(), checkpoint=at, options=options, on_seen=seen.append, on_voided=voided.append
        )
        waiting = asyncio.create_task(take(watcher, 1))
        node.add(111)
        await node.confirm(111)
        await until(lambda: seen)
        await node.finalize(111)
        (final,) = await waiting
    assert final.credits == ()
    assert voided == []  # the consumer has not finished the block yet
    watcher._early.settle(final)
    assert [c.units for c in voided] == [77]


# -- accounts that a person must look at ------------------------------------------------------------------


def account_data(state: int) -> dict[str, Any]:
    data = bytes(108) + bytes([state]) + bytes(56)
    return {"data": [base64.b64encode(data).decode(), "base64"], "owner": PYUSD.program, "lamports": 1}


FROZEN_AND_NOT = [(2, [NoticeKind.ACCOUNT_TOUCHED, NoticeKind.FROZEN]), (1, [NoticeKind.ACCOUNT_TOUCHED])]


@pytest.mark.parametrize(("state", "kinds"), FROZEN_AND_NOT)
async def test_frozen_token_account_raises_an_alarm(state: int, kinds: list[NoticeKind]) -> None:
    node = chain_of()
    account = ata(ALICE, PYUSD)
    node.add(111, Tx([FEE_PAYER, token_account(account, PYUSD, ALICE, 900, 900), *PROGRAMS]))
    node.finalized = 111
    node.script["getMultipleAccounts"] = lambda params: {
        "context": {"slot": 111},
        "value": [account_data(state)],
    }
    alarms: list[Alarm] = []
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST, on_alarm=alarms.append)
        (found,) = await take(watcher, 1)
    assert [n.kind for n in found.notices] == kinds
    assert [a.kind for a in alarms] == ([AlarmKind.ACCOUNT] if state == 2 else [])


async def test_a_failed_look_up_of_a_touched_account_delays_no_block() -> None:
    node = chain_of()
    node.add(111, Tx([FEE_PAYER, token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 900, 900), *PROGRAMS]))
    node.finalized = 111
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node, ws=False) as pool:
        (found,) = await take(DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST), 1)
    assert [n.kind for n in found.notices] == [NoticeKind.ACCOUNT_TOUCHED]


async def test_outflow_without_our_signature_raises_an_alarm_and_the_scan_goes_on() -> None:
    node = chain_of()
    taken = Tx(
        [
            FEE_PAYER,
            token_account(ata(ALICE, PYUSD), PYUSD, ALICE, 900, 100),
            token_account(ata(STRANGER, PYUSD), PYUSD, STRANGER, 0, 800),
            *PROGRAMS,
        ]
    )
    node.add(111, taken, sol_transfer(BOB, 5))
    node.finalized = 111
    alarms: list[Alarm] = []
    at = Checkpoint(110, blockhash("main", 110))
    async with pool_of(node, ws=False) as pool:
        watcher = DepositWatcher(pool, watchlist(), checkpoint=at, options=FAST, on_alarm=alarms.append)
        (found,) = await take(watcher, 1)
    assert [c.units for c in found.credits] == [5]
    assert [(a.kind, a.is_halting) for a in alarms] == [(AlarmKind.ACCOUNT, False)]
    assert "negative_difference" in alarms[0].detail

"""Faults of the chain on a running validator, and scripts of faults played on it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from solders.keypair import Keypair

from localnet import Validator
from localnet.fault_script import FaultPlayer, FaultScript
from localnet.faults import Fault, FaultKind

SOL = 1_000_000_000
GENESIS_S = 1_700_000_000


def make(**options: Any) -> Validator:
    lags = {"confirmed_lag": 2, "finality_lag": 6}
    fixed = {"seed": b"chain faults", "genesis_time_s": GENESIS_S}
    return Validator(rpc_port=0, ws_port=0, **(lags | fixed | options))


@pytest.fixture
def net() -> Iterator[Validator]:
    with make() as validator:
        yield validator


def blocks(validator: Validator) -> list[Any]:
    """Every finalized block, asked without the socket and so without the faults of the endpoint."""
    slots: Any = validator.rpc("getBlocks", 0)
    options = {"transactionDetails": "signatures", "rewards": False}
    return [{"slot": slot} | dict(validator.rpc("getBlock", slot, options)) for slot in slots]  # type: ignore[call-overload]


def assert_linked(chain: list[Any]) -> None:
    """Each block's parent is the block before it, by slot and by hash."""
    for parent, block in itertools.pairwise(chain):
        assert (block["parentSlot"], block["previousBlockhash"]) == (parent["slot"], parent["blockhash"])
        assert block["blockHeight"] == parent["blockHeight"] + 1


def test_skipped_slots_have_no_block_and_break_no_link(net: Validator) -> None:
    net.advance(2)
    assert net.faults.skip_slots(3) == Fault(FaultKind.SKIP, slots=3)
    net.advance(8)
    chain = blocks(net)
    assert [block["slot"] for block in chain] == [0, 1, 2, 6, 7, 8]
    assert_linked(chain)


def test_a_reorganization_drops_keeps_and_continues_later(net: Validator) -> None:
    kept, dropped = Keypair().pubkey(), Keypair().pubkey()
    net.advance(2)
    kept_signature = net.airdrop(kept, SOL, settle=False)
    dropped_signature = net.airdrop(dropped, SOL, settle=False)
    net.advance(3)
    assert net.rpc("getSignatureStatuses", [kept_signature])["value"][0]["confirmationStatus"] == "confirmed"  # type: ignore[index]
    old = net.ledger.block(3)
    net.faults.reorg(3, drop=[dropped_signature])
    net.advance(10)
    chain = blocks(net)
    assert_linked(chain)
    landed = {signature: block["slot"] for block in chain for signature in block["signatures"]}
    assert dropped_signature not in landed
    assert landed[kept_signature] > 5
    assert old is not None
    assert old.blockhash not in {block["blockhash"] for block in chain}
    assert net.account(kept) is not None
    assert net.account(dropped) is None
    assert net.rpc("getSignatureStatuses", [dropped_signature])["value"] == [None]  # type: ignore[index]


def test_without_names_everything_is_dropped_and_may_be_sent_again(net: Validator) -> None:
    key = Keypair().pubkey()
    net.airdrop(key, SOL, settle=False)
    net.advance(2)
    assert net.faults.reorg(2) == Fault(FaultKind.REORG, slots=2, text="drop")
    assert net.account(key) is None
    net.airdrop(key, SOL, settle=True)
    assert net.rpc("getBalance", str(key))["value"] == SOL  # type: ignore[index]


def test_what_is_finalized_is_never_abandoned(net: Validator) -> None:
    key = Keypair().pubkey()
    net.airdrop(key, SOL, settle=True)
    before = blocks(net)
    with pytest.raises(ValueError, match="cannot abandon 6 blocks: 5 are unfinalized"):
        net.faults.reorg(6)
    net.faults.reorg(5)
    net.advance(8)
    assert blocks(net)[: len(before)] == before
    assert net.rpc("getBalance", str(key))["value"] == SOL  # type: ignore[index]


async def test_endpoints_on_one_ledger_are_faulty_separately(net: Validator) -> None:
    net.advance(20)
    lagging, lying = net.endpoint("lagging"), net.endpoint("lying")
    lagging.faults.lag(5)
    lying.faults.lie_height(1_000)
    slots = {}
    async with aiohttp.ClientSession() as session:
        for name, url in (("main", net.rpc_url), ("lagging", lagging.url), ("lying", lying.url)):
            answer = await session.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "getSlot"})
            slots[name] = (await answer.json())["result"]
        async with session.ws_connect(lying.ws_url) as socket:
            await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "slotSubscribe"})
            await socket.receive_json(timeout=60)
            slot = await asyncio.to_thread(net.advance)
            assert (await socket.receive_json(timeout=60))["params"]["result"]["slot"] == slot + 1_000
    assert slots == {"main": 15, "lagging": 10, "lying": 1_015}
    assert net.faults.endpoint("lagging") is lagging.faults
    net.faults.clear_all()
    assert lagging.faults.armed == lying.faults.armed == ()


# --- scripts


def play(validator: Validator, script: FaultScript) -> FaultPlayer:
    """Play a script by hand, slot by slot, with an airdrop in each."""
    player = validator.faults.play(script)
    target = validator.ledger.identity
    for number in range(200):
        validator.airdrop(target, SOL + number, settle=False)
        validator.advance()
        # asked on the ledger's thread, so after the faults of the chain that fell due with the slot
        if validator.call(lambda: player.done):
            break
    assert player.done
    validator.advance(10)
    return player


@pytest.mark.parametrize("seed", range(6))
def test_a_script_played_again_gives_the_same_chain(seed: int) -> None:
    kinds = [FaultKind.SKIP, FaultKind.REORG, FaultKind.LAG, FaultKind.WITHHOLD]
    script = FaultScript.random(seed, slots=40, faults=25, kinds=kinds, reorg_depth=4)
    chains, deeds = [], []
    # as printed, the way a failing test is replayed
    for again in (script, FaultScript.parse(str(script))):
        with make() as validator:
            player = play(validator, again)
            chains.append(blocks(validator))
            deeds.append((player.struck, player.refused))
    assert chains[0] == chains[1]
    assert deeds[0] == deeds[1]
    assert_linked(chains[0])
    skipped = sum(step.fault.slots for step in deeds[0][0] if step.fault.kind is FaultKind.SKIP)
    assert chains[0][-1]["slot"] - chains[0][-1]["blockHeight"] >= skipped > 0


def test_slots_of_a_script_count_from_where_it_starts(net: Validator) -> None:
    net.advance(10)  # slot 11 is open
    player = net.faults.play(FaultScript.parse("at 2 for 2 main: withhold at=3 text=null"))
    net.advance()
    assert net.faults.armed == ()
    net.advance()
    assert net.faults.armed == (Fault(FaultKind.WITHHOLD, at=(14,), text="null"),)
    net.advance(1)
    net.advance(1)
    assert net.faults.armed == ()
    assert player.done


def test_a_script_follows_the_clock() -> None:
    script = FaultScript.parse("at 2 chain: skip_slots slots=4\nat 3 for 5 b: lag slots=3")
    with make(slot_ms=10) as validator:
        player = validator.faults.play(script)
        deadline = time.monotonic() + 60
        while not player.done and time.monotonic() < deadline:
            time.sleep(0.02)
        assert player.done
        assert [step.endpoint for step in player.struck] == ["chain", "b"]
        assert validator.faults.endpoint("b").armed == ()
        time.sleep(0.2)
        chain = blocks(validator)
    assert_linked(chain)
    assert chain[-1]["slot"] == chain[-1]["blockHeight"] + 4

"""Random faults, by seed: whatever one of three nodes and the chain itself do, deposits are exact.

A script of faults plays on a localnet while customers pay. The truth is read afterwards from the ledger's
own finalized blocks, by the standard library. A failing seed prints its script, which can be replayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from solders.pubkey import Pubkey

from chain.rpc import Endpoint, RpcPool
from chain.scanner import Credit, Watchlist
from chain.tokens import NATIVE_SOL
from chain.watcher import DepositWatcher, WatcherOptions
from localnet import Validator
from localnet.fault_script import FaultScript

from .test_watcher import until

SLOTS = 50
ADDRESSES = [str(Pubkey(bytes([number]) * 32)) for number in range(1, 9)]


def truth(validator: Validator) -> set[tuple[str, str, int]]:
    """(signature, address, lamports) of every finalized rise of a watched address, the slowest way."""
    head: Any = validator.rpc("getSlot", {"commitment": "finalized"})
    slots: Any = validator.rpc("getBlocks", 1, head, {"commitment": "finalized"})
    found = set()
    for slot in slots:
        options = {"transactionDetails": "full", "maxSupportedTransactionVersion": 1, "rewards": False}
        block: Any = validator.rpc("getBlock", slot, options)
        for item in block["transactions"]:
            keys, meta = item["transaction"]["message"]["accountKeys"], item["meta"]
            for index, key in enumerate(keys):
                units = meta["postBalances"][index] - meta["preBalances"][index]
                if meta["err"] is None and key in ADDRESSES and units > 0:
                    found.add((item["transaction"]["signatures"][0], key, units))
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_random_faults_neither_lose_nor_add_a_deposit(
    seed: int, validator_factory: Callable[..., Validator]
) -> None:
    validator = validator_factory(confirmed_lag=1, finality_lag=3)
    watchlist = Watchlist([NATIVE_SOL])
    for address in ADDRESSES:
        watchlist.add(address)
    endpoints = [Endpoint(validator.rpc_url, validator.ws_url, "main")]
    for name in ("b", "c"):
        extra = validator.endpoint(name)
        endpoints.append(Endpoint(extra.url, extra.ws_url, name))
    script = FaultScript.random(seed, slots=SLOTS, faults=30, reorg_depth=2)
    print(f"seed {seed}\n{script}")  # shown when the test fails
    found: list[Credit] = []
    seen: list[Credit] = []
    voided: list[Credit] = []
    options = WatcherOptions(poll_interval_s=0.01, longest_retry_s=0.05, list_slots=16, parallel_blocks=3)
    async with RpcPool(
        endpoints, requests_per_second=10_000, first_back_off_s=0.005, longest_back_off_s=0.05, timeout_s=2
    ) as pool:
        watcher = DepositWatcher(
            pool, watchlist, start_slot=0, options=options, on_seen=seen.append, on_voided=voided.append
        )

        async def consume() -> None:
            async with contextlib.aclosing(watcher.deposits()) as deposits:
                async for deposit in deposits:
                    found.append(deposit)

        consuming = asyncio.create_task(consume())
        validator.faults.play(script)
        source = random.Random(seed)
        for _ in range(SLOTS):
            for _ in range(source.randrange(3)):
                lamports = source.randrange(1_000_000, 10**9)
                await asyncio.to_thread(
                    validator.airdrop, Pubkey.from_string(source.choice(ADDRESSES)), lamports, settle=False
                )
            await asyncio.to_thread(validator.advance)
            await asyncio.sleep(0.01)
        validator.faults.clear_all()
        validator.finalize()
        head: Any = validator.rpc("getSlot", {"commitment": "finalized"})
        blocks: Any = validator.rpc("getBlocks", 1, head, {"commitment": "finalized"})
        try:
            await until(
                lambda: watcher.checkpoint is not None and watcher.checkpoint.slot >= blocks[-1], limit_s=60
            )
        except TimeoutError:
            pytest.fail(f"stuck at {watcher.checkpoint}: {watcher.alarms.active}")
        finally:
            consuming.cancel()
            await asyncio.gather(consuming, return_exceptions=True)
    expected = truth(validator)
    assert len(expected) > 10
    assert {(c.signature, c.account, c.units) for c in found} == expected
    assert len({c.key for c in found}) == len(found) == len(expected)
    # What was seen early ended as settled or voided; nothing that was voided for good is a credit.
    final = {(c.key, c.slot, c.blockhash) for c in found}
    assert all((c.key, c.slot, c.blockhash) not in final for c in voided)
    assert watcher.alarms.active == {}
    assert validator.faults.log, "no fault met a request: this run would show nothing"
    print(f"faults {len(validator.faults.log)}, repairs {watcher.repairs}, alarms {watcher.alarms.raised}")

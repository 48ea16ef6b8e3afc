"""The attestation of reserves: a chain or a scan that lags costs an attestation, never the daemon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from chain.errors import TransportError
from chain.rpc import Endpoint, RpcPool
from chain.tokens import NATIVE_SOL
from daemon.clock import ManualClock
from daemon.inbox import AddressBook, Inbox
from daemon.recovery import check_identity, recover
from daemon.reserves import ACCOUNTS_PER_CALL, Reserves
from daemon.runner import Runner
from daemon.store import Database
from engine.params import default_params
from localnet import Validator

PARAMS = default_params()
FUNDED = 3  # of the addresses, with as many SOL as their number says


@contextlib.asynccontextmanager
async def attesting(
    path: Path, node: Validator, addresses: list[str]
) -> AsyncIterator[tuple[Reserves, Inbox, Runner]]:
    database = Database(path / "makewhole.sqlite")
    check_identity(database, PARAMS, "cluster", "wallet")
    recovered = recover(database, PARAMS)
    runner = Runner(recovered.state, recovered.sequence, recovered.chain_hash, database, ManualClock(1))
    writer = asyncio.create_task(runner.run())
    book = AddressBook()
    for number, address in enumerate(addresses):
        book.add(f"{number}/0", address)
    inbox = Inbox(runner, book, [NATIVE_SOL])
    try:
        async with RpcPool([Endpoint(node.rpc_url)], requests_per_second=1000) as pool:
            yield Reserves(runner, inbox, book, [NATIVE_SOL], pool), inbox, runner
    finally:
        runner.close()
        await asyncio.gather(writer, return_exceptions=True)
        database.close()


@pytest.fixture
def node() -> Iterator[Validator]:
    with Validator(rpc_port=0, ws_port=0) as made:
        yield made


async def test_a_scan_that_is_behind_costs_an_attestation_and_not_the_daemon(
    tmp_path: Path, node: Validator
) -> None:
    """After an outage the blocks are far behind the balances; the loop waits for the next interval."""
    async with attesting(tmp_path, node, [str(Keypair().pubkey())]) as (reserves, inbox, _):
        node.advance(3)
        inbox.scanned_slot = 0
        with pytest.raises(TransportError, match="the scan is at 0"):
            await reserves.attest(settle_timeout_s=0.01)
        loop = asyncio.create_task(reserves.run(interval_s=0.01, settle_timeout_s=0.01))
        while not reserves.lines:
            await asyncio.sleep(0.05)
            assert not loop.done()
            inbox.scanned_slot = 10**6
            inbox.advanced.set()
        loop.cancel()


async def test_more_accounts_than_one_call_takes_are_read_as_of_one_slot(
    tmp_path: Path, node: Validator
) -> None:
    keys = [Keypair().pubkey() for _ in range(2 * ACCOUNTS_PER_CALL + 1)]
    for number, key in enumerate(keys[-FUNDED:], 1):
        node.airdrop(key, number * 10**9)
    async with attesting(tmp_path, node, [str(key) for key in keys]) as (reserves, _, _):
        holdings = await reserves.read()
    assert holdings.units == {"SOL": 6 * 10**9}
    assert len(holdings.accounts) == FUNDED
    assert str(keys[-1]) not in repr(
        holdings
    )  # what does not match is logged, and not with a million accounts


async def test_without_a_usable_endpoint_there_is_no_attestation(tmp_path: Path, node: Validator) -> None:
    async with attesting(tmp_path, node, [str(Keypair().pubkey())]) as (reserves, _, _):
        for state in reserves._pool.states.values():
            state.banned = "another chain"
        with pytest.raises(TransportError, match="no usable endpoint"):
            await reserves.attest()

"""One daemon: everything wired together, started in order, stopped in order.

Owns: the order. Start: lock, database, keys, identity, recovery, endpoints and their genesis, writer,
settlement of what ended before the last stop, API, watcher, payer, clockwork. Stop (SIGTERM, SIGINT): no
new input, let the writer drain and take a snapshot, close. Whatever breaks the writer ends the process;
a chain that does not answer never does. Must not know: rules of the engine, forms of the chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from chain.credits import Checkpoint, Credit
from chain.errors import ChainError, WrongGenesis
from chain.payer import Payer
from chain.payouts import Alarm, PayerOptions
from chain.rpc import Endpoint, RpcFault, RpcPool
from chain.submission import PayoutRecord
from chain.tokens import TokenMint
from chain.watcher import Alarm as WatcherAlarm
from chain.watcher import DepositWatcher, WatcherOptions
from chain.watchlist import Watchlist
from daemon.api.server import ApiServer
from daemon.clock import Clock, ManualClock, SystemClock
from daemon.config import Config
from daemon.control import Control
from daemon.errors import DaemonError, WrongCluster
from daemon.inbox import AddressBook, Inbox, follow_price_file, tick_forever
from daemon.keys import SYSTEM_PATHS, Keyring, load_keyring
from daemon.killpoints import KillPoints
from daemon.markets import Markets
from daemon.outbox import Outbox, SqlitePayoutStore
from daemon.proof.service import ProofService
from daemon.recovery import Recovered, check_identity, recover
from daemon.reserves import Reserves
from daemon.runner import Runner
from daemon.store import Database, DataDirectoryLock
from daemon.store.rows import Batch
from daemon.trading import Trading

_log = logging.getLogger(__name__)
_ALARMS_KEPT: Final = 20


class EndpointsDown(DaemonError):
    """No endpoint answered at start."""

    exit_status = 5


@dataclass(slots=True)
class Daemon:
    """The parts of a running daemon."""

    config: Config
    runner: Runner
    recovered: Recovered
    control: Control
    inbox: Inbox
    outbox: Outbox
    watcher: DepositWatcher
    payer: Payer
    reserves: Reserves
    sightings: Sightings
    proof: ProofService

    async def work(self) -> None:
        """Run every loop until one ends; raises what broke it."""
        config = self.config
        loops: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("scan", self.inbox.follow(self.watcher.blocks())),
            ("outbox", self.outbox.run()),
            ("sightings", self.sightings.run()),
        ]
        if config.payer.enabled:
            loops.append(("payer", self.payer.run()))
        if config.daemon.clock == "system":
            loops.append(("ticks", tick_forever(self.runner, config.params.settlement_interval_ns)))
            loops.append(("reserves", self.reserves.run(config.daemon.attest_interval_s)))
            if config.proof.enabled:
                loops.append(("proof", self.proof.run()))
        if config.daemon.price_file is not None:
            prices = follow_price_file(self.runner, config.daemon.price_file, config.daemon.price_interval_s)
            loops.append(("prices", prices))
        async with asyncio.TaskGroup() as group:
            for name, loop in loops:
                group.create_task(loop, name=name)


@asynccontextmanager
async def daemon(
    config: Config, *, from_genesis: bool = False, on_entry: Callable[[int], None] | None = None
) -> AsyncIterator[Daemon]:
    """Start a daemon, and stop it when the block ends; raises `DaemonError` with nothing half done."""
    kill_points = KillPoints()
    config.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        stack.enter_context(DataDirectoryLock(config.data_directory))
        database = Database(config.database_path, kill_points=kill_points)
        stack.callback(database.close)
        keyring = await load_keyring(config.keys)
        check_identity(database, config.params, config.cluster.genesis_hash, keyring.hot_wallet)
        recovered = recover(database, config.params, from_genesis=from_genesis, on_entry=on_entry)
        reader = Database(config.database_path, read_only=True)
        stack.callback(reader.close)
        pool = await stack.enter_async_context(_pool(config))
        await _check_genesis(pool, config.cluster.genesis_hash)
        clock: Clock = ManualClock() if config.daemon.clock == "manual" else SystemClock()
        clock.note(recovered.state.last_time_ns)
        runner = Runner(
            recovered.state,
            recovered.sequence,
            recovered.chain_hash,
            database,
            clock,
            batch_limit=config.daemon.batch_limit,
            snapshot_every=config.daemon.snapshot_every,
            kill_points=kill_points,
        )
        async with _writing(runner):
            base = _Base(config, database, reader, keyring, pool, clock, runner, kill_points)
            parts = await _wire(base, recovered)
            stack.push_async_callback(parts.proof.close)
            await parts.outbox.start()
            api = ApiServer(parts.control, config.socket_path)
            await api.start()
            try:
                yield parts
            finally:
                await api.stop()


@dataclass(slots=True)
class _Base:
    """What the parts stand on."""

    config: Config
    database: Database
    reader: Database
    keyring: Keyring
    pool: RpcPool
    clock: Clock
    runner: Runner
    kill_points: KillPoints


async def _wire(base: _Base, recovered: Recovered) -> Daemon:
    config, runner = base.config, base.runner
    tokens = {asset.token.symbol: asset.token for asset in config.assets}
    minimum = {asset.symbol: asset.minimum_deposit_units for asset in config.params.assets}
    addresses = AddressBook()
    own = base.keyring.signer.addresses()
    watchlist = Watchlist(tokens.values(), minimum_units=minimum, own_signers=own)
    for subaccount, address in await _issued(runner, base.database, base.keyring):
        watchlist.add(address)
        addresses.add(subaccount, address)
    alarms = Alarms()
    inbox = Inbox(runner, addresses, tokens.values(), base.kill_points)
    sightings = Sightings(inbox)
    watcher = _watcher(base, watchlist, inbox, sightings, alarms)
    payer, outbox = _payout_side(base, addresses, tokens, alarms)
    reserves = Reserves(runner, inbox, addresses, list(tokens.values()), base.pool)
    proof = ProofService(
        config, runner, reserves, addresses, base.keyring, base.pool,
        kill_points=base.kill_points, on_alarm=alarms.note,
    )  # fmt: skip
    control = Control(
        runner=runner,
        inbox=inbox,
        reserves=reserves,
        addresses=addresses,
        keyring=base.keyring,
        watchlist=watchlist,
        pool=base.pool,
        tokens=tokens,
        clock=base.clock,
        genesis_hash=config.cluster.genesis_hash,
        payer=payer,
        lag=lambda: watcher.lag,
        alarms=alarms.latest,
        proof=proof,
        trading=Trading(runner, config.params),
        markets=Markets(runner, config.params, base.clock),
    )
    return Daemon(
        config, runner, recovered, control, inbox, outbox, watcher, payer, reserves, sightings, proof
    )


def _watcher(
    base: _Base, watchlist: Watchlist, inbox: Inbox, sightings: Sightings, alarms: Alarms
) -> DepositWatcher:
    checkpoint = base.database.checkpoint()
    inbox.scanned_slot = None if checkpoint is None else checkpoint[0]
    return DepositWatcher(
        base.pool,
        watchlist,
        checkpoint=None if checkpoint is None else Checkpoint(*checkpoint),
        start_slot=base.config.daemon.start_slot,
        options=_watcher_options(base.config),
        on_seen=sightings.seen,
        on_voided=sightings.voided,
        on_alarm=alarms.watcher,
    )


def _payout_side(
    base: _Base, addresses: AddressBook, tokens: dict[str, TokenMint], alarms: Alarms
) -> tuple[Payer, Outbox]:
    async def settle(record: PayoutRecord) -> None:
        await outbox.settle(record)

    limits = base.config.payer
    store = SqlitePayoutStore(base.runner, base.reader, tokens.__getitem__)
    payer = Payer(
        base.pool,
        base.keyring.signer,
        base.keyring.hot_wallet,
        store,
        options=PayerOptions(
            interval_s=limits.interval_s,
            largest_priority_fee_lamports=limits.max_priority_fee_lamports,
            allow_single_endpoint_expiry=limits.allow_single_endpoint_expiry,
            low_float_units={"SOL": limits.low_balance_lamports},
        ),
        own=addresses,  # asked for members at any time, so new addresses count at once
        on_result=settle,
        on_alarm=alarms.payer,
    )
    outbox = Outbox(base.runner, store, payer, base.kill_points)
    return payer, outbox


def _watcher_options(config: Config) -> WatcherOptions:
    # An asset without a threshold gets a second opinion on every credit, as long as there is anybody to ask.
    above = {one.token.symbol: one.cross_check_units or 1 for one in config.assets}
    return WatcherOptions(
        poll_interval_s=config.daemon.poll_interval_s,
        max_supported_transaction_version=config.cluster.max_transaction_version,
        cross_check_units=above if len(config.cluster.endpoints) > 1 else None,
    )


class Sightings:
    """Takes the watcher's early news, which come by plain calls, to the inbox in their order (D8)."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._news: asyncio.Queue[tuple[bool, Credit]] = asyncio.Queue()

    def seen(self, credit: Credit) -> None:
        """A credit was seen at confirmed."""
        self._news.put_nowait((True, credit))

    def voided(self, credit: Credit) -> None:
        """A credit that was seen is gone."""
        self._news.put_nowait((False, credit))

    async def run(self) -> None:
        """Pass the news on until cancelled."""
        while True:
            is_seen, credit = await self._news.get()
            await (self._inbox.seen(credit) if is_seen else self._inbox.voided(credit))


class Alarms:
    """The latest things that somebody should look at."""

    def __init__(self) -> None:
        self._latest: list[str] = []

    def payer(self, alarm: Alarm) -> None:
        """Note an alarm of the payer."""
        self.note(f"{alarm.kind.value}: {alarm.text}")

    def watcher(self, alarm: WatcherAlarm) -> None:
        """Note an alarm of the watcher."""
        where = f" at {alarm.endpoint}" if alarm.endpoint else ""
        self.note(f"{alarm.kind.value}{'' if alarm.active else ' cleared'}: {alarm.detail}{where}")

    def note(self, text: str) -> None:
        """Log an alarm and keep it for the status."""
        _log.warning("%s", text)
        self._latest = [*self._latest, text][-_ALARMS_KEPT:]

    def latest(self) -> list[str]:
        """Return the latest alarms, oldest first."""
        return list(self._latest)


async def _issued(runner: Runner, database: Database, keyring: Keyring) -> list[tuple[str, str]]:
    """Return every address ever issued; the system accounts get theirs on the first start."""
    issued = database.addresses()
    missing = [name for name in SYSTEM_PATHS if name not in dict(issued)]
    new = [(name, keyring.address(name)) for name in missing]
    if new:

        def add(_: object, batch: Batch) -> None:
            batch.addresses += new

        await runner.submit_all([], add)
    return [*issued, *new]


@asynccontextmanager
async def _writing(runner: Runner) -> AsyncIterator[None]:
    """Keep the writer at work around a block; when it breaks, the block is canceled, its error raised."""
    owner = asyncio.current_task()
    writer = asyncio.create_task(runner.run(), name="writer")

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and owner is not None:
            owner.cancel()

    writer.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if writer.done() and not writer.cancelled() and (error := writer.exception()) is not None:
            raise error from None
        raise
    finally:
        runner.close()
        with contextlib.suppress(Exception):
            await writer
    writer.result()


@asynccontextmanager
async def _pool(config: Config) -> AsyncIterator[RpcPool]:
    def report(fault: RpcFault) -> None:
        _log.warning("%s: %s: %s %s", fault.endpoint, fault.method, fault.error, fault.body_excerpt)

    cluster = config.cluster
    async with RpcPool(
        [Endpoint(one.url, one.ws_url, one.name) for one in cluster.endpoints],
        requests_per_second=cluster.requests_per_second,
        max_in_flight=cluster.max_in_flight,
        timeout_s=cluster.timeout_s,
        on_fault=report,
    ) as pool:
        yield pool


async def _check_genesis(pool: RpcPool, expected: str) -> None:
    try:
        await pool.check_genesis(expected)
    except WrongGenesis as error:
        raise WrongCluster(
            f"{error}. Nothing was scanned or sent. Put the right genesis_hash or url into [cluster]."
        ) from error
    except ChainError as error:
        names = ", ".join(endpoint.name for endpoint in pool.endpoints)
        raise EndpointsDown(
            f"no endpoint answers ({names}): {error}. Nothing was scanned or sent."
        ) from error


async def run(
    config: Config, *, from_genesis: bool = False, on_ready: Callable[[Daemon], None] | None = None
) -> None:
    """Run a daemon until SIGTERM or SIGINT; raises `DaemonError` when it cannot start or must stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with daemon(config, from_genesis=from_genesis) as parts:
        if on_ready is not None:
            on_ready(parts)
        work = asyncio.create_task(parts.work(), name="work")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                _raise_first(work.exception())
        finally:
            for task in (work, stopping):
                task.cancel()
            await asyncio.gather(work, stopping, return_exceptions=True)


def _raise_first(error: BaseException | None) -> None:
    """Raise what broke first: a group of errors that came together is no message for anybody."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error

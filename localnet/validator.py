"""A Solana validator inside this process: `with Validator() as v:` or `async with Validator() as v:`.

Owns: the thread with its event loop on which the ledger, its clock and all sockets live, the ports, and
the calls that tests and demos make. Rules: the ledger is touched on that thread only; every public method
may be called from any thread and returns when it is done. Must not know: what JSON-RPC methods do.

    with Validator(rpc_port=0, ws_port=0) as v:
        v.airdrop(address, 1_000_000_000)
        v.advance()
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

import uvloop
from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from . import minting, persistence, programs
from .airdrop import airdrop_transaction
from .clock import ChainClock
from .encoding import RENT_EXEMPT_EPOCH
from .faults import EndpointFaults, Faults
from .ledger import Ledger, NotIncluded
from .methods import Node
from .minting import Mint
from .pubsub import PubSubServer
from .rpc import Dispatcher, RpcServer, bind
from .token_state import pack_token_account
from .transaction_errors import describe

__all__ = ["DEFAULT_RPC_PORT", "DEFAULT_WS_PORT", "Endpoint", "Mint", "Validator"]

P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_RPC_PORT: Final = 8_899
DEFAULT_WS_PORT: Final = 8_900
_START_TIMEOUT_S: Final = 30
_PORT_ATTEMPTS: Final = 50


class Endpoint:
    """A further pair of ports on the same ledger, with faults of its own."""

    def __init__(self, name: str, url: str, ws_url: str, faults: EndpointFaults, node: Node) -> None:
        self.name = name
        self.url = url
        self.ws_url = ws_url
        self.faults = faults
        self.node = node


class Validator:
    """An embedded validator. `slot_ms=None` stands still until `advance`; else a block comes every `slot_ms`.

    `confirmed_lag` and `finality_lag` are the blocks below the open slot at which a block is confirmed
    and final. `programs` maps program addresses to ELF files. `ledger_path` is restored at start if it
    exists, and saved at stop. Raises OSError at start when a port is taken, SavedLedgerError when the
    saved ledger cannot be read.
    """

    def __init__(
        self,
        *,
        rpc_port: int = DEFAULT_RPC_PORT,
        ws_port: int = DEFAULT_WS_PORT,
        host: str = "127.0.0.1",
        slot_ms: int | None = None,
        confirmed_lag: int = 1,
        finality_lag: int = 2,
        programs: Mapping[Pubkey, Path] | None = None,
        ledger_path: Path | None = None,
        seed: bytes | None = None,
        genesis_time_s: int | None = None,
    ) -> None:
        if slot_ms is not None and slot_ms < 1:
            raise ValueError(f"slot_ms must be at least 1, not {slot_ms}")
        self.host = host
        self.slot_ms = slot_ms
        self.rpc_port = rpc_port
        self.ws_port = ws_port
        self.faults = Faults(self)
        self._ledger_path = ledger_path
        self._programs = dict(programs or {})
        self._clock = ChainClock(real_time=slot_ms is not None, genesis_s=genesis_time_s)
        self._seed = hashlib.sha256(os.urandom(32) if seed is None else seed).digest()
        self._lags = (confirmed_lag, finality_lag)
        self._ledger: Ledger | None = None
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._servers: list[RpcServer | PubSubServer] = []
        self._endpoints: dict[str, Endpoint] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_tick_s = 0.0

    # --- life

    def start(self) -> Validator:
        """Start the thread and listen. Returns when the first request can be answered."""
        if self._thread is not None:
            raise RuntimeError("this validator is running")
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="localnet", daemon=True)
        self._thread.start()
        try:
            ready.result(_START_TIMEOUT_S)
        except BaseException:
            self._thread.join(_START_TIMEOUT_S)
            self._thread = None
            raise
        return self

    def stop(self) -> None:
        """Stop listening, save to `ledger_path` if given, end the thread. Harmless when not running."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        try:
            if self._ledger_path is not None:
                self.save(self._ledger_path)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            self._thread = self._loop = None

    def __enter__(self) -> Validator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Validator:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self, ready: Future[None]) -> None:
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        try:
            self._loop = loop
            loop.run_until_complete(self._open())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start
            loop.run_until_complete(self._close())
            loop.close()
            self._loop = None
            ready.set_exception(error)
            return
        ready.set_result(None)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._close())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _open(self) -> None:
        confirmed_lag, finality_lag = self._lags
        ledger = Ledger(
            seed=self._seed, time_s=self._clock, confirmed_lag=confirmed_lag, finality_lag=finality_lag
        )
        for key, path in self._programs.items():
            ledger.add_program(key, path.read_bytes())
        if self._ledger_path is not None and self._ledger_path.exists():
            self._load(ledger, self._ledger_path)
        self._ledger = ledger
        self._node = Node(ledger)
        self.rpc_port, self.ws_port = await self._listen(self._node, self.faults, self.rpc_port, self.ws_port)
        self.resume()

    async def _close(self) -> None:
        self.pause()
        for server in reversed(self._servers):
            await server.stop()
        self._servers.clear()
        self._endpoints.clear()

    async def _listen(
        self, node: Node, faults: EndpointFaults, rpc_port: int, ws_port: int
    ) -> tuple[int, int]:
        """Listen on both ports. Two free ports are taken side by side, as wallets expect (WS = RPC + 1)."""
        pair = rpc_port == 0 and ws_port == 0
        for attempt in range(_PORT_ATTEMPTS):
            listener = bind(self.host, rpc_port)
            bound = int(listener.getsockname()[1])
            pubsub = PubSubServer(node.ledger, faults)
            try:
                ws_bound = await pubsub.start(self.host, bound + 1 if pair else ws_port)
            except (OSError, OverflowError):
                listener.close()
                if not pair or attempt == _PORT_ATTEMPTS - 1:
                    raise
                continue
            self._servers.append(pubsub)
            await self._serve(node, faults, listener)
            return bound, ws_bound
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _serve(self, node: Node, faults: EndpointFaults, listener: socket.socket) -> None:
        server = RpcServer(node, faults)
        await server.start(listener)
        self._servers.append(server)

    # --- where and what

    @property
    def ledger(self) -> Ledger:
        """The chain; touch it through `call` only."""
        if self._ledger is None:
            raise RuntimeError("this validator was not started")
        return self._ledger

    @property
    def node(self) -> Node:
        """What the main endpoint says of itself, e.g. `node.slots_behind`."""
        if self._node is None:
            raise RuntimeError("this validator was not started")
        return self._node

    @property
    def rpc_url(self) -> str:
        """The HTTP address."""
        return f"http://{self.host}:{self.rpc_port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address."""
        return f"ws://{self.host}:{self.ws_port}"

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function on the ledger's thread and return its result; an exception comes back too."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            raise RuntimeError("this validator is not running")
        if threading.current_thread() is thread:
            return function(*args, **kwargs)
        done: Future[R] = Future()

        def work() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - belongs to the caller's thread
                done.set_exception(error)

        loop.call_soon_threadsafe(work)
        return done.result()

    def rpc(self, method: str, *params: object) -> object:
        """Answer a JSON-RPC method without a socket. Raises RpcError."""
        return self.call(Dispatcher(self.node).call, method, list(params))

    def endpoint(self, name: str, *, rpc_port: int = 0, ws_port: int = 0) -> Endpoint:
        """A further pair of ports on this ledger, with faults of its own; one endpoint per name."""
        known = self._endpoints.get(name)
        if known is not None:
            return known
        loop = self._loop
        if loop is None:
            raise RuntimeError("this validator is not running")
        node, faults = Node(self.ledger), self.faults.endpoint(name)
        listening = self._listen(node, faults, rpc_port, ws_port)
        bound, ws_bound = asyncio.run_coroutine_threadsafe(listening, loop).result()
        url, ws_url = f"http://{self.host}:{bound}", f"ws://{self.host}:{ws_bound}"
        self._endpoints[name] = Endpoint(name, url, ws_url, faults, node)
        return self._endpoints[name]

    # --- time

    def advance(self, slots: int = 1) -> int:
        """Close the open slot into a block, `slots` times over; returns the slot that is open then."""
        return self.call(self.ledger.advance, slots)

    def finalize(self) -> int:
        """Advance until all that is processed now is finalized; returns the open slot."""
        return self.advance(self.ledger.finality_lag)

    def pause(self) -> None:
        """Stop the clock; transactions still run in the open slot."""
        self.call(self._stop_clock)

    def resume(self) -> None:
        """Let the clock run on. Without `slot_ms` there is no clock and this does nothing."""
        self.call(self._start_clock)

    def warp(self, *, slot: int | None = None, seconds: int = 0) -> int:
        """Move time: skip to a later slot and/or move the chain's clock on; returns the open slot.

        Raises ValueError when that would go back.
        """
        return self.call(self._warp, slot, seconds)

    def _warp(self, slot: int | None, seconds: int) -> int:
        ledger = self.ledger
        if seconds < 0 or (slot is not None and slot <= ledger.open.slot):
            raise ValueError(f"time does not go back: slot {slot}, seconds {seconds}")
        self._clock.offset_s += seconds
        if slot is None:
            return ledger.advance()
        if ledger.open.transactions or ledger.open.written:
            ledger.advance()
        if slot > ledger.open.slot:
            ledger.skip_slots(slot - ledger.open.slot)
        return ledger.open.slot

    def _start_clock(self) -> None:
        if self.slot_ms is not None and self._timer is None and self._loop is not None:
            self._next_tick_s = self._loop.time()
            self._schedule()

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        loop = self._loop
        if loop is None or self.slot_ms is None:
            return
        # from tick to tick, so that slots do not drift; after a stall they do not rush to catch up
        self._next_tick_s = max(self._next_tick_s + self.slot_ms / 1_000, loop.time())
        self._timer = loop.call_at(self._next_tick_s, self._tick)

    def _tick(self) -> None:
        self._schedule()
        self.ledger.advance()

    # --- state

    def save(self, path: Path | str) -> None:
        """Write the whole ledger to a file."""
        self.call(self._save, Path(path))

    def _save(self, path: Path) -> None:
        clock = persistence.SavedClock(self._clock.genesis_s, self._clock.offset_s)
        persistence.save(self.ledger, clock, path)

    def restore(self, path: Path | str) -> None:
        """Become a saved ledger. Raises SavedLedgerError and changes nothing then."""
        self.call(self._load, self.ledger, Path(path))

    def _load(self, ledger: Ledger, path: Path) -> None:
        clock = persistence.read_clock(path)  # raises before anything has changed
        self._clock.genesis_s, self._clock.offset_s = clock.genesis_s, clock.offset_s
        persistence.restore(ledger, path)

    def airdrop(self, key: Pubkey, lamports: int, *, settle: bool | None = None) -> str:
        """Transfer from the faucet; returns the signature.

        `settle` advances until it is finalized; by default exactly when there is no clock. Raises
        ValueError when the transfer fails (a new account below rent exemption, more than the faucet has).
        """
        return self.call(self._airdrop, key, lamports, settle)

    def _airdrop(self, key: Pubkey, lamports: int, settle: bool | None) -> str:
        ledger = self.ledger
        blockhash = Hash.from_string(ledger.tip.blockhash)
        result = ledger.process(airdrop_transaction(ledger, key, lamports, blockhash))
        if isinstance(result, NotIncluded) or result.err is not None:
            raise ValueError(f"airdrop failed: {describe(result.err or '')}")
        self._settle(settle)
        return result.signature

    def _settle(self, settle: bool | None) -> None:
        if settle or (settle is None and self.slot_ms is None):
            self.ledger.advance(self.ledger.finality_lag)

    def set_account(
        self,
        key: Pubkey,
        *,
        lamports: int,
        data: bytes = b"",
        owner: Pubkey = programs.SYSTEM,
        executable: bool = False,
    ) -> None:
        """Overwrite an account without a transaction; 0 lamports remove it. Shows at `processed` at once."""
        account = None if lamports == 0 else Account(lamports, data, owner, executable, RENT_EXEMPT_EPOCH)
        self.call(self.ledger.set_account, key, account)

    def account(self, key: Pubkey, commitment: str = "processed") -> Account | None:
        """Read an account; None when it does not exist."""
        return self.call(lambda: self.ledger.view(commitment).account(key))

    def create_mint(
        self,
        *,
        decimals: int = 6,
        program: Pubkey = programs.TOKEN,
        keypair: Keypair | None = None,
        authority: Keypair | None = None,
        freeze_authority: Pubkey | None = None,
        settle: bool | None = None,
    ) -> Mint:
        """Create a token mint by a transaction. Raises MintingFailed. `settle` as in `airdrop`."""

        def work() -> Mint:
            made = minting.create_mint(
                self.ledger,
                decimals=decimals,
                program=program,
                keypair=keypair or Keypair(),
                authority=authority or Keypair(),
                freeze_authority=freeze_authority,
            )
            self._settle(settle)
            return made

        return self.call(work)

    def mint_to(self, mint: Mint, owner: Pubkey, units: int, *, settle: bool | None = None) -> Pubkey:
        """Mint into the owner's associated token account by a transaction; returns its address."""

        def work() -> Pubkey:
            target = minting.mint_to(self.ledger, mint, owner, units)
            self._settle(settle)
            return target

        return self.call(work)

    def set_token_account(self, key: Pubkey, *, mint: Mint, owner: Pubkey, units: int) -> None:
        """Plant a token account at any address, without a transaction and without changing the supply."""
        data = pack_token_account(mint=mint.address, owner=owner, amount_units=units)
        lamports = self.call(self.ledger.svm.rent_exempt_lamports, len(data))
        self.set_account(key, lamports=lamports, data=data, owner=mint.program)

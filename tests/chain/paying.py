"""What the tests of the payer share: a store that keeps bytes, a wire that can be cut, a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import msgspec
from aiohttp import web
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.payer import Alarm, AlarmKind, Payer, PayerOptions, PayoutRequest
from chain.rpc import RpcPool
from chain.signer import KeypairSigner
from chain.submission import PayoutRecord, PayoutState, decode_record, encode_record
from chain.tokens import SYSTEM_PROGRAM, TOKEN_PROGRAM, associated_token_address
from localnet.faults import EndpointFaults
from localnet.ledger import Ledger
from localnet.methods import Node
from localnet.rpc import RpcServer, bind
from localnet.token_state import pack_mint, pack_token_account


class Crash(BaseException):
    """The process dies here. Nothing may catch it."""


@dataclass
class KillSwitch:
    """Notes the points at which a process can die, and dies at one: the nth, or the first of a name."""

    at: int | str | None = None
    points: list[str] = field(default_factory=list)
    dead: bool = False

    def point(self, name: str) -> bool:
        """Note a point; True if the process dies at it."""
        if self.dead:
            return True
        self.points.append(name)
        self.dead = self.at in (name, len(self.points) - 1)
        return self.dead


class MemoryStore:
    """A store that survives the crash of its user; holds encoded bytes as a database would."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.history: list[PayoutRecord] = []
        self.switch = KillSwitch()

    def load_open(self) -> list[PayoutRecord]:
        records = [decode_record(row) for row in self.rows.values()]
        return [record for record in records if not record.is_final]

    def load(self, payout_id: str) -> PayoutRecord | None:
        row = self.rows.get(payout_id)
        return None if row is None else decode_record(row)

    async def save(self, record: PayoutRecord) -> None:
        if self.switch.point(f"before saving {record.state.value}"):
            raise Crash
        await asyncio.sleep(0)
        self.rows[record.id] = encode_record(record)
        self.history.append(record)
        if self.switch.point(f"after saving {record.state.value}"):
            raise Crash

    def states(self, payout_id: str) -> list[PayoutState]:
        """The states a payout was saved in, in order."""
        return [record.state for record in self.history if record.id == payout_id]


@asynccontextmanager
async def cut_wire(
    target: str, switch: KillSwitch, die: Callable[[], Awaitable[None] | None]
) -> AsyncIterator[str]:
    """Serve a wire to `target` on which the process can die before and after each request is executed.

    Dying means: `die` is called and the answer never comes; whether the node executed the request depends on
    the point. Both happen to real processes.
    """

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        method = msgspec.json.decode(body)["method"]
        if switch.point(f"before {method}"):
            return await _end(die)
        async with session.post(target, data=body, headers={"Content-Type": "application/json"}) as answer:
            told = await answer.read()
        if switch.point(f"after {method}"):
            return await _end(die)
        return web.Response(body=told, content_type="application/json", status=answer.status)

    async with aiohttp.ClientSession() as session:
        app = web.Application()
        app.router.add_post("/", serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


async def _end(die: Callable[[], Awaitable[None] | None]) -> web.Response:
    result = die()
    if result is not None:
        await result
    raise web.HTTPServiceUnavailable


# A small cluster in the loop of the test -------------------------------------------------------------------

OPTIONS = PayerOptions(interval_s=0.01, longest_retry_s=0.02, request_timeout_s=5.0)
USDC_UNITS = 1_000_000


class Net:
    """A ledger of localnet behind real sockets, in the test's own loop, so that a test can step it by hand.

    `slot_ms` closes a slot that often; blockhashes live their 150 blocks, so 200 blocks kill any bytes.
    """

    def __init__(self, slot_ms: int | None = 5) -> None:
        self.ledger = Ledger(seed=b"payer", time_s=lambda slot: 1_800_000_000 + slot, finality_lag=4)
        self.slot_ms = slot_ms
        self.servers: list[RpcServer] = []
        self.urls: list[str] = []
        self.faults: list[EndpointFaults] = []
        self.mint_authority = Keypair()
        self._clock: asyncio.Task[None] | None = None

    async def start(self, endpoints: int = 2) -> None:
        self.ledger.advance(10)
        for number in range(endpoints):
            faults = EndpointFaults(f"endpoint{number}")
            server = RpcServer(Node(self.ledger), faults)
            listener = bind("127.0.0.1", 0)
            self.urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
            await server.start(listener)
            self.servers.append(server)
            self.faults.append(faults)
        if self.slot_ms is not None:
            self._clock = asyncio.create_task(self._tick(self.slot_ms))

    async def stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        for server in self.servers:
            await server.stop()

    async def _tick(self, slot_ms: int) -> None:
        while True:
            await asyncio.sleep(slot_ms / 1000)
            self.ledger.advance()

    def pool(self, *urls: str) -> RpcPool:
        return RpcPool(
            urls or self.urls,
            requests_per_second=100_000,
            max_in_flight=64,
            timeout_s=5.0,
            attempts=1,
            first_back_off_s=0.001,
            longest_back_off_s=0.01,
        )

    # Accounts. They are put into the ledger as if they had been there for long.

    def put(self, address: str, lamports: int, data: bytes = b"", owner: str = SYSTEM_PROGRAM, *,
            executable: bool = False) -> None:  # fmt: skip
        account = Account(lamports, data, Pubkey.from_string(owner), executable)
        self.ledger.set_account(Pubkey.from_string(address), account)
        self.ledger.advance(self.ledger.finality_lag + 1)

    def lamports(self, address: str) -> int:
        account = self.ledger.view("finalized").account(Pubkey.from_string(address))
        return 0 if account is None else account.lamports

    def units(self, owner: str, mint: str, program: str) -> int:
        address = associated_token_address(owner, mint, program)
        account = self.ledger.view("finalized").account(Pubkey.from_string(address))
        return 0 if account is None else int.from_bytes(account.data[64:72], "little")

    def new_mint(self, program: str = TOKEN_PROGRAM, decimals: int = 6, data: bytes = b"") -> str:
        mint = str(Keypair().pubkey())
        plain = pack_mint(
            mint_authority=self.mint_authority.pubkey(),
            supply_units=10**15,
            decimals=decimals,
            freeze_authority=self.mint_authority.pubkey(),
        )
        self.put(mint, 10**9, plain + data, program)
        return mint

    def give_tokens(
        self, owner: str, mint: str, program: str, units: int, *, state: int = 1, holder: str = "",
        extensions: bytes = b"",
    ) -> str:  # fmt: skip
        """Put the associated token account of `owner`; `holder` is who owns it really."""
        address = associated_token_address(owner, mint, program)
        data = bytearray(
            pack_token_account(
                mint=Pubkey.from_string(mint),
                owner=Pubkey.from_string(holder or owner),
                amount_units=units,
            )
        )
        data[108] = state
        self.put(address, 10**8, bytes(data) + extensions, program)
        return address


def new_wallet() -> str:
    """An address that nobody has used, with a key."""
    return str(Keypair().pubkey())


async def until(
    condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 60.0
) -> None:
    """Wait until `condition()` holds; fails saying what did not happen."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition is on the other side of a socket
                await asyncio.sleep(0.002)
    except TimeoutError:
        told = what if isinstance(what, str) else what()
        raise AssertionError(f"did not happen within {seconds} s: {told}") from None


@asynccontextmanager
async def running(payer: Payer) -> AsyncIterator[asyncio.Task[None]]:
    """Run a payer in the background; an error of it is raised at the end."""
    task = asyncio.create_task(payer.run())
    try:
        yield task
    finally:
        if not task.done():
            payer.stop()
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# A funded hot wallet with its payer -------------------------------------------------------------------------

S = PayoutState
SOL = 1_000_000_000
HOT = Keypair.from_seed(b"hot wallet" * 3 + b"!!")
SOURCE = str(HOT.pubkey())


class Bench:
    """A funded hot wallet with its payer, store, alarms and results."""

    def __init__(self, net: Net, pool: RpcPool, lamports: int = 100 * SOL) -> None:
        self.net, self.pool = net, pool
        self.store = MemoryStore()
        self.alarms: list[Alarm] = []
        self.results: list[PayoutRecord] = []
        if lamports:
            net.put(SOURCE, lamports)

    def payer(self, options: PayerOptions = OPTIONS, pool: RpcPool | None = None, **more: object) -> Payer:
        return Payer(
            pool or self.pool,
            more.pop("signer", None) or KeypairSigner(HOT),  # type: ignore[arg-type]
            SOURCE,
            self.store,
            options=options,
            on_result=self.results.append,
            on_alarm=self.alarms.append,
            **more,  # type: ignore[arg-type]
        )

    def state(self, payout_id: str) -> PayoutState | None:
        record = self.store.load(payout_id)
        return None if record is None else record.state

    def alarmed(self, kind: AlarmKind) -> list[str]:
        return [alarm.text for alarm in self.alarms if alarm.kind is kind]

    async def over(self, *ids: str) -> list[PayoutRecord]:
        def all_over() -> bool:
            return all((r := self.store.load(i)) is not None and r.is_final for i in ids)

        await until(all_over, lambda: f"{ids} over; {[self.store.load(i) for i in ids]}; {self.alarms}")
        return [record for i in ids if (record := self.store.load(i)) is not None]


def sol_payout(payout_id: str = "w1", units: int = SOL, destination: str = "") -> PayoutRequest:
    return PayoutRequest(payout_id, "SOL", None, units, destination or new_wallet())

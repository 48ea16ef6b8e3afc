"""A world for end-to-end tests: an embedded Solana, wallets, and the daemon as a process of its own.

Everything is the real thing: transactions are signed and sent over JSON-RPC, the daemon is `python -m
daemon run` with a database on disk, and it is talked to through its socket. Slots and the engine's clock
move only when a test moves them, and all keys come from fixed seeds: two runs of the same steps give the
same blocks, the same signatures, the same journal times, and therefore the same state hash, literally.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from solders.keypair import Keypair

from chain.rpc import RpcPool
from chain.tokens import NATIVE_SOL, TOKEN_PROGRAM, TokenMint
from daemon.api.client import ApiClient, NotRunning
from daemon.demo.wallets import Wallet, balance_of
from daemon.killpoints import VARIABLE
from localnet import Mint, Validator

ROOT = Path(__file__).parents[2]
START_NS = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
SEED = bytes(range(64))
SOL = 10**9
USDC = 10**6

CONFIG = """
data_directory = "data"
[cluster]
genesis_hash = "{genesis}"
requests_per_second = 5000
max_in_flight = 64
timeout_s = 5
[[cluster.endpoints]]
name = "first"
url = "{first}"
{first_ws}
[[cluster.endpoints]]
name = "second"
url = "{second}"
[keys]
seed_file = "seed.hex"
[assets.USDC]
mint = "{mint}"
token_program = "spl-token"
decimals = 6
[assets.SOL]
token_program = "native"
decimals = 9
[engine]
attestation_max_age_ns = 600000000000
velocity_floor_ppm = 0
[daemon]
clock = "{clock}"
poll_interval_s = 0.05
start_slot = {start_slot}
{daemon}
[payer]
interval_s = 0.05
"""


def wallet(number: int) -> Keypair:
    """A customer's own wallet."""
    return Keypair.from_seed(bytes([number]) * 32)


class Process:
    """The daemon as a process."""

    def __init__(self, config: Path, kill_at: str = "") -> None:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        if kill_at:
            environment[VARIABLE] = kill_at
        self.log_path = config.parent / "daemon.log"
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", "--config", str(config), "--quiet"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)

    def log(self) -> str:
        return self.log_path.read_text()


class World:
    """One chain, one USDC, one configuration, one daemon at a time."""

    def __init__(self, folder: Path, validator: Validator, mint: Mint, pool: RpcPool) -> None:
        self.folder = folder
        self.validator = validator
        self.mint = mint
        self.pool = pool
        self.config = folder / "makewhole.toml"
        self.socket = folder / "data" / "control.sock"
        self.process: Process | None = None
        self.client = ApiClient(self.socket)
        self.time_ns = START_NS
        self.usdc = TokenMint("USDC", str(mint.address), TOKEN_PROGRAM, 6)
        self._wallets: dict[str, Wallet] = {}

    def configure(self, *, clock: str = "manual", daemon: str = "", **changes: str) -> None:
        """Write the configuration; `changes` replace its values by name."""
        values = {
            "genesis": self.pool.genesis_hash or "",
            "first": self.validator.rpc_url,
            "first_ws": f'ws_url = "{self.validator.ws_url}"',
            "second": self.validator.endpoint("second").url,
            "mint": str(self.mint.address),
            "clock": clock,
            "daemon": daemon,
            "start_slot": "0",
        }
        self.config.write_text(CONFIG.format(**{**values, **changes}))
        seed = self.folder / "seed.hex"
        seed.touch(mode=0o600)
        seed.write_text(SEED.hex())

    # -- the daemon --

    async def start(self, kill_at: str = "") -> None:
        """Start the daemon and wait until it answers; it may be dead before, at a kill point."""
        self.process = Process(self.config, kill_at)
        deadline = time.monotonic() + 60
        while self.process.is_alive:
            with contextlib.suppress(NotRunning):
                await self.client.get("status")
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"the daemon does not answer: {self.process.log()}")
            await asyncio.sleep(0.02)

    async def refused_start(self) -> tuple[int, str]:
        """Start a daemon that must not come up; returns exit status and message."""
        process = Process(self.config)
        status = await asyncio.to_thread(process.popen.wait, 30)
        return status, process.log()

    # -- the chain --

    def _wallet(self, keypair: Keypair) -> Wallet:
        return self._wallets.setdefault(str(keypair.pubkey()), Wallet("test", keypair, self.pool))

    async def send_sol(self, sender: Keypair, address: str, lamports: int) -> str:
        return await self._wallet(sender).send(NATIVE_SOL, address, lamports)

    async def send_usdc(self, sender: Keypair, address: str, units: int) -> str:
        return await self._wallet(sender).send(self.usdc, address, units)

    async def balance(self, address: str) -> int:
        return await balance_of(self.pool, address, NATIVE_SOL)

    async def usdc_balance(self, owner: str) -> int:
        return await balance_of(self.pool, owner, self.usdc)

    def finalized_slot(self) -> int:
        return int(self.validator.rpc("getSlot", {"commitment": "finalized"}))  # type: ignore[call-overload]

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
        """Wait for a condition; a dead daemon ends the wait at once."""
        deadline = time.monotonic() + timeout_s
        while self.process is not None and self.process.is_alive:
            with contextlib.suppress(NotRunning):
                if await condition():
                    return
            if time.monotonic() > deadline:
                status = json.dumps(await self.client.get("status"), indent=1)
                raise AssertionError(f"never came: {what}\n{status}\n{self.process.log()}")
            await asyncio.sleep(0.02)
        raise NotRunning(f"the daemon died before: {what}")

    async def scanned(self) -> None:
        """Make everything sent so far final and wait until the daemon has committed it."""
        await asyncio.to_thread(self.validator.finalize)
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until the daemon has committed what is final now."""
        slot = self.finalized_slot()

        async def reached() -> bool:
            scanned = (await self.client.get("status"))["scanned_slot"]
            return scanned is not None and scanned >= slot

        await self.until(f"scan of slot {slot}", reached)

    async def at(self, seconds: int) -> None:
        """Move the engine's clock to `seconds` after the start."""
        self.time_ns = START_NS + seconds * SECOND_NS
        await self.client.post("clock", time_ns=self.time_ns)

    async def payout_state(self, payout_id: str) -> dict[str, Any]:
        payouts = await self.client.get("payouts")
        return next(
            (one for one in payouts if one["id"] == payout_id), {"state": "", "settled_sequence": None}
        )

    async def paid_out(self, payout_id: str) -> None:
        """Let a payout be sent, then let the chain move until the engine has heard of its end."""

        async def sent() -> bool:
            return (await self.payout_state(payout_id))["state"] in (
                "sent",
                "confirmed",
                "finalized",
                "failed",
            )

        async def settled() -> bool:
            return (await self.payout_state(payout_id))["settled_sequence"] is not None

        await self.until(f"{payout_id} sent", sent)
        await asyncio.to_thread(self.validator.finalize)
        await self.until(f"{payout_id} settled", settled)


def command(here: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `makewhole` against the world's daemon."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words, "--config", str(here.config)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@asynccontextmanager
async def world(folder: Path, *, slot_ms: int | None = None) -> AsyncIterator[World]:
    """A chain with USDC and three funded wallets (1 and 2 are customers, 3 is the operator).

    Without `slot_ms` it moves by hand only.
    """
    seed, genesis_time_s = b"makewhole", START_NS // SECOND_NS
    validator = Validator(rpc_port=0, ws_port=0, seed=seed, genesis_time_s=genesis_time_s, slot_ms=slot_ms)
    async with validator, RpcPool([validator.rpc_url], requests_per_second=5000, max_in_flight=64) as pool:
        await pool.check_genesis(None)
        mint = await asyncio.to_thread(
            lambda: validator.create_mint(keypair=wallet(99), authority=wallet(98), settle=False)
        )
        for number in (1, 2, 3):
            key = wallet(number).pubkey()
            await asyncio.to_thread(validator.airdrop, key, 1000 * SOL, settle=False)
            await asyncio.to_thread(validator.mint_to, mint, key, 10**6 * USDC, settle=False)
        await asyncio.to_thread(validator.finalize)
        made = World(folder, validator, mint, pool)
        made.configure()
        async with made.client:
            try:
                yield made
            finally:
                if made.process is not None and made.process.is_alive:
                    made.process.kill()

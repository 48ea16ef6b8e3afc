"""What the demo is played on: an embedded Solana with a USDC of its own, and a daemon as a separate process.

The daemon is `python -m daemon run` with its own configuration, database and seed in a folder; the demo
talks to it through its control socket and can end it as a power cut would.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solders.keypair import Keypair

from chain.rpc import Endpoint, RpcPool
from chain.tokens import NATIVE_SOL, TOKEN_PROGRAM, TokenMint
from daemon.api.client import ApiClient, NotRunning
from daemon.demo.wallets import Wallet
from daemon.errors import DaemonError

if TYPE_CHECKING:
    from localnet import Mint, Validator

SLOT_MS = 100
SETTLEMENT_S = 2

_CONFIG = """\
data_directory = "data"

[cluster]
genesis_hash = "{genesis}"
requests_per_second = 2000

[[cluster.endpoints]]
name = "first"
url = "{first}"
ws_url = "{first_ws}"

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
settlement_interval_ns = {settlement_ns}

[daemon]
start_slot = {start_slot}
poll_interval_s = 0.1
attest_interval_s = 1.0

[payer]
interval_s = 0.2
"""


class DemoFailed(DaemonError):
    """The demo could not go on."""


class Stage:
    """The chain, the daemon's process, and a client of each."""

    def __init__(self, folder: Path, validator: Validator, mint: Mint, pool: RpcPool) -> None:
        self.folder = folder
        self.validator = validator
        self.pool = pool
        self.usdc = TokenMint("USDC", str(mint.address), TOKEN_PROGRAM, 6)
        self.sol = NATIVE_SOL
        self.mint = mint
        self.config = folder / "makewhole.toml"
        self.client = ApiClient(folder / "data" / "control.sock")
        self.process: subprocess.Popen[bytes] | None = None
        self._configure()

    def _configure(self) -> None:
        seed = self.folder / "seed.hex"
        seed.touch(mode=0o600)
        seed.write_text(secrets.token_bytes(64).hex())
        self.config.write_text(
            _CONFIG.format(
                genesis=self.pool.genesis_hash,
                first=self.validator.rpc_url,
                first_ws=self.validator.ws_url,
                second=self.validator.endpoint("second").url,
                mint=self.usdc.mint,
                settlement_ns=SETTLEMENT_S * 1_000_000_000,
                start_slot=self.slot("confirmed"),
            )
        )

    # -- the chain --

    def slot(self, commitment: str) -> int:
        """Return the newest slot of the chain."""
        return int(str(self.validator.rpc("getSlot", {"commitment": commitment})))

    async def wallet(self, name: str, sol_units: int, usdc_units: int) -> Wallet:
        """Make a customer's wallet and give it money to begin with."""
        keypair = Keypair()
        await asyncio.to_thread(self.validator.airdrop, keypair.pubkey(), sol_units)
        if usdc_units:
            await asyncio.to_thread(self.validator.mint_to, self.mint, keypair.pubkey(), usdc_units)
        made = Wallet(name, keypair, self.pool)
        token, units = (self.usdc, usdc_units) if usdc_units else (self.sol, sol_units)

        async def arrived() -> bool:
            return await made.balance(token, "confirmed") == units

        await self.until(f"money in the wallet of {name}", arrived)
        return made

    # -- the daemon --

    async def start(self) -> float:
        """Start the daemon's process; returns the seconds until it answered."""
        started = time.monotonic()
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  # takes milliseconds; killed by its id later
                [sys.executable, "-m", "daemon", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which stops the daemon itself
            )
        deadline = started + 20
        while True:
            with contextlib.suppress(NotRunning):
                await self.client.get("status")
                return time.monotonic() - started
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed(f"the daemon did not start:\n{self.log_tail()}")
            await asyncio.sleep(0.02)

    def kill(self) -> int:
        """End the daemon as a power cut would; returns the process id it had."""
        if self.process is None:
            raise DemoFailed("no daemon is running")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        return self.process.pid

    async def stop(self) -> int:
        """Ask the daemon to stop; returns its exit status."""
        if self.process is None:
            raise DemoFailed("no daemon is running")
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 20)

    def log_tail(self) -> str:
        """Return the end of the daemon's log."""
        return "\n".join((self.folder / "daemon.log").read_text().splitlines()[-15:])

    async def until(self, what: str, question: Callable[[], Awaitable[Any]], timeout_s: float = 15) -> Any:
        """Ask again and again until the answer is true; returns it. Raises `DemoFailed` in the end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise DemoFailed(f"the daemon ended while we waited: {what}\n{self.log_tail()}")
            answer = await question()
            if answer:
                return answer
            await asyncio.sleep(0.05)
        raise DemoFailed(f"it did not happen within {timeout_s:.0f} s: {what}\n{self.log_tail()}")


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Set the stage, and leave no process behind."""
    from localnet import Validator

    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with (
        Validator(rpc_port=0, ws_port=0, slot_ms=SLOT_MS, confirmed_lag=2, finality_lag=5) as validator,
        RpcPool([Endpoint(validator.rpc_url, name="demo")], requests_per_second=2000) as pool,
    ):
        await pool.check_genesis(None)
        mint = await asyncio.to_thread(validator.create_mint)
        made = Stage(folder, validator, mint, pool)
        async with made.client:
            try:
                yield made
            finally:
                if made.process is not None and made.process.poll() is None:
                    made.kill()

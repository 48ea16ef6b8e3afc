"""The other backend: drives `solana-test-validator` behind the interface of `localnet.Validator`.

Owns: finding and starting the program on free ports with a temporary ledger, waiting until it is healthy,
what tests ask of a validator (airdrop, mints, time) in plain JSON-RPC, and stopping it. Rules: `advance`
waits, because nobody can push that validator's clock; what it cannot do at all (pause, warp, save, plant
an account, skip, reorganize) raises `NotSupported`, never does nothing. Faults work at `endpoint()`, which
is a proxy. Must not know: the embedded ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol

from solders.account import Account
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token.models import InitializeMint2Params, MintToCheckedParams

from . import programs
from .errors import RpcError
from .external_rpc import RpcClient, account_of
from .fault_proxy import FaultProxy
from .faults import EndpointFaults, Faults
from .minting import Mint, MintingFailed

PROGRAM: Final = "solana-test-validator"
MILLISECONDS_PER_TICK: Final = 6.25  # 64 ticks make the program's default slot of 400 ms
MINIMUM_TICKS: Final = 2  # the program refuses less
PORTS_OF_A_NODE: Final = 32  # gossip, turbine, repair, ... find theirs inside --dynamic-port-range
MINT_BYTES: Final = 82
_POLL_S: Final = 0.02
_STOP_S: Final = 5.0
_LAST_WORDS: Final = 2_000


class BackendUnavailable(RuntimeError):
    """The program is not on this machine."""


class BackendFailed(RuntimeError):
    """The program did not start, ended by itself, or stands still; the message ends with its last words."""


class NotSupported(RuntimeError):
    """This backend cannot do what the embedded one can."""


class Backend(Protocol):
    """What both backends offer: tests written against it run on either."""

    @property
    def rpc_url(self) -> str: ...
    @property
    def ws_url(self) -> str: ...
    def advance(self, slots: int = 1) -> int: ...
    def finalize(self) -> int: ...
    def rpc(self, method: str, *params: object) -> object: ...
    def airdrop(self, key: Pubkey, lamports: int, *, settle: bool | None = None) -> str: ...
    def account(self, key: Pubkey, commitment: str = "processed") -> Account | None: ...
    def mint_to(self, mint: Mint, owner: Pubkey, units: int, *, settle: bool | None = None) -> Pubkey: ...
    def create_mint(
        self,
        *,
        decimals: int = 6,
        program: Pubkey = programs.TOKEN,
        keypair: Keypair | None = None,
        authority: Keypair | None = None,
        freeze_authority: Pubkey | None = None,
        settle: bool | None = None,
    ) -> Mint: ...


@dataclass(frozen=True, slots=True)
class ProxiedEndpoint:
    """A further HTTP port with faults of its own; subscriptions go to the validator itself."""

    name: str
    url: str
    ws_url: str
    faults: EndpointFaults


def find_program(program: str = PROGRAM) -> str | None:
    """The path of the program, None if it is not on PATH."""
    return shutil.which(program)


class ExternalValidator:
    """`with ExternalValidator() as v:` runs the program as long as the block lasts.

    `slot_ms` becomes the nearest whole number of ticks. Raises BackendUnavailable when there is no such
    program, BackendFailed when it does not become healthy.
    """

    def __init__(
        self,
        *,
        program: str = PROGRAM,
        rpc_port: int = 0,
        slot_ms: int | None = None,
        start_timeout_s: float = 60.0,
        call_timeout_s: float = 60.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.program = program
        self.rpc_port = rpc_port
        self.slot_ms = slot_ms
        self.faults = Faults()
        self._start_timeout_s = start_timeout_s
        self._call_timeout_s = call_timeout_s
        self._arguments = tuple(arguments)
        self._payer = Keypair()  # owns the supply at genesis
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client = RpcClient("127.0.0.1", rpc_port)
        self._endpoints: dict[str, tuple[FaultProxy, ProxiedEndpoint]] = {}

    # --- life

    def start(self) -> ExternalValidator:
        """Start the program and wait until it says it is healthy."""
        if self._process is not None:
            raise RuntimeError("this validator is running")
        path = find_program(self.program)
        if path is None:
            raise BackendUnavailable(f"{self.program} is not on PATH")
        self.rpc_port = self.rpc_port or _free_port_pair()
        self._client = RpcClient("127.0.0.1", self.rpc_port)
        self._folder = Path(tempfile.mkdtemp(prefix="localnet-external-"))
        with (self._folder / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                [path, *self._command(self._folder)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait_for(self._is_healthy, self._start_timeout_s, "is not healthy")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the program and remove its ledger. Harmless when not running."""
        for proxy, _ in self._endpoints.values():
            proxy.close()
        self._endpoints.clear()
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> ExternalValidator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> ExternalValidator:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _command(self, folder: Path) -> list[str]:
        first = _free_port_range(PORTS_OF_A_NODE)
        command = ["--ledger", str(folder / "ledger"), "--reset", "--quiet", "--bind-address", "127.0.0.1"]
        command += ["--rpc-port", str(self.rpc_port), "--faucet-port", str(_free_port())]
        command += ["--gossip-port", str(first)]
        command += ["--dynamic-port-range", f"{first + 1}-{first + PORTS_OF_A_NODE}"]
        command += ["--mint", str(self._payer.pubkey())]
        if self.slot_ms is not None:
            ticks = max(MINIMUM_TICKS, round(self.slot_ms / MILLISECONDS_PER_TICK))
            command += ["--ticks-per-slot", str(ticks)]
        return [*command, *self._arguments]

    def _is_healthy(self) -> bool:
        with contextlib.suppress(RpcError, OSError, ValueError):
            return self._client.call("getHealth") == "ok" and self._slot("processed") > 0
        return False

    def _wait_for(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        """Poll a condition; a program that ended or a timeout raises BackendFailed."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = self._process.poll() if self._process is not None else 0
            if ended is not None:
                raise BackendFailed(f"{self.program} ended with status {ended}{self._last_words()}")
            if time.monotonic() > deadline:
                message = f"{self.program} {complaint} after {timeout_s:g} s{self._last_words()}"
                raise BackendFailed(message)
            time.sleep(_POLL_S)

    def _last_words(self) -> str:
        if self._folder is None:
            return ""
        words = (self._folder / "output.log").read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip()
        return f": {words}" if words else ""

    # --- where

    @property
    def rpc_url(self) -> str:
        """The HTTP address."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address: the program's rule is the RPC port + 1."""
        return f"ws://127.0.0.1:{self.rpc_port + 1}"

    def endpoint(self, name: str) -> ProxiedEndpoint:
        """A further port in front of the validator, with faults of its own; the same name is the same one."""
        if name not in self._endpoints:
            proxy = FaultProxy(self.rpc_url, self.faults.endpoint(name))
            made = ProxiedEndpoint(name, proxy.url, self.ws_url, proxy.faults)
            self._endpoints[name] = (proxy, made)
        return self._endpoints[name][1]

    def rpc(self, method: str, *params: object) -> object:
        """Call a JSON-RPC method. Raises RpcError."""
        return self._client.call(method, *params)

    # --- time

    def advance(self, slots: int = 1) -> int:
        """Wait until `slots` more slots have been processed; returns the slot then."""
        goal = self._slot("processed") + slots
        return self._reach(goal, "processed")

    def finalize(self) -> int:
        """Wait until all that is processed now is finalized; returns the processed slot then."""
        self._reach(self._slot("processed"), "finalized")
        return self._slot("processed")

    def _slot(self, commitment: str) -> int:
        return int(self._client.call("getSlot", {"commitment": commitment}))

    def _reach(self, goal: int, commitment: str) -> int:
        what = f"has not {commitment} slot {goal}"
        self._wait_for(lambda: self._slot(commitment) >= goal, self._call_timeout_s, what)
        return self._slot(commitment)

    # --- state

    def airdrop(self, key: Pubkey, lamports: int, *, settle: bool | None = None) -> str:
        """Transfer from the faucet, wait until confirmed (`settle`: finalized) and return the signature.

        Raises ValueError when the transfer fails.
        """
        try:
            signature = str(self._client.call("requestAirdrop", str(key), lamports))
            self._confirm(signature, settle)
        except (RpcError, MintingFailed) as error:
            raise ValueError(f"airdrop failed: {error}") from error
        return signature

    def account(self, key: Pubkey, commitment: str = "processed") -> Account | None:
        """Read an account; None when it does not exist."""
        found: Any = self._client.call(
            "getAccountInfo", str(key), {"encoding": "base64", "commitment": commitment}
        )
        return account_of(found["value"])

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
        """Create a token mint by a transaction. Raises MintingFailed."""
        keypair, authority = keypair or Keypair(), authority or Keypair()
        lamports = int(self._client.call("getMinimumBalanceForRentExemption", MINT_BYTES))
        create = create_account(
            CreateAccountParams(
                from_pubkey=self._payer.pubkey(),
                to_pubkey=keypair.pubkey(),
                lamports=lamports,
                space=MINT_BYTES,
                owner=program,
            )
        )
        initialize = spl.initialize_mint2(
            InitializeMint2Params(
                decimals=decimals,
                program_id=program,
                mint=keypair.pubkey(),
                mint_authority=authority.pubkey(),
                freeze_authority=freeze_authority,
            )
        )
        self._run([create, initialize], [keypair], settle)
        return Mint(keypair.pubkey(), decimals, program, authority)

    def mint_to(self, mint: Mint, owner: Pubkey, units: int, *, settle: bool | None = None) -> Pubkey:
        """Mint into the owner's associated token account, made if missing; returns its address."""
        payer = self._payer.pubkey()
        target = spl.get_associated_token_address(owner, mint.address, mint.program)
        create = spl.create_idempotent_associated_token_account(payer, owner, mint.address, mint.program)
        issue = spl.mint_to_checked(
            MintToCheckedParams(
                program_id=mint.program,
                mint=mint.address,
                dest=target,
                mint_authority=mint.authority.pubkey(),
                amount=units,
                decimals=mint.decimals,
            )
        )
        self._run([create, issue], [mint.authority], settle)
        return target

    def _run(self, instructions: list[Instruction], signers: list[Keypair], settle: bool | None) -> None:
        latest: Any = self._client.call("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        message = Message.new_with_blockhash(instructions, self._payer.pubkey(), blockhash)
        transaction = VersionedTransaction(message, [self._payer, *signers])
        try:
            signature = self._client.send(bytes(transaction))
        except RpcError as error:
            raise MintingFailed(error.message) from error
        self._confirm(signature, settle)

    def _confirm(self, signature: str, settle: bool | None) -> None:
        levels = ("finalized",) if settle else ("confirmed", "finalized")

        def landed() -> bool:
            found: Any = self._client.call("getSignatureStatuses", [signature])
            status = found["value"][0]
            if status is not None and status["err"] is not None:
                raise MintingFailed(f"{signature} failed: {status['err']}")
            return status is not None and status["confirmationStatus"] in levels

        self._wait_for(landed, self._call_timeout_s, f"has not {levels[0]} {signature}")

    # --- what only the embedded backend can do

    def pause(self) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("stop its clock")

    def resume(self) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("stop its clock")

    def warp(self, *, slot: int | None = None, seconds: int = 0) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("move its time")

    def save(self, path: Path | str) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("save its state")

    def restore(self, path: Path | str) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("restore a state")

    def set_account(self, key: Pubkey, **fields: object) -> NoReturn:
        """Raises NotSupported."""
        self._cannot("set an account without a transaction")

    def _cannot(self, what: str) -> NoReturn:
        raise NotSupported(f"{self.program} cannot {what}; the embedded validator can")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free_port_pair() -> int:
    """A free port whose successor is free too: RPC and, by the program's rule, WebSocket."""
    return _free_port_range(2)


def _free_port_range(width: int) -> int:
    """The first of `width` free ports in a row. Another process may still take one before it is used."""
    for _ in range(100):
        first = _free_port()
        if first + width < 65_536 and all(_is_free(port) for port in range(first, first + width)):
            return first
    raise BackendFailed(f"no {width} free ports in a row on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

"""`makewhole localnet`: a validator for other people's wallets, on a clock, until Ctrl-C.

Owns: what the terminal shows, the signals, and the exit status. Rules: nothing but errors is printed when
quiet; the line that changes is shown on a terminal only; a second Ctrl-C while stopping is ignored, so
that a ledger being saved is saved whole. Must not know: the command line's parser.
"""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .ledger import FAUCET_LAMPORTS
from .local_usdc import LOCAL_USDC, ensure_local_usdc
from .persistence import SavedLedgerError
from .validator import DEFAULT_RPC_PORT, DEFAULT_WS_PORT, Validator

LAMPORTS_PER_SOL = 1_000_000_000
REFRESH_S = 0.25


def run(host: str, rpc_port: int, ws_port: int, slot_ms: int, ledger: Path | None, quiet: bool) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop, 1 with one line of reason when it cannot be.

    Another RPC port with the default WebSocket port means the next port: that is where wallets look.
    `ledger` is read if it exists and written at the end.
    """
    if rpc_port != DEFAULT_RPC_PORT and ws_port == DEFAULT_WS_PORT:
        ws_port = rpc_port + 1 if rpc_port else 0
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    refusal = _refusal(slot_ms, ledger)
    if refusal:
        errors.print(f"[red]localnet:[/] {refusal}", soft_wrap=True)
        return 1
    validator = Validator(host=host, rpc_port=rpc_port, ws_port=ws_port, slot_ms=slot_ms, ledger_path=ledger)
    with _stop_signals() as stopping:
        try:
            validator.start()
        except (OSError, OverflowError, SavedLedgerError) as error:
            errors.print(f"[red]localnet:[/] {_why(error, host, rpc_port, ws_port)}", soft_wrap=True)
            return 1
        ensure_local_usdc(validator)
        if not quiet:
            _introduce(console, validator, ledger)
        _show(console, validator, stopping, live=console.is_terminal and not quiet)
        try:
            validator.stop()
        except OSError as error:
            errors.print(f"[red]localnet:[/] the ledger was not saved: {error}", soft_wrap=True)
            return 1
    if not quiet:
        saved = f", ledger saved in {ledger}" if ledger is not None else ""
        console.print(f"Stopped{saved}.", soft_wrap=True)
    return 0


def _refusal(slot_ms: int, ledger: Path | None) -> str:
    """What is wrong with the arguments, "" if nothing is."""
    if slot_ms < 1:
        return f"a slot takes at least 1 ms, not {slot_ms}"
    if ledger is not None and ledger.is_dir():
        return f"{ledger} is a folder; the ledger is one file"
    if ledger is not None and not ledger.parent.is_dir():
        return f"the folder {ledger.parent} does not exist"
    return ""


def _why(error: Exception, host: str, rpc_port: int, ws_port: int) -> str:
    """A failed start in the user's words."""
    if isinstance(error, SavedLedgerError):
        return str(error)
    if isinstance(error, OverflowError) or rpc_port > 65_535 or ws_port > 65_535:
        return f"ports go up to 65535, not {rpc_port} and {ws_port}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {rpc_port} or {ws_port} on {host} is taken; is another validator running? "
            "Choose another with --rpc-port, 0 takes a free one."
        )
    return f"cannot listen on {host}:{rpc_port} and :{ws_port}: {error}"


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; the handlers before are back at the end."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduce(console: Console, validator: Validator, ledger: Path | None) -> None:
    rows = {
        "JSON-RPC": validator.rpc_url,
        "WebSocket": validator.ws_url,
        "Slots": f"every {validator.slot_ms} ms",
        "Faucet": f"{FAUCET_LAMPORTS // LAMPORTS_PER_SOL:,} SOL: "
        f"makewhole airdrop YOUR_ADDRESS SOL 10 --url {validator.rpc_url}",
        "USDC": f"{LOCAL_USDC}: makewhole airdrop YOUR_ADDRESS USDC 100 --url {validator.rpc_url}",
    }
    if ledger is not None:
        rows["Ledger"] = f"{ledger}, saved at the end"
    console.print("[bold]makewhole localnet[/]")
    for name, value in rows.items():
        console.print(f"  {name:<10} {value}", soft_wrap=True)
    console.print("  Stop with Ctrl-C.")


def _show(console: Console, validator: Validator, stopping: threading.Event, *, live: bool) -> None:
    """Wait for the end, with a line of what goes on if the terminal can show it."""
    if not live:
        stopping.wait()
        return
    with Live(console=console, auto_refresh=False, transient=True) as shown:
        transactions, since = _facts(validator)[2], time.monotonic()
        while True:
            slot, finalized, count = _facts(validator)
            now = time.monotonic()
            rate = (count - transactions) / (now - since) if now > since else 0.0
            transactions, since = count, now
            line = f"slot {slot:,} · finalized {finalized:,} · {count:,} transactions ({rate:,.0f}/s)"
            shown.update(Text(line), refresh=True)
            if stopping.wait(REFRESH_S):
                return


def _facts(validator: Validator) -> tuple[int, int, int]:
    """The open slot, the newest finalized slot and the number of transactions."""
    ledger = validator.ledger
    return validator.call(lambda: (ledger.open.slot, ledger.root_slot, ledger.transaction_count))

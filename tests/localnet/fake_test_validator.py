"""A stand-in for `solana-test-validator`: its options, its slots of ticks, its ports, on an embedded chain.

The driver cannot tell: it is a program of its own that takes the real one's options (and only those), and
answers on the port it was told. FAKE_MODE makes it misbehave: crash, deaf, dies, stuck, stubborn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from solders.pubkey import Pubkey

from localnet import Validator

SUPPLY_LAMPORTS = 400_000_000 * 10**9


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the real program that the driver may use."""
    parser = argparse.ArgumentParser(prog="solana-test-validator", allow_abbrev=False)
    parser.add_argument("--ledger", type=Path, default=Path("test-ledger"))
    parser.add_argument("--reset", action="store_true")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true")
    group.add_argument("--log", action="store_true")
    parser.add_argument("--bind-address", default="127.0.0.1")
    parser.add_argument("--rpc-port", type=int, default=8899)
    parser.add_argument("--faucet-port", type=int, default=9900)
    parser.add_argument("--gossip-port", type=int)
    parser.add_argument("--dynamic-port-range")
    parser.add_argument("--mint", type=Pubkey.from_string)
    parser.add_argument("--ticks-per-slot", type=int, default=64)
    parser.add_argument("--slots-per-epoch", type=int)
    options = parser.parse_args(arguments)
    first, _, last = options.dynamic_port_range.partition("-")
    if int(last) - int(first) < 25:
        parser.error("Port range is too small.")
    if options.ticks_per_slot < 2:
        parser.error("value must be >= 2")
    return options


def main() -> int:
    """Serve until SIGTERM."""
    mode = os.environ.get("FAKE_MODE", "")
    options = parse(sys.argv[1:])
    if mode == "crash":
        print("Error: failed to start validator: Failed to create ledger: no space left", flush=True)
        return 1
    stopping = threading.Event()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    options.ledger.mkdir(parents=True)
    (options.ledger / "options.json").write_text(json.dumps(vars(options), default=str))
    if mode == "deaf":
        stopping.wait()
        return 0
    slot_ms = max(1, round(options.ticks_per_slot * 6.25))
    ledger = options.ledger / "ledger"
    # the supply belongs to --mint from genesis on, before anybody can ask
    with Validator(rpc_port=0, ws_port=0, ledger_path=ledger) as genesis:
        genesis.airdrop(options.mint, SUPPLY_LAMPORTS)
    ports = {"rpc_port": options.rpc_port, "ws_port": options.rpc_port + 1}
    with Validator(**ports, slot_ms=slot_ms, ledger_path=ledger) as validator:
        if mode == "stuck":
            validator.pause()
        if mode == "dies":
            time.sleep(1)
            print("thread 'main' panicked at core/src/validator.rs: out of memory", flush=True)
            return 3
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

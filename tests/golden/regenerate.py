"""Write the golden journals anew: `python -m tests.golden.regenerate`.

A golden is a promise that old journals replay (R5). So this refuses while ENGINE_VERSION is the version the
goldens were made with: a change that moves them is a change of rules and needs a new version. `--same-
version` overrides, for scenarios added before a release.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from engine.apply import apply
from engine.codec import dumps_compact
from engine.journal import (
    ENGINE_VERSION,
    GENESIS_HASH,
    Entry,
    chain_hash,
    decode_command,
    encode_command,
    encode_outcome,
    replay,
)
from engine.params import params_from_json, params_to_json
from engine.snapshot import state_hash
from engine.state import new_state
from tests.golden.scenarios import SCENARIOS

FOLDER = Path(__file__).parent / "journals"


def read(path: Path) -> tuple[dict[str, Any], list[Entry], dict[str, Any]]:
    """Read a golden: (header, entries, footer)."""
    header, *rows, footer = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    entries = [
        Entry(
            number, row["command"].encode("ascii"), row["outcome"].encode("ascii"), bytes.fromhex(row["hash"])
        )
        for number, row in enumerate(rows, start=1)
    ]
    return header, entries, footer


def play(path: Path) -> tuple[str, str]:
    """Replay a golden; give (last hash, state hash), both hex. Raises JournalCorrupt where it departs."""
    header, entries, _ = read(path)
    state = new_state(params_from_json(header["params"]))
    return replay(state, entries).hex(), state_hash(state)


def write(name: str) -> Path:
    """Play a scenario and write its golden."""
    params, commands = SCENARIOS[name]()
    state = new_state(params)
    last = GENESIS_HASH(params)
    lines = [
        dumps_compact({"name": name, "engine_version": ENGINE_VERSION, "params": params_to_json(params)})
    ]
    for command in commands:
        outcome = apply(state, command)
        if not outcome.recorded:
            continue
        wire, answer = encode_command(command), encode_outcome(outcome)
        last = chain_hash(last, state.sequence, wire, answer)
        row = {"command": wire.decode("ascii"), "outcome": answer.decode("ascii"), "hash": last.hex()}
        lines.append(dumps_compact(row))
    lines.append(dumps_compact({"last_hash": last.hex(), "state_hash": state_hash(state)}))
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def versions() -> set[int]:
    """Give the engine versions the present goldens were made with."""
    return {read(path)[0]["engine_version"] for path in sorted(FOLDER.glob("*.jsonl"))}


def main(arguments: list[str]) -> int:
    """Regenerate all goldens, or refuse. Exit status 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.golden.regenerate")
    parser.add_argument("--same-version", action="store_true", help="although ENGINE_VERSION has not changed")
    options = parser.parse_args(arguments)
    if ENGINE_VERSION in versions() and not options.same_version:
        print(
            f"refused: ENGINE_VERSION is still {ENGINE_VERSION}; bump it, or say --same-version",
            file=sys.stderr,
        )
        return 1
    for name in sorted(SCENARIOS):
        print(write(name))
    return 0


def commands_of(path: Path) -> list[Any]:
    """Give the commands of a golden."""
    return [decode_command(entry.command) for entry in read(path)[1]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

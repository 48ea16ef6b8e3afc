"""Reading a journal without a daemon: verify, replay, export; read-only, also while a daemon runs."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from daemon.errors import InvariantBreach, StoreCorrupt
from daemon.recovery import entries, stored_params, where_it_breaks
from daemon.store.database import Database
from engine.codec import tagged
from engine.invariants import check
from engine.journal import GENESIS_HASH, JournalCorrupt, decode_command, decode_outcome, replay
from engine.outcome import Accepted
from engine.snapshot import state_hash
from engine.state import State, new_state


def replayed(database: Database, until: int | None) -> tuple[State, bytes]:
    """Replay from the beginning; raises `StoreCorrupt` saying where the journal breaks."""
    params = stored_params(database)
    state = new_state(params)
    try:
        chain_hash = replay(state, islice(entries(database, 1), until), GENESIS_HASH(params))
    except JournalCorrupt as error:
        raise StoreCorrupt(where_it_breaks(database, error)) from error
    return state, chain_hash


def verify(path: Path) -> None:
    """Replay everything, check every invariant, compare every snapshot; print the verdict."""
    database = Database(path, read_only=True)
    try:
        state, chain_hash = replayed(database, None)
        breaches = check(state)
        if breaches:
            raise InvariantBreach([str(breach) for breach in breaches])
        snapshot = database.snapshot()
        if snapshot is not None and database.journal_hash(snapshot.sequence) not in (snapshot.hash, None):
            raise StoreCorrupt(f"{path}: the snapshot at {snapshot.sequence} is not of this journal")
    finally:
        database.close()
    _print(
        f"{state.sequence} entries are sound; journal hash {chain_hash.hex()}; state hash {state_hash(state)}"
    )


def replay_until(path: Path, until: int | None) -> None:
    """Replay up to a sequence and print where that leads."""
    database = Database(path, read_only=True)
    try:
        state, chain_hash = replayed(database, until)
    finally:
        database.close()
    _print(
        json.dumps(
            {"sequence": state.sequence, "journal_hash": chain_hash.hex(), "state_hash": state_hash(state)}
        )
    )


def export(path: Path, subaccount: str | None) -> None:
    """Print entries as JSON lines; with a subaccount only those whose command or events name it."""
    database = Database(path, read_only=True)
    named = None if subaccount is None else json.dumps(subaccount).encode()
    try:
        for row in database.journal():
            if named is None or named in row.command or named in row.outcome:
                command, outcome = in_words(row.command, row.outcome)
                entry = {
                    "sequence": row.sequence,
                    "command": command,
                    "outcome": outcome,
                    "hash": row.hash.hex(),
                }
                _print(msgspec.json.encode(entry).decode())
    finally:
        database.close()


def in_words(command: bytes, outcome: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a journal entry's command and outcome with every field by its name."""
    found = decode_outcome(outcome)
    if isinstance(found, Accepted):
        told: dict[str, Any] = {"type": "Accepted", "events": [tagged(event) for event in found.events]}
    else:
        told = {**tagged(found), "reason": found.reason.value}
    return tagged(decode_command(command)), told


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")

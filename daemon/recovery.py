"""How a daemon comes back: the newest snapshot, then every journal entry after it, each proved by its hash.

Owns: the first start (genesis), the restart, and the words of a refusal. Rules: an entry whose hash does
not follow from the one before, or whose command does not give the outcome that stands beside it, ends
the start; nothing is repaired by guessing. The parameters and the engine version of the journal must be
those that run now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from daemon.errors import ConfigError, StoreCorrupt, WrongCluster
from daemon.store.database import Database
from daemon.store.rows import Batch
from engine.journal import ENGINE_VERSION, GENESIS_HASH, Entry, JournalCorrupt, chain_hash, replay
from engine.params import Params, params_from_json, params_to_json
from engine.screen import attach
from engine.snapshot import load_state, state_hash
from engine.state import State, new_state

META_PARAMS: Final = "params"
META_ENGINE_VERSION: Final = "engine_version"
META_CLUSTER: Final = "genesis_hash_of_the_cluster"
LINKS_CHECKED: Final = 1000
META_SIGNER: Final = "hot_wallet_address"


@dataclass(frozen=True, slots=True)
class Recovered:
    """A state with its place in the journal."""

    state: State
    sequence: int
    chain_hash: bytes
    replayed: int


def check_identity(database: Database, params: Params, cluster: str, hot_wallet: str) -> None:
    """Write on the first start, compare on every other, what this data directory belongs to."""
    wanted = {
        META_PARAMS: _as_bytes(params_to_json(params)),
        META_ENGINE_VERSION: str(ENGINE_VERSION).encode(),
        META_CLUSTER: cluster.encode(),
        META_SIGNER: hot_wallet.encode(),
    }
    found = {key: database.meta(key) for key in wanted}
    if all(value is None for value in found.values()) and database.last_sequence() == 0:
        database.write(Batch(meta=list(wanted.items())))
        return
    if found[META_CLUSTER] != wanted[META_CLUSTER]:
        raise WrongCluster(
            f"{database.path}: belongs to the chain with genesis {_text(found[META_CLUSTER])}, the "
            f"configuration says {cluster}. Use another data_directory for another chain."
        )
    if found[META_SIGNER] != wanted[META_SIGNER]:
        raise ConfigError(
            "keys",
            [
                f"this seed gives the hot wallet {hot_wallet}, {database.path} was made with "
                f"{_text(found[META_SIGNER])}; addresses already issued would not be ours"
            ],
        )
    if found[META_ENGINE_VERSION] != wanted[META_ENGINE_VERSION]:
        raise StoreCorrupt(
            f"{database.path}: its journal was written by engine version "
            f"{_text(found[META_ENGINE_VERSION])}, this is {ENGINE_VERSION}; a journal is replayed by "
            f"the version that wrote it"
        )
    if found[META_PARAMS] != wanted[META_PARAMS]:
        raise ConfigError("engine parameters", _differences(found[META_PARAMS], params, database))


def stored_params(database: Database) -> Params:
    """Return the parameters that this journal began with; raises `StoreCorrupt` without any."""
    encoded = database.meta(META_PARAMS)
    if encoded is None:
        raise StoreCorrupt(f"{database.path}: holds no parameters, so it is not a makewhole database in use")
    return params_from_json(encoded.decode())


def recover(
    database: Database,
    params: Params,
    *,
    from_genesis: bool = False,
    on_entry: Callable[[int], None] | None = None,
) -> Recovered:
    """Return the state after the last journal entry; raises `StoreCorrupt` saying where it breaks."""
    state, start, link = new_state(params), 0, GENESIS_HASH(params)
    snapshot = None if from_genesis else database.snapshot()
    if snapshot is not None:
        expected = database.journal_hash(snapshot.sequence)
        try:
            state = load_state(snapshot.state)
            sound = state_hash(state) == snapshot.state_hash
        except (ValueError, KeyError, TypeError):
            sound = False
        if expected is None:
            missing = JournalCorrupt(
                database.last_sequence() + 1, f"missing, though a snapshot is at {snapshot.sequence}"
            )
            raise StoreCorrupt(where_it_breaks(database, missing))
        if not sound or expected != snapshot.hash:
            raise StoreCorrupt(
                f"{database.path}: the snapshot at sequence {snapshot.sequence} is damaged. Start with "
                f"`makewhole run --from-genesis`, which replays the whole journal instead of using it."
            )
        start, link = snapshot.sequence, snapshot.hash
        _check_links(database, max(1, start - LINKS_CHECKED + 1), start)
    attach(state)  # R33: the screen changes what a mark costs, never what it does
    try:
        link = replay(state, entries(database, start + 1, on_entry), link)
    except JournalCorrupt as error:
        raise StoreCorrupt(where_it_breaks(database, error)) from error
    return Recovered(state, state.sequence, link, state.sequence - start)


def _check_links(database: Database, first: int, last: int) -> None:
    """Hash the newest entries before a snapshot: a damaged tail is not built upon."""
    previous = database.journal_hash(first - 1)
    expected = first
    for row in database.journal(first, last):
        if row.sequence != expected:
            raise StoreCorrupt(where_it_breaks(database, JournalCorrupt(expected, "missing")))
        if previous is not None and row.hash != chain_hash(previous, row.sequence, row.command, row.outcome):
            raise StoreCorrupt(
                where_it_breaks(database, JournalCorrupt(row.sequence, "the hash does not match"))
            )
        previous, expected = row.hash, expected + 1


def entries(database: Database, first: int, on_entry: Callable[[int], None] | None = None) -> Iterator[Entry]:
    """Yield journal entries as the engine reads them."""
    for row in database.journal(first):
        yield Entry(row.sequence, row.command, row.outcome, row.hash)
        if on_entry is not None:
            on_entry(row.sequence)


def where_it_breaks(database: Database, error: JournalCorrupt) -> str:
    """Say where a journal is corrupt and what to do."""
    return (
        f"{database.path}: the journal is corrupt at sequence {error.sequence}: {error.why}. Nothing was "
        f"started and nothing was changed. `makewhole journal verify` checks all of it. Restore the file "
        f"from a backup: the watcher scans what is missing again from the backup's checkpoint, and credits "
        f"nothing twice."
    )


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode("utf-8", "replace")


def _differences(found: bytes | None, params: Params, database: Database) -> list[str]:
    """Name every parameter that is not what the journal began with."""
    then, now = json.loads(found or b"{}"), json.loads(params_to_json(params))
    return [
        f"{path} is {new}, but the journal in {database.path} began with {old}; put it back"
        for path, old, new in _changes("", then, now)
    ]


def _changes(path: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _changes(f"{path}.{key}".lstrip("."), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            name = after.get("symbol", place) if isinstance(after, dict) else place
            yield from _changes(f"{path}.{name}", before, after)
    elif old != new:
        yield path, old, new

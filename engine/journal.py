"""The journal: commands and outcomes as canonical bytes, linked by a hash chain, and their replay.

Owns: encodings and the chain. Rules: one entry per recorded command; entry n's hash covers the hash of entry
n - 1, n, the command's bytes and the outcome's bytes; the first link covers ENGINE_VERSION and the
parameters. Replaying gives the same outcomes byte for byte (R5). Must not know where entries are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from engine.apply import apply
from engine.codec import CodecError
from engine.params import Params, params_to_json
from engine.state import State
from engine.units import ENGINE_VERSION
from engine.wire import decode_command, decode_outcome, encode_command, encode_outcome

__all__ = [
    "ENGINE_VERSION",
    "GENESIS_HASH",
    "Entry",
    "JournalCorrupt",
    "chain_hash",
    "decode_command",
    "decode_outcome",
    "encode_command",
    "encode_outcome",
    "replay",
]

_GENESIS_PREFIX = b"makewhole journal "


def GENESIS_HASH(params: Params) -> bytes:  # noqa: N802  the published name: a constant of the parameters
    """Give the 32 bytes the chain starts from: sha256 of the prefix, ENGINE_VERSION and the canonical
    parameters.
    """
    return sha256(_GENESIS_PREFIX + f"{ENGINE_VERSION} {params_to_json(params)}".encode("ascii")).digest()


def chain_hash(previous: bytes, sequence: int, command: bytes, outcome: bytes) -> bytes:
    """Link an entry: sha256(previous + sequence + length of command + command + outcome), 8 bytes per
    number.
    """
    head = previous + sequence.to_bytes(8, "big") + len(command).to_bytes(8, "big")
    return sha256(head + command + outcome).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry as stored. Sequence numbers start at 1."""

    sequence: int
    command: bytes
    outcome: bytes
    hash: bytes


class JournalCorrupt(Exception):
    """A journal entry does not fit: `sequence` says which, `why` says how."""

    def __init__(self, sequence: int, why: str) -> None:
        """Name the entry and the fault."""
        super().__init__(f"journal entry {sequence}: {why}")
        self.sequence = sequence
        self.why = why


def replay(state: State, entries: Iterable[Entry], previous: bytes | None = None) -> bytes:
    """Apply journal entries to a state and give the hash of the last one.

    `previous` is the hash of the entry at `state.sequence`; it may be left out for a new state. Raises
    JournalCorrupt when a sequence number, an encoding, a hash or an outcome is not what it must be; the state
    is then useless.
    """
    if previous is None:
        if state.sequence:
            raise JournalCorrupt(state.sequence, "replay from a snapshot needs the hash of its last entry")
        previous = GENESIS_HASH(state.params)
    for entry in entries:
        expected = state.sequence + 1
        if entry.sequence != expected:
            raise JournalCorrupt(entry.sequence, f"expected entry {expected}")
        if chain_hash(previous, entry.sequence, entry.command, entry.outcome) != entry.hash:
            raise JournalCorrupt(entry.sequence, "the hash does not match")
        try:
            command = decode_command(entry.command)
        except CodecError as error:
            raise JournalCorrupt(entry.sequence, str(error)) from error
        if encode_command(command) != entry.command:
            raise JournalCorrupt(entry.sequence, "the command is not in canonical form")
        outcome = apply(state, command)
        if not outcome.recorded:
            raise JournalCorrupt(entry.sequence, "the command leaves no trace and cannot have been journaled")
        if encode_outcome(outcome) != entry.outcome:
            raise JournalCorrupt(entry.sequence, "the outcome differs from the one recorded")
        previous = entry.hash
    return previous

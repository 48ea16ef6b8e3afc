"""Commands and outcomes as canonical, compact, injective JSON bytes.

Owns: their spelling in the journal and in snapshots. Rules: a command is an object with its "type" first and
its fields in declared order; an outcome is {"accepted": [events]} or {"rejected": code, ...}. Whether an
answer was recorded is no part of it. Decoding is strict and raises CodecError. Must not know the chain of
hashes.
"""

from __future__ import annotations

from typing import Any

from engine.codec import CodecError, build, dumps_compact, encode_tagged, loads, row, tagged, unrow, untag
from engine.commands import COMMAND_TYPES, Command
from engine.events import EVENT_TYPES
from engine.outcome import Accepted, Outcome, Rejected
from engine.rejects import RejectReason

_COMMANDS: dict[str, type[Any]] = {one.__name__: one for one in COMMAND_TYPES}
_EVENTS: dict[str, type[Any]] = {one.__name__: one for one in EVENT_TYPES}
_REJECTED_KEYS = {"rejected", "detail", "retry_at_ns", "would_pass_units"}


def encode_command(command: Command) -> bytes:
    """Encode a command."""
    return encode_tagged(command).encode("ascii")


def decode_command(text: bytes) -> Command:
    """Decode what `encode_command` wrote; raises CodecError."""
    return command_of(loads(text))


def encode_outcome(outcome: Outcome) -> bytes:
    """Encode an outcome."""
    if type(outcome) is Accepted:
        events = ",".join([encode_tagged(event) for event in outcome.events])
        return f'{{"accepted":[{events}]}}'.encode("ascii")
    return dumps_compact(outcome_plain(outcome))


def decode_outcome(text: bytes) -> Outcome:
    """Decode what `encode_outcome` wrote; raises CodecError."""
    return outcome_of(loads(text))


def answer_row(command: Command, outcome: Outcome) -> list[Any]:
    """Give a remembered answer as a compact row: values without their names, for snapshots."""
    if isinstance(outcome, Accepted):
        said: Any = [[type(event).__name__, *row(event)] for event in outcome.events]
    else:
        said = outcome_plain(outcome)
    return [[type(command).__name__, *row(command)], said]


def answer_of(plain: Any) -> tuple[Command, Outcome]:
    """Build a remembered answer out of its row; raises CodecError."""
    if not isinstance(plain, list) or len(plain) != 2:
        raise CodecError("answer: expected a command and an outcome")
    command: Command = _from_row(plain[0], _COMMANDS, "command")
    if isinstance(plain[1], list):
        return command, Accepted(tuple([_from_row(one, _EVENTS, "event") for one in plain[1]]))
    return command, outcome_of(plain[1])


def _from_row(plain: Any, classes: dict[str, type[Any]], where: str) -> Any:
    if not isinstance(plain, list) or not plain or not isinstance(plain[0], str) or plain[0] not in classes:
        raise CodecError(f"{where}: unknown type")
    return unrow(plain[1:], classes[plain[0]], where)


def command_of(plain: Any) -> Command:
    """Build a command out of parsed JSON; raises CodecError."""
    command: Command = untag(plain, _COMMANDS, "command")
    return command


def outcome_plain(outcome: Outcome) -> dict[str, Any]:
    """Give the outcome as plain dicts and lists."""
    if isinstance(outcome, Accepted):
        return {"accepted": [tagged(event) for event in outcome.events]}
    return {
        "rejected": outcome.reason.value,
        "detail": outcome.detail,
        "retry_at_ns": outcome.retry_at_ns,
        "would_pass_units": outcome.would_pass_units,
    }


def outcome_of(plain: Any) -> Outcome:
    """Build an outcome out of parsed JSON; raises CodecError."""
    if not isinstance(plain, dict):
        raise CodecError("outcome: expected an object")
    if set(plain) == {"accepted"} and isinstance(plain["accepted"], list):
        return Accepted(
            tuple([untag(one, _EVENTS, f"event {at}") for at, one in enumerate(plain["accepted"])])
        )
    if set(plain) != _REJECTED_KEYS:
        raise CodecError("outcome: expected accepted or rejected")
    return Rejected(
        reason=build(plain["rejected"], RejectReason, "outcome.rejected"),
        detail=build(plain["detail"], str, "outcome.detail"),
        retry_at_ns=build(plain["retry_at_ns"], int | None, "outcome.retry_at_ns"),
        would_pass_units=build(plain["would_pass_units"], int | None, "outcome.would_pass_units"),
    )

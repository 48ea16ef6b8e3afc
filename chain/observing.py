"""Asks one endpoint what it knows of signatures, in the order that makes the answer evidence.

Owns: the sequence of requests behind an `Observation`. Must not know: what is decided from it.
Rule (W3): finalized height first, statuses with the whole history second; then, only where the height is past
the last valid one and the signature is unknown, whether the blockhash is still accepted and how far back the
ledger reaches. Asked the other way round, a transaction could land between the two answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from chain.errors import TransportError
from chain.evidence import Observation, Seen, SignatureSeen
from chain.limits import Endpoint
from chain.rpc import RpcPool
from chain.submission import PayoutRecord

SIGNATURES_AT_ONCE = 256  # the limit of getSignatureStatuses


class _EpochInfo(msgspec.Struct, rename="camel"):
    absolute_slot: int
    block_height: int


class _Context(msgspec.Struct):
    slot: int


class _Status(msgspec.Struct, rename="camel"):
    slot: int
    err: msgspec.Raw = msgspec.Raw(b"null")  # not `| None`: msgspec reads that as null only
    confirmation_status: str | None = None


class _Statuses(msgspec.Struct):
    context: _Context
    value: list[_Status | None]


class _Valid(msgspec.Struct):
    context: _Context
    value: bool


async def observe(
    pool: RpcPool, endpoint: Endpoint, records: Sequence[PayoutRecord]
) -> dict[str, Observation]:
    """Return what `endpoint` says of each record's signatures, by payout id. Raises ChainError."""
    height = await pool.call(
        "getEpochInfo", [{"commitment": "finalized"}], type=_EpochInfo, endpoint=endpoint
    )
    signatures = [signature for record in records for signature in record.signatures]
    seen: dict[str, SignatureSeen] = {}
    answered_at: dict[str, int] = {}
    for start in range(0, len(signatures), SIGNATURES_AT_ONCE):
        asked = signatures[start : start + SIGNATURES_AT_ONCE]
        answer = await pool.call(
            "getSignatureStatuses",
            [asked, {"searchTransactionHistory": True}],
            type=_Statuses,
            endpoint=endpoint,
        )
        if len(answer.value) != len(asked):
            raise TransportError(
                f"asked for {len(asked)} signatures, {len(answer.value)} were answered",
                endpoint=endpoint.name,
            )
        answered_at.update(dict.fromkeys(asked, answer.context.slot))
        seen.update((s, _seen(s, status)) for s, status in zip(asked, answer.value, strict=True))
    observations = {
        record.id: Observation(
            endpoint=endpoint.name,
            finalized_block_height=height.block_height,
            finalized_slot=height.absolute_slot,
            context_slot=min(answered_at[signature] for signature in record.signatures),
            statuses=tuple(seen[signature] for signature in record.signatures),
            searched_history=True,
        )
        for record in records
    }
    return await _complete_proofs(pool, endpoint, records, observations)


async def _complete_proofs(
    pool: RpcPool,
    endpoint: Endpoint,
    records: Sequence[PayoutRecord],
    observations: dict[str, Observation],
) -> dict[str, Observation]:
    first_available: int | None = None
    for record in records:
        attempt, observation = record.attempts[-1], observations[record.id]
        is_unknown = observation.statuses[-1].seen is Seen.UNKNOWN
        if not is_unknown or observation.finalized_block_height <= attempt.last_valid_block_height:
            continue
        if first_available is None:
            first_available = await pool.call("getFirstAvailableBlock", type=int, endpoint=endpoint)
        valid = await pool.call(
            "isBlockhashValid",
            [attempt.blockhash, {"commitment": "processed"}],
            type=_Valid,
            endpoint=endpoint,
        )
        # A node that has not reached the blockhash's own slot refuses it too: that proves nothing.
        accepted = valid.value if valid.context.slot >= attempt.signed_slot else None
        observations[record.id] = replace(
            observation, first_available_slot=first_available, blockhash_accepted=accepted
        )
    return observations


def _seen(signature: str, status: _Status | None) -> SignatureSeen:
    if status is None:
        return SignatureSeen(signature, Seen.UNKNOWN)
    error = "" if bytes(status.err) == b"null" else bytes(status.err).decode()
    # Nodes older than the field answer null for what is rooted; no such node is left, and calling it
    # processed is the careful reading.
    try:
        seen = Seen(status.confirmation_status or "processed")
    except ValueError:
        seen = Seen.PROCESSED
    return SignatureSeen(signature, seen, status.slot, error)

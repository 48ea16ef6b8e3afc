"""Methods that look transactions up: by signature and by account.

Owns: getTransaction, getSignatureStatuses, getSignaturesForAddress. Rules: history starts at `confirmed`;
statuses show `processed` too; a status older than 300 blocks is found only with searchTransactionHistory,
as on a validator whose status cache has forgotten it. Must not know: HTTP.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from ..blocks import TransactionRecord
from ..errors import invalid_params, min_context_slot_not_reached
from ..params import Config, Params, signature_of
from ..transaction_encoding import encode_transaction
from .registry import Node, at_least_confirmed, method, too_many, with_context

MAX_STATUSES: Final = 256
MAX_SIGNATURES: Final = 1_000
STATUS_CACHE_BLOCKS: Final = 300


@method("getTransaction", 1, 2)
def get_transaction(node: Node, params: Params) -> object:
    """A transaction, or null when the commitment does not have it. Raises -32015 on its version."""
    signature = params.signature(0)
    config = params.config_or_encoding(1, "RpcTransactionConfig")
    encoding = config.transaction_encoding()
    max_version = config.max_transaction_version()
    commitment = at_least_confirmed(config)
    ledger = node.ledger
    record = ledger.transaction(str(signature))
    if record is None or record.slot > ledger.slot_at(commitment):
        return None
    body = encode_transaction(record, encoding=encoding, max_version=max_version)
    return body | {
        "slot": record.slot,
        "blockTime": _time_of(node, record),
        "transactionIndex": record.index,
    }


@method("getSignatureStatuses", 1, 2)
def get_signature_statuses(node: Node, params: Params) -> object:
    """How far up to 256 transactions have come; null for an unknown one."""
    texts = params.texts(0)
    config = params.config(1, "RpcSignatureStatusConfig")
    search = config.flag("searchTransactionHistory")
    if len(texts) > MAX_STATUSES:
        raise too_many(MAX_STATUSES)
    signatures = [str(signature_of(text)) for text in texts]
    view = node.ledger.view("processed")
    return with_context(view, [_status(node, signature, search=search) for signature in signatures])


def _status(node: Node, signature: str, *, search: bool) -> object:
    ledger = node.ledger
    record = ledger.transaction(signature)
    if record is None:
        return None
    block = ledger.block(record.slot) or ledger.open
    depth = ledger.open.height - block.height
    if not search and depth > STATUS_CACHE_BLOCKS:
        return None
    finalized = record.slot <= ledger.root_slot
    return {
        "slot": record.slot,
        "confirmations": None if finalized else depth,
        "status": {"Ok": None} if record.err is None else {"Err": record.err},
        "err": record.err,
        "confirmationStatus": _level(node, record),
    }


def _level(node: Node, record: TransactionRecord) -> str:
    ledger = node.ledger
    if record.slot <= ledger.root_slot:
        return "finalized"
    return "confirmed" if record.slot <= ledger.slot_at("confirmed") else "processed"


def _time_of(node: Node, record: TransactionRecord) -> int | None:
    block = node.ledger.block(record.slot)
    return None if block is None else block.time_s


@method("getSignaturesForAddress", 1, 2)
def get_signatures_for_address(node: Node, params: Params) -> object:
    """The transactions that name an account, newest first, between `until` and `before` (both exclusive)."""
    key = params.pubkey(0)
    config = params.config(1, "RpcSignaturesForAddressConfig")
    before, until = _bound(config, "before"), _bound(config, "until")
    limit = config.uint("limit", "usize")
    limit = MAX_SIGNATURES if limit is None else limit
    if not 1 <= limit <= MAX_SIGNATURES:
        raise invalid_params(f"Invalid limit; max {MAX_SIGNATURES}")
    ledger = node.ledger
    newest = ledger.slot_at(at_least_confirmed(config))
    minimum = config.min_context_slot()
    if minimum is not None and newest < minimum:
        raise min_context_slot_not_reached(newest)
    ceiling = (newest + 1, 0)
    if before is not None:
        start = ledger.transaction(before)
        if start is None or start.slot > newest:
            return []
        ceiling = (start.slot, start.index)
    floor = (-1, 0)
    end = None if until is None else ledger.transaction(until)
    if end is not None:
        floor = (end.slot, end.index)
    records = ledger.history(key)
    first, last = bisect_right(records, floor, key=_place), bisect_left(records, ceiling, key=_place)
    return [_entry(node, record) for record in records[max(first, last - limit) : last][::-1]]


def _place(record: TransactionRecord) -> tuple[int, int]:
    return record.slot, record.index


def _bound(config: Config, name: str) -> str | None:
    text = config.text(name)
    return None if text is None else str(signature_of(text))


def _entry(node: Node, record: TransactionRecord) -> object:
    return {
        "signature": record.signature,
        "slot": record.slot,
        "err": record.err,
        "memo": record.memo,
        "blockTime": _time_of(node, record),
        "confirmationStatus": _level(node, record),
        "transactionIndex": record.index,
    }

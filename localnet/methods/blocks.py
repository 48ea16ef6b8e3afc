"""Methods on slots and blocks.

Owns: getSlot, getBlockHeight, getBlock, getBlocks, getBlocksWithLimit, getBlockTime, getLatestBlockhash,
isBlockhashValid, getFirstAvailableBlock, minimumLedgerSlot, getBlockCommitment. Rules: at or below the
root a missing block was skipped (-32007); above it, it is not available (yet) at the commitment (-32004).
Must not know: HTTP.
"""

from __future__ import annotations

from typing import Final

from ..errors import RpcError, block_not_available, invalid_params, min_context_slot_not_reached, slot_skipped
from ..params import TRANSACTION_DETAILS, Config, Params, hash_of
from ..transaction_encoding import encode_block
from .registry import Node, at_least_confirmed, method, view_of, with_context

MAX_RANGE: Final = 500_000
_CONTEXT_CONFIG: Final = "RpcContextConfig"


@method("getSlot", 0, 1)
def get_slot(node: Node, params: Params) -> object:
    """The newest slot at a commitment."""
    return view_of(node, params.config(0, _CONTEXT_CONFIG)).slot


@method("getBlockHeight", 0, 1)
def get_block_height(node: Node, params: Params) -> object:
    """The height of the newest block at a commitment: slots less the skipped ones."""
    return view_of(node, params.config(0, _CONTEXT_CONFIG)).height


@method("getLatestBlockhash", 0, 1)
def get_latest_blockhash(node: Node, params: Params) -> object:
    """A blockhash to sign with, and until which block height."""
    view = view_of(node, params.config(0, _CONTEXT_CONFIG))
    value = {"blockhash": view.blockhash, "lastValidBlockHeight": view.last_valid_block_height}
    return with_context(view, value)


@method("isBlockhashValid", 1, 2)
def is_blockhash_valid(node: Node, params: Params) -> object:
    """Whether a transaction with this blockhash could still be processed."""
    try:
        blockhash = hash_of(params.text(0))
    except RpcError as error:  # this one method leaves the usual first words out
        raise invalid_params(error.message.removeprefix("Invalid param: ")) from None
    view = view_of(node, params.config(1, _CONTEXT_CONFIG))
    return with_context(view, view.knows_blockhash(blockhash))


@method("getBlock", 1, 2)
def get_block(node: Node, params: Params) -> object:
    """A block. Raises -32004 or -32007 when there is none, -32015 on a version the caller does not know."""
    slot = params.uint(0)
    config = params.config_or_encoding(1, "RpcBlockConfig")
    encoding = config.transaction_encoding()
    details = config.variant("transactionDetails", TRANSACTION_DETAILS, "full")
    rewards = config.flag("rewards", default=True)
    max_version = config.max_transaction_version()
    commitment = at_least_confirmed(config)
    ledger = node.ledger
    block = ledger.block(slot)
    if slot <= ledger.root_slot:
        if block is None:
            raise slot_skipped(slot)
    elif block is None or slot > ledger.slot_at(commitment):
        raise block_not_available(slot)
    return encode_block(
        block, encoding=encoding, transaction_details=details, rewards=rewards, max_version=max_version
    )


@method("getBlockTime", 1, 1)
def get_block_time(node: Node, params: Params) -> object:
    """When a block was produced, in seconds since the epoch."""
    slot = params.uint(0)
    ledger = node.ledger
    if slot == ledger.open.slot:
        return ledger.open.time_s
    block = ledger.block(slot)
    if block is None:
        raise slot_skipped(slot) if slot < ledger.root_slot else block_not_available(slot)
    return block.time_s


@method("getBlocks", 1, 3)
def get_blocks(node: Node, params: Params) -> object:
    """The slots that have a block, from the first to the last given; at most 500,000 slots apart."""
    start = params.uint(0)
    end: int | None
    if isinstance(params.get(1), dict):  # the form without a last slot
        end, config = None, params.config(1, _CONTEXT_CONFIG)
    else:
        end, config = params.optional_uint(1), params.config(2, _CONTEXT_CONFIG)
    newest = _newest(node, config)
    last = min(start + MAX_RANGE if end is None else end, newest)
    if last < start:
        return []
    if last - start > MAX_RANGE:
        raise invalid_params(f"Slot range too large; max {MAX_RANGE}")
    return [block.slot for block in node.ledger.blocks_between(start, last)]


@method("getBlocksWithLimit", 2, 3)
def get_blocks_with_limit(node: Node, params: Params) -> object:
    """The first so many slots that have a block, from a slot on."""
    start, limit = params.uint(0), params.uint(1, "usize")
    config = params.config(2, _CONTEXT_CONFIG)
    if limit > MAX_RANGE:
        raise invalid_params(f"Limit too large; max {MAX_RANGE}")
    found = node.ledger.blocks_between(start, _newest(node, config))
    return [block.slot for block in found[:limit]]


def _newest(node: Node, config: Config) -> int:
    slot = node.ledger.slot_at(at_least_confirmed(config))
    minimum = config.min_context_slot()
    if minimum is not None and slot < minimum:
        raise min_context_slot_not_reached(slot)
    return slot


@method("getFirstAvailableBlock", 0, 0)
def get_first_available_block(node: Node, params: Params) -> object:
    """The oldest block kept: the genesis block."""
    return node.ledger.chain[0].slot


@method("minimumLedgerSlot", 0, 0)
def minimum_ledger_slot(node: Node, params: Params) -> object:
    """The oldest slot kept."""
    return node.ledger.chain[0].slot


@method("getBlockCommitment", 1, 1)
def get_block_commitment(node: Node, params: Params) -> object:
    """The votes on a block: all stake, once for every block on top of it; null when there is no block."""
    slot = params.uint(0)
    ledger = node.ledger
    block = ledger.block(slot)
    stake = 1
    if block is None or slot <= ledger.root_slot:
        return {"commitment": None, "totalStake": stake}
    depth = min(ledger.open.height - block.height, 32)
    return {"commitment": [stake if at == depth - 1 else 0 for at in range(32)], "totalStake": stake}

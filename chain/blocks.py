"""The wire form of a block, read no further than needed.

Owns the request for a block and the decoding of `getBlock` with `transactionDetails: "accounts"`. The
first pass reads account keys and signatures and leaves every `meta` as raw bytes: a foreign transaction
cannot stop us with what its meta contains, and the pass runs at memory speed. Error variants are never
decoded, only compared with null (D5). Must not know what is watched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from chain.errors import BlockUnreadable

U64_MAX: Final = 2**64 - 1
NULL: Final = msgspec.Raw(b"null")
ABSENT: Final = msgspec.Raw(b"")
_AMOUNT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)


class AccountKey(msgspec.Struct, gc=False):
    """One account of a transaction, whether named in it or loaded from a lookup table."""

    pubkey: str
    signer: bool = False
    writable: bool = True


class TransactionBody(msgspec.Struct, gc=False):
    """The accounts and signatures of a transaction."""

    accountKeys: list[AccountKey]  # noqa: N815 - the wire's name
    signatures: list[str]


class BlockTransaction(msgspec.Struct, gc=False):
    """A transaction with its outcome left undecoded; all versions look alike here."""

    transaction: TransactionBody
    meta: msgspec.Raw = ABSENT


class Block(msgspec.Struct):
    """A finalized or confirmed block."""

    blockhash: str
    parentSlot: int  # noqa: N815
    previousBlockhash: str  # noqa: N815
    transactions: list[BlockTransaction]
    blockTime: int | None = None  # noqa: N815


class TokenAmount(msgspec.Struct, gc=False):
    """Only the raw amount: UI amounts are scaled, rounded or interest-bearing (D3)."""

    amount: str


class TokenBalance(msgspec.Struct, gc=False):
    """The token balance of one account before or after a transaction."""

    accountIndex: int  # noqa: N815
    mint: str
    uiTokenAmount: TokenAmount  # noqa: N815
    owner: str = ""
    programId: str = ""  # noqa: N815


class Meta(msgspec.Struct, gc=False):
    """The outcome of a successful transaction that touches a watched account."""

    preBalances: list[int]  # noqa: N815
    postBalances: list[int]  # noqa: N815
    preTokenBalances: list[TokenBalance]  # noqa: N815
    postTokenBalances: list[TokenBalance]  # noqa: N815
    fee: int = 0


class _Outcome(msgspec.Struct, gc=False):
    err: msgspec.Raw = ABSENT


class _BlockAnswer(msgspec.Struct):
    result: Block | None = None
    error: msgspec.Raw = NULL


_BLOCK_DECODER: Final = msgspec.json.Decoder(_BlockAnswer)
_OUTCOME_DECODER: Final = msgspec.json.Decoder(_Outcome)
_META_DECODER: Final = msgspec.json.Decoder(Meta)


class Header(msgspec.Struct):
    """A block without its transactions' content: what a second node is asked about every block."""

    blockhash: str
    parentSlot: int  # noqa: N815
    previousBlockhash: str  # noqa: N815
    signatures: list[str]


def signatures_digest(signatures: Iterable[str]) -> bytes:
    """Return one hash of a block's first signatures in order: a transaction left out or added changes it."""
    return hashlib.sha256("\n".join(signatures).encode()).digest()


def block_params(
    slot: int, commitment: str, max_supported_transaction_version: int, details: str = "accounts"
) -> list[Any]:
    """Return the parameters of the one form of `getBlock` that we use (D1), or of its header."""
    return [
        slot,
        {
            "commitment": commitment,
            "encoding": "json",
            "transactionDetails": details,
            "rewards": False,
            "maxSupportedTransactionVersion": max_supported_transaction_version,
        },
    ]


def decode_block(body: bytes, slot: int) -> Block:
    """Decode the response body of `getBlock`; raises BlockUnreadable, also for a null or an error."""
    try:
        answer = _BLOCK_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BlockUnreadable(slot, str(fault)) from None
    if answer.error != NULL:
        raise BlockUnreadable(slot, f"an error instead of a block: {bytes(answer.error)[:200]!r}")
    block = answer.result
    if block is None:
        raise BlockUnreadable(slot, "null instead of a block")
    # Only the genesis block, slot 0, is its own parent.
    if not (0 <= block.parentSlot < slot or block.parentSlot == slot == 0):
        raise BlockUnreadable(slot, f"its parent slot is {block.parentSlot}")
    if not block.blockhash or not block.previousBlockhash:
        raise BlockUnreadable(slot, "it has no blockhash")
    for position, transaction in enumerate(block.transactions):
        # One missing meta means the node did not keep outcomes: nothing it says about balances counts.
        if transaction.meta == ABSENT or transaction.meta == NULL:
            raise BlockUnreadable(slot, f"transaction {position} has no meta")
        if not transaction.transaction.signatures:
            raise BlockUnreadable(slot, f"transaction {position} has no signature")
    return block


def decode_meta(raw: msgspec.Raw, keys: int, slot: int, signature: str) -> Meta | None:
    """Decode the outcome of a transaction with `keys` accounts; None if it failed on chain.

    Raises BlockUnreadable if the outcome is missing or its lists do not fit the accounts.
    """
    try:
        # The outcome alone first: of a failed transaction nothing else is needed, so nothing else is read.
        err = _OUTCOME_DECODER.decode(raw).err
        if err == ABSENT:
            raise BlockUnreadable(slot, f"meta of {signature} does not say whether it failed")
        if err != NULL:
            return None
        meta = _META_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BlockUnreadable(slot, f"meta of {signature}: {fault}") from None
    for balances in (meta.preBalances, meta.postBalances):
        if len(balances) != keys:
            raise BlockUnreadable(slot, f"{signature} has {keys} accounts but {len(balances)} balances")
        if not all(0 <= lamports <= U64_MAX for lamports in balances):
            raise BlockUnreadable(slot, f"{signature} has a balance outside u64")
    return meta


def by_account(entries: list[TokenBalance], keys: int, slot: int, signature: str) -> dict[int, TokenBalance]:
    """Return token balances by account index; raises BlockUnreadable for a repeated or impossible index."""
    found: dict[int, TokenBalance] = {}
    for entry in entries:
        if not 0 <= entry.accountIndex < keys or entry.accountIndex in found:
            raise BlockUnreadable(slot, f"{signature} has a wrong token balance index {entry.accountIndex}")
        found[entry.accountIndex] = entry
    return found


def token_units(entry: TokenBalance | None, slot: int, signature: str) -> int:
    """Return the raw amount of a balance entry, 0 if there is none; raises BlockUnreadable outside u64."""
    if entry is None:
        return 0
    text = entry.uiTokenAmount.amount
    if _AMOUNT.fullmatch(text) is None or int(text) > U64_MAX:
        raise BlockUnreadable(slot, f"{signature} has the token amount {text[:40]!r}")
    return int(text)

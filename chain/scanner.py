"""Blocks into credits: the rules of D3. Pure.

A credit is the integer difference post - pre of one account in one successful transaction. Instructions
and logs are never read: a transfer inside a program, a batch, a closed account or an unwrap moves balances
like any other, and leaves no trace a parser would know.

- SOL: the lamports of the deposit address itself. Lamports on its token account are never SOL.
- A token: only the associated token account derived from (address, mint, token program), with mint and
  program on the allow-list and the deposit address as its owner after, and before if it existed.
- Nothing signed by one of our own keys is a deposit.

Whatever else happens to a watched account becomes a `Notice`, so that nothing disappears silently. A block
that cannot be read raises BlockUnreadable: the caller halts and never skips (D5).

Must not know endpoints, databases or subaccounts. `chain.watchlist` says what is watched, `chain.blocks`
what a block looks like on the wire, `chain.credits` what is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chain.blocks import (
    Block,
    BlockTransaction,
    Meta,
    TokenBalance,
    by_account,
    decode_block,
    decode_meta,
    signatures_digest,
    token_units,
)
from chain.credits import Checkpoint, Credit, Link, Notice, NoticeKind, ScannedBlock, link_of
from chain.errors import BlockUnreadable
from chain.tokens import WRAPPED_SOL_MINT, TokenMint
from chain.watchlist import Watched, Watchlist

__all__ = [
    "Checkpoint",
    "Credit",
    "Link",
    "Notice",
    "NoticeKind",
    "ScannedBlock",
    "Watchlist",
    "link_of",
    "scan_block",
]


def scan_block(body: bytes, slot: int, watchlist: Watchlist) -> ScannedBlock:
    """Return the credits and notices of a `getBlock` response body (D3).

    Raises BlockUnreadable if the body is not a block, any transaction lacks its meta, or a transaction
    that touches a watched account contradicts itself. Outcomes of other transactions are not decoded.
    """
    block = decode_block(body, slot)
    present = {key.pubkey for item in block.transactions for key in item.transaction.accountKeys}
    candidates = watchlist.candidates(present)
    found: list[Credit | Notice] = []
    if candidates:
        signatures: set[str] = set()
        for item in block.transactions:
            if candidates.isdisjoint([key.pubkey for key in item.transaction.accountKeys]):
                continue
            view = _view(item, slot, signatures)
            if view is not None:
                found.extend(_outcomes(view, block, candidates, watchlist))
    return ScannedBlock(
        slot=slot,
        blockhash=block.blockhash,
        parent_slot=block.parentSlot,
        previous_blockhash=block.previousBlockhash,
        block_time=block.blockTime,
        credits=tuple(item for item in found if isinstance(item, Credit)),
        notices=tuple(item for item in found if isinstance(item, Notice)),
        transactions=len(block.transactions),
        signatures_digest=signatures_digest(item.transaction.signatures[0] for item in block.transactions),
    )


@dataclass(slots=True)
class _View:
    """A successful transaction that names a candidate, with everything looked up once."""

    slot: int
    signature: str
    keys: list[str]
    signers: list[str]
    writable: list[bool]
    meta: Meta
    pre: dict[int, TokenBalance]
    post: dict[int, TokenBalance]

    def units(self, entry: TokenBalance | None) -> int:
        return token_units(entry, self.slot, self.signature)

    def lamports(self, index: int) -> int:
        return self.meta.postBalances[index] - self.meta.preBalances[index]


def _view(item: BlockTransaction, slot: int, signatures: set[str]) -> _View | None:
    """Return the transaction's view, or None if it failed on chain: a failed transaction moved nothing."""
    body = item.transaction
    signature = body.signatures[0]
    if not signature:
        raise BlockUnreadable(slot, "a transaction has no signature")
    if signature in signatures:
        raise BlockUnreadable(slot, f"{signature} appears twice")
    signatures.add(signature)
    keys = [key.pubkey for key in body.accountKeys]
    if len(set(keys)) != len(keys):
        raise BlockUnreadable(slot, f"{signature} names an account twice")
    meta = decode_meta(item.meta, len(keys), slot, signature)
    if meta is None:
        return None
    signers = [key.pubkey for key in body.accountKeys if key.signer]
    if not signers:
        raise BlockUnreadable(slot, f"{signature} has no signer")
    return _View(
        slot=slot,
        signature=signature,
        keys=keys,
        signers=signers,
        writable=[key.writable for key in body.accountKeys],
        meta=meta,
        pre=by_account(meta.preTokenBalances, len(keys), slot, signature),
        post=by_account(meta.postTokenBalances, len(keys), slot, signature),
    )


def _outcomes(
    view: _View, block: Block, candidates: set[str], watchlist: Watchlist
) -> Iterator[Credit | Notice]:
    """Yield what the transaction means for each watched account, in account order."""
    ours = any(watchlist.is_own(signer) for signer in view.signers)
    for index, key in enumerate(view.keys):
        watched = watchlist.find(key) if key in candidates else None
        if watched is None:
            yield from _stray_token_account(view, index, watchlist)
        elif watched.token is None:
            yield from _moved(
                view, block, index, watched, watchlist.native, view.lamports(index), ours, watchlist
            )
        else:
            yield from _token_account(view, block, index, watched, watched.token, ours, watchlist)


def _token_account(
    view: _View,
    block: Block,
    index: int,
    watched: Watched,
    token: TokenMint,
    ours: bool,
    watchlist: Watchlist,
) -> Iterator[Credit | Notice]:
    """Yield the credit of a derived token account, and what else happened to it."""
    pre, post = view.pre.get(index), view.post.get(index)
    for entry in (pre, post):
        # Mint and program are part of the account's address: a node that names others is lying.
        if entry is not None and (entry.mint != token.mint or entry.programId != token.program):
            raise BlockUnreadable(
                view.slot,
                f"{view.signature} shows {view.keys[index]} with mint {entry.mint} of {entry.programId}",
            )
        if entry is not None and not entry.owner:
            raise BlockUnreadable(
                view.slot, f"{view.signature} does not name the owner of {view.keys[index]}"
            )
    units = view.units(post) - view.units(pre)
    strangers = [e.owner for e in (pre, post) if e is not None and e.owner != watched.address]
    if strangers:
        yield _notice(
            view, NoticeKind.OWNER_CHANGED, index, watched.address, token.mint, units,
            f"the token account belongs to {strangers[-1]}",
        )  # fmt: skip
        return
    yield from _moved(view, block, index, watched, token, units, ours, watchlist)
    if not ours:
        yield from _lamports_of_token_account(view, index, watched, token, units)


def _lamports_of_token_account(
    view: _View, index: int, watched: Watched, token: TokenMint, units: int
) -> Iterator[Notice]:
    """Yield a notice for lamports that are neither rent nor the body of wrapped SOL: they are never SOL."""
    opened = index not in view.pre and index in view.post
    closed = index in view.pre and index not in view.post
    lamports = view.lamports(index)
    wrapped = token.mint == WRAPPED_SOL_MINT
    # Wrapped SOL moves lamports and amount together. SyncNative later turns lamports that were sent
    # before into amount (a token deposit then): the remainder is negative there, and no outflow.
    stray = lamports - units if wrapped else lamports
    if opened or closed:
        return
    if stray > 0:
        yield _notice(
            view, NoticeKind.MISDIRECTED_LAMPORTS, index, watched.address, None, stray,
            f"lamports were sent to the {token.symbol} token account instead of the address",
        )  # fmt: skip
    elif stray < 0 and not wrapped:
        yield _notice(
            view, NoticeKind.NEGATIVE_DIFFERENCE, index, watched.address, None, stray,
            "lamports left the token account without our signature",
        )  # fmt: skip
    elif stray == 0 and units == 0 and view.writable[index]:
        yield _notice(
            view, NoticeKind.ACCOUNT_TOUCHED, index, watched.address, token.mint, 0,
            "written without a change of balance: a freeze, a thaw or an approval looks like this",
        )  # fmt: skip


def _moved(
    view: _View,
    block: Block,
    index: int,
    watched: Watched,
    token: TokenMint | None,
    units: int,
    ours: bool,
    watchlist: Watchlist,
) -> Iterator[Credit | Notice]:
    """Yield what a difference of `units` on a watched account is: a credit, dust, ours, an alarm."""
    mint = None if token is None else token.mint

    def notice(kind: NoticeKind, detail: str) -> Notice:
        return _notice(view, kind, index, watched.address, mint, units, detail)

    if units == 0:
        return
    if ours:
        yield notice(NoticeKind.OWN_TRANSACTION, "signed by one of our own keys: not a deposit")
    elif units < 0:
        yield notice(NoticeKind.NEGATIVE_DIFFERENCE, "units left the account without our signature")
    elif token is None:
        yield notice(NoticeKind.UNKNOWN_TOKEN, "SOL is not accepted here")
    elif units < watchlist.minimum_units.get(token.symbol, 1):
        yield notice(NoticeKind.DUST, f"below the minimum deposit of {watchlist.minimum_units[token.symbol]}")
    else:
        yield Credit(
            signature=view.signature,
            slot=view.slot,
            blockhash=block.blockhash,
            account=view.keys[index],
            address=watched.address,
            mint=mint,
            symbol=token.symbol,
            units=units,
            sender=_sol_sender(view, units) if mint is None else _token_sender(view, mint, units),
            block_time=block.blockTime,
        )


def _stray_token_account(view: _View, index: int, watchlist: Watchlist) -> Iterator[Notice]:
    """Yield a notice for a token account of ours that is not one we accept deposits on.

    Seen only in transactions that name a watched account; creating a token account names its owner.
    """
    pre, post = view.pre.get(index), view.post.get(index)
    if post is None or not post.owner or post.owner not in watchlist:
        return
    if pre is not None and pre.owner == post.owner and pre.uiTokenAmount.amount == post.uiTokenAmount.amount:
        return
    units = view.units(post) - (view.units(pre) if pre is not None and pre.owner == post.owner else 0)
    if watchlist.token_of(post.mint, post.programId) is None:
        kind, detail = (
            NoticeKind.UNKNOWN_TOKEN,
            f"mint {post.mint} of program {post.programId} is not accepted",
        )
    else:
        kind, detail = (
            NoticeKind.UNDERIVED_ACCOUNT,
            "an accepted token on an account that is not the derived one",
        )
    yield _notice(view, kind, index, post.owner, post.mint, units, detail)


def _notice(
    view: _View, kind: NoticeKind, index: int, address: str, mint: str | None, units: int, detail: str
) -> Notice:
    return Notice(kind, view.slot, view.signature, view.keys[index], address, mint, units, detail)


def _sol_sender(view: _View, units: int) -> str | None:
    """Return the one signer whose lamports fell by at least the amount, or None: nobody is guessed.

    The first account pays the network fee, so its fall counts less the fee.
    """
    signers = set(view.signers)
    payers = [
        key
        for index, key in enumerate(view.keys)
        if key in signers and -view.lamports(index) - (view.meta.fee if index == 0 else 0) >= units
    ]
    return payers[0] if len(payers) == 1 else None


def _token_sender(view: _View, mint: str, units: int) -> str | None:
    """Return the signing owner of the only account whose units of the mint fell, by at least the amount.

    A swap pays out of a pool that signs nothing: units sent back to its authority would be lost.
    """
    sources = []
    for index in view.pre.keys() | view.post.keys():
        pre, post = view.pre.get(index), view.post.get(index)
        if pre is not None and pre.mint == mint and view.units(post) < view.units(pre):
            sources.append((pre.owner, view.units(pre) - view.units(post)))
    if len(sources) != 1:
        return None
    owner, fallen_units = sources[0]
    return owner if fallen_units >= units and owner in view.signers else None

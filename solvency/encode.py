"""Write the one encoding of every structure; `verifier.py` reads it back.

Owns: byte layouts (docs/SOLVENCY.md). Big-endian, fixed widths, counts before lists. Must not know how a
value was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from solvency.verifier import (
    HEADER_MAGIC,
    RECORD_MAGIC,
    Asset,
    AssetLine,
    Header,
    HeldAccount,
    OpenAccount,
    Role,
    Tree,
)


def u8(value: int) -> bytes:
    """Write one byte."""
    return value.to_bytes(1, "big")


def u32(value: int) -> bytes:
    """Write four bytes."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Write eight bytes; raise OverflowError for what does not fit."""
    return value.to_bytes(8, "big")


def scalar(value: int) -> bytes:
    """Write a blinding."""
    return value.to_bytes(32, "big")


def text(value: str) -> bytes:
    """Write a length byte and ASCII characters."""
    raw = value.encode("ascii")
    return u8(len(raw)) + raw


def asset(value: Asset) -> bytes:
    """Write one row of the table of assets."""
    return (
        text(value.symbol)
        + value.identity
        + u8(value.decimals)
        + u64(value.price_e8)
        + value.weight_ppm.to_bytes(4, "big")
    )


def header_start(
    operator: bytes,
    epoch: int,
    previous: bytes,
    numbers: tuple[int, int, int],
    assets: Sequence[Asset],
    open_accounts: Sequence[OpenAccount],
) -> bytes:
    """Write the start of the header, known before anything is proved; its hash is the epoch's context."""
    return b"".join(
        [
            HEADER_MAGIC,
            operator,
            u64(epoch),
            previous,
            *map(u64, numbers),
            u8(len(assets)),
            *map(asset, assets),
            u8(len(open_accounts)),
            *map(open_account, open_accounts),
        ]
    )


def header(value: Header) -> bytes:
    """Write a header; its `context` and `hash` follow from the rest and are not looked at."""
    numbers = (value.sequence, value.time_ns, value.slot)
    return b"".join(
        [
            header_start(
                value.operator, value.epoch, value.previous, numbers, value.assets, value.open_accounts
            ),
            *map(line, value.lines),
            tree(value.claims),
            u64(value.debts_usd6),
            scalar(value.debts_blinding),
            u64(value.shortfall_usd6),
            scalar(value.shortfall_blinding),
            u64(value.total_rate_ppm),
            u32(value.debtor_count),
            u32(value.listed_count),
            value.debtors_root,
            u32(value.holding_count),
            value.body_hash,
        ]
    )


def tree(value: Tree) -> bytes:
    """Write the public face of a tree."""
    return (
        u8(value.depth)
        + value.plain
        + value.plain_hash
        + value.debtors
        + u64(value.total)
        + scalar(value.blinding)
    )


def line(value: AssetLine) -> bytes:
    """Write the totals of one asset."""
    return (
        tree(value.credits)
        + u64(value.borrows_units)
        + scalar(value.borrows_blinding)
        + u64(value.holdings_units)
        + u64(value.rate_ppm)
    )


def open_account(value: OpenAccount) -> bytes:
    """Write an account of the exchange in clear."""
    pairs = b"".join(u64(c) + u64(b) for c, b in zip(value.credits, value.borrows, strict=True))
    return text(value.name) + pairs + u64(value.claim_usd6) + u64(value.debt_usd6)


def held_account(value: HeldAccount) -> bytes:
    """Write a reserve account with its signature; envelopes are at most 65,535 bytes."""
    envelope = (
        b"\x00"
        if value.envelope is None
        else b"\x01" + len(value.envelope).to_bytes(2, "big") + value.envelope
    )
    return u8(value.tree) + value.account + value.owner + u64(value.units) + envelope + value.signature


AmountRow = tuple[Role, int, bytes, bytes]  # role, asset, commitment, range proof


def debtor_record(
    tag: bytes,
    listed: bool,
    amounts: Iterable[AmountRow],
    margin: tuple[bytes, bytes],
    remainder_proof: bytes,
) -> bytes:
    """Write the public proof of an account with a debt."""
    rows = list(amounts)
    out = [tag, u8(listed)]
    for role in (Role.CREDIT, Role.BORROW):
        mine = [row for row in rows if row[0] is role]
        out += [u8(len(mine)), *(u8(number) + wire + proof for _, number, wire, proof in mine)]
    for role in (Role.CLAIM, Role.DEBT):
        mine = [row for row in rows if row[0] is role]
        out += [u8(len(mine)), *(wire + proof for _, _, wire, proof in mine)]
    return b"".join([*out, *margin, remainder_proof])


def bundle(header: bytes, signature: bytes, body: bytes) -> bytes:
    """Write length | header | signature | body."""
    return u32(len(header)) + header + signature + body


def record_start(header_hash: bytes, customer_id: bytes, in_debt: bool) -> bytes:
    """Write the start of a customer's record."""
    return RECORD_MAGIC + header_hash + u8(len(customer_id)) + customer_id + u8(in_debt)

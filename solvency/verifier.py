"""Verify a Makewhole proof of solvency with nothing but this file, `wallycore` 1.5.6 and `cryptography`.

Owns: every constant, hash, encoding and check of docs/SOLVENCY.md. The prover imports this file; this file
imports nothing of ours and knows no engine, no database and no chain.

Read it top to bottom; that is the order in which a bundle is checked:
  1 constants   2 reasons   3 the curve   4 hashes   5 reading bytes   6 the header   7 the body
  8 checking a head   9 checking a bundle   10 checking a customer's record   11 chains, equivocation,
  command line

Rules: a verifier never repairs. Each field has exactly one encoding; anything else is `Rejected` with the
first reason in the order of the specification. Nothing here is secret, so nothing here is constant-time.
"""

from __future__ import annotations

import argparse
import ctypes
import enum
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# ---------------------------------------------------------------- 1 constants

HEADER_MAGIC = b"MWSOLV1\n"
RECORD_MAGIC = b"MWRCRD1\n"
DOMAIN = b"makewhole/solvency/1/"
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GENERATOR_G = bytes.fromhex(
    "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
)
# H: x is SHA256(G), so nobody knows log_G(H); 0x0b says that y is not a square. Checked by self_test().
GENERATOR_H = bytes.fromhex("0b50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0")
POINT_SIZE = 33
IDENTITY = bytes(POINT_SIZE)  # "no debtor has any": the one place where a sum may be the neutral element
PROOF_SIZE = 5126
PROOF_PREFIX = b"\x40\x3f"  # exponent 0, no minimum, mantissa 64: the range [0, 2^64) and no other
MAX_U64 = 2**64 - 1
PPM = 1_000_000
RATE_NOTHING_OWED = MAX_U64  # the rate of a line whose net liabilities are not positive
MAX_ASSETS = 64
MAX_DECIMALS = 9
MAX_PRICE_E8 = 10**17  # a billion dollars a token
MAX_DEPTH = 32
MAX_ID_BYTES = 128
QUANTA_PER_USD6 = 10**17  # equity is computed in usd6 / 10^17, where every price is a whole number
SETTLEMENT = 0  # index of the settlement asset: price 1, weight 1, 6 decimals
CLAIMS_TREE = 255
ACCOUNT_TREE = 254
FUND_NAME = "insurance_fund"


class Role(enum.IntEnum):
    """Say what a range proof is for; bound into the proof."""

    ROOT = 0
    SIBLING = 1
    CREDIT = 2
    BORROW = 3
    CLAIM = 4
    DEBT = 5
    MARGIN = 6
    REMAINDER = 7
    LEAF = 8


# ---------------------------------------------------------------- 2 reasons


class Reason(enum.StrEnum):
    """Name why something was refused, in no order; docs/SOLVENCY.md has the order of the checks."""

    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    WRONG_MAGIC = "wrong_magic"
    OUT_OF_RANGE = "out_of_range"
    WRONG_ORDER = "wrong_order"
    NON_CANONICAL_POINT = "non_canonical_point"
    WEAK_KEY = "weak_key"
    WRONG_OPERATOR = "wrong_operator"
    OPERATOR_SIGNATURE = "operator_signature_invalid"
    NOT_THE_PUBLISHED_HASH = "not_the_published_hash"
    BROKEN_CHAIN = "broken_chain"
    PRICE_OUT_OF_BOUNDS = "price_out_of_bounds"
    WEIGHT_OUT_OF_BOUNDS = "weight_out_of_bounds"
    CREDITS_TOTAL = "credits_total_wrong"
    CLAIMS_TOTAL = "claims_total_wrong"
    BORROWS_TOTAL = "borrows_total_wrong"
    DEBTS_TOTAL = "debts_total_wrong"
    SHORTFALL_TOTAL = "shortfall_total_wrong"
    HOLDINGS_TOTAL = "holdings_total_wrong"
    LISTED_COUNT = "listed_count_wrong"
    RATE = "rate_wrong"
    BODY_HASH = "body_hash_differs"
    DEBTORS_ROOT = "debtors_root_differs"
    DEBTOR_CREDITS_SUM = "debtor_credits_sum_differs"
    RESERVE_SIGNATURE = "reserve_signature_invalid"
    CHALLENGE_MISSING = "challenge_not_in_envelope"
    HOLDING_NOT_ON_CHAIN = "holding_differs_from_chain"
    PROOF_PARAMETERS = "range_proof_parameters"
    ROOT_NOT_IN_RANGE = "root_not_in_range"
    AMOUNT_NOT_IN_RANGE = "debtor_amount_not_in_range"
    EQUITY_NOT_PROVED = "equity_not_proved"
    OTHER_BUNDLE = "record_of_another_bundle"
    OTHER_CUSTOMER = "record_of_another_customer"
    OPENING = "opening_wrong"
    PATH = "path_does_not_reach_the_root"
    LEAF_NOT_IN_RANGE = "leaf_not_in_range"
    SIBLING_NOT_IN_RANGE = "sibling_not_in_range"
    BALANCE_DIFFERS = "balance_differs"


class Rejected(Exception):
    """Carry the reason why a bundle or a record was refused."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnsupportedPlatform(ImportError):
    """Say that the curve library here lacks what we need: no proof is made or judged without it."""


# ---------------------------------------------------------------- 3 the curve

_P, _SIZE, _U64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64
_BYTES = ctypes.c_char_p
_SYMBOLS: dict[str, tuple[object, list[object]]] = {
    "context_create": (_P, [ctypes.c_uint]),
    "generator_parse": (ctypes.c_int, [_P, _BYTES, _BYTES]),
    "generator_serialize": (ctypes.c_int, [_P, _BYTES, _BYTES]),
    "ec_pubkey_parse": (ctypes.c_int, [_P, _BYTES, _BYTES, _SIZE]),
    "ec_pubkey_serialize": (ctypes.c_int, [_P, _BYTES, ctypes.POINTER(_SIZE), _BYTES, ctypes.c_uint]),
    "ec_pubkey_combine": (ctypes.c_int, [_P, _BYTES, ctypes.POINTER(_BYTES), _SIZE]),
    "ec_pubkey_negate": (ctypes.c_int, [_P, _BYTES]),
    "ec_pubkey_tweak_mul": (ctypes.c_int, [_P, _BYTES, _BYTES]),
    "pedersen_commit": (ctypes.c_int, [_P, _BYTES, _BYTES, _U64, _BYTES]),
    "pedersen_commitment_parse": (ctypes.c_int, [_P, _BYTES, _BYTES]),
    "pedersen_commitment_serialize": (ctypes.c_int, [_P, _BYTES, _BYTES]),
    "rangeproof_verify": (
        ctypes.c_int,
        [_P, ctypes.POINTER(_U64), ctypes.POINTER(_U64), _BYTES, _BYTES, _SIZE, _BYTES, _SIZE, _BYTES],
    ),
}


def bind(symbols: Mapping[str, tuple[object, list[object]]]) -> ctypes.CDLL:
    """Load the library inside the `wallycore` wheel and declare the given `secp256k1_…` symbols.

    Raises: UnsupportedPlatform if the wheel or a symbol is missing.
    """
    spec = importlib.util.find_spec("_wallycore")
    if spec is None or spec.origin is None:
        raise UnsupportedPlatform("solvency needs the wheel wallycore==1.5.6: pip install wallycore==1.5.6")
    try:
        library = ctypes.CDLL(spec.origin)
        for name, (result, arguments) in symbols.items():
            function = getattr(library, f"secp256k1_{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as problem:
        raise UnsupportedPlatform(
            f"this build of wallycore hides the curve functions that solvency needs ({problem}); "
            "the wheels of wallycore 1.5.6 for Linux export them, those for Windows do not"
        ) from problem
    return library


_LIB = bind(_SYMBOLS)
_CONTEXT = _P(_LIB.secp256k1_context_create(0x301))
_H_BUFFER = ctypes.create_string_buffer(64)
if not _LIB.secp256k1_generator_parse(_CONTEXT, _H_BUFFER, GENERATOR_H):
    raise UnsupportedPlatform("the curve library does not accept the generator H")
H_STRUCT: bytes = _H_BUFFER.raw

Point = bytes  # the library's own 64-byte form of a point that is not the identity; None is the identity


def load_point(wire: bytes) -> Point:
    """Read 08|x (y is a square) or 09|x (it is not); reject every other encoding."""
    generator, key = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    # A generator is written 0a|x or 0b|x with the same meaning of the last bit, and its struct is x|y.
    if (
        len(wire) != POINT_SIZE
        or wire[0] not in (8, 9)
        or not _LIB.secp256k1_generator_parse(_CONTEXT, generator, bytes((wire[0] ^ 2,)) + wire[1:])
        or not _LIB.secp256k1_ec_pubkey_parse(_CONTEXT, key, b"\x04" + generator.raw, 65)
    ):
        raise Rejected(Reason.NON_CANONICAL_POINT, wire.hex())
    return key.raw


def save_point(point: Point) -> bytes:
    """Write a point as 08|x or 09|x."""
    plain, size = ctypes.create_string_buffer(65), _SIZE(65)
    wire = ctypes.create_string_buffer(POINT_SIZE)
    _LIB.secp256k1_ec_pubkey_serialize(_CONTEXT, plain, ctypes.byref(size), point, 2)
    _LIB.secp256k1_generator_serialize(_CONTEXT, wire, plain.raw[1:])
    return bytes((wire.raw[0] ^ 2,)) + wire.raw[1:]


def add_points(points: Sequence[Point | None]) -> Point | None:
    """Add points; None is the identity, as an addend and as the answer."""
    finite = [point for point in points if point is not None]
    if len(finite) < 2:
        return finite[0] if finite else None
    out = ctypes.create_string_buffer(64)
    array = (_BYTES * len(finite))(*finite)
    return out.raw if _LIB.secp256k1_ec_pubkey_combine(_CONTEXT, out, array, len(finite)) else None


def negate_point(point: Point | None) -> Point | None:
    """Return −P."""
    if point is None:
        return None
    out = ctypes.create_string_buffer(point, 64)
    _LIB.secp256k1_ec_pubkey_negate(_CONTEXT, out)
    return out.raw


def multiply_point(point: Point | None, factor: int) -> Point | None:
    """Return factor × P for 0 ≤ factor < curve order."""
    if point is None or factor == 0:
        return None
    out = ctypes.create_string_buffer(point, 64)
    _LIB.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, out, factor.to_bytes(32, "big"))
    return out.raw


def commit(value: int, blinding: int) -> Point | None:
    """Return value × H + blinding × G.

    Raises: ValueError outside 0 ≤ value < 2^64 or 0 ≤ blinding < curve order. ctypes would cut a longer
    integer down to 64 bits without a word, which would let 2^64 + 5 pass for 5.
    """
    if not 0 <= value <= MAX_U64 or not 0 <= blinding < CURVE_ORDER:
        raise ValueError("a committed value must fit 64 bits and a blinding must be below the curve order")
    if value == 0 and blinding == 0:
        return None
    raw, wire = ctypes.create_string_buffer(64), ctypes.create_string_buffer(POINT_SIZE)
    if not _LIB.secp256k1_pedersen_commit(_CONTEXT, raw, blinding.to_bytes(32, "big"), value, H_STRUCT):
        return None  # value × H = −blinding × G: nobody can find such a pair
    _LIB.secp256k1_pedersen_commitment_serialize(_CONTEXT, wire, raw)
    return load_point(wire.raw)


def proof_holds(wire: bytes, proof: bytes, binding: bytes) -> bool:
    """Tell whether `proof` shows that the point commits to a value in [0, 2^64), bound to `binding`."""
    raw, low, high = ctypes.create_string_buffer(64), _U64(1), _U64(0)
    return bool(
        len(proof) == PROOF_SIZE
        and _LIB.secp256k1_pedersen_commitment_parse(_CONTEXT, raw, wire)
        and _LIB.secp256k1_rangeproof_verify(
            _CONTEXT,
            ctypes.byref(low),
            ctypes.byref(high),
            raw,
            proof,
            len(proof),
            binding,
            len(binding),
            H_STRUCT,
        )
        and (low.value, high.value) == (0, MAX_U64)
    )


def self_test() -> None:
    """Check that the library on this machine means what we think; raise UnsupportedPlatform if not."""
    good = (
        hashlib.sha256(GENERATOR_G).digest() == GENERATOR_H[1:]
        and commit(0, 1) is not None
        and save_point(commit(0, 1) or b"")[1:] == GENERATOR_G[1:33]
        and add_points([commit(3, 5), commit(4, 6)]) == commit(7, 11)
        and add_points([commit(3, 5), negate_point(commit(3, 5))]) is None
        and multiply_point(commit(3, 5), 7) == commit(21, 35)
        and load_point(save_point(commit(9, 9) or b"")) == commit(9, 9)
        and not proof_holds(save_point(commit(1, 1) or b""), PROOF_PREFIX + bytes(PROOF_SIZE - 2), b"")
    )
    if not good:
        raise UnsupportedPlatform("the curve library failed the self-test; expected wallycore 1.5.6")


self_test()

# ---------------------------------------------------------------- 4 hashes


def digest(name: str, *parts: bytes) -> bytes:
    """Return SHA256("makewhole/solvency/1/" | name | 00 | parts); each part has a fixed or stated length."""
    return hashlib.sha256(DOMAIN + name.encode("ascii") + b"\x00" + b"".join(parts)).digest()


def id_tag(context: bytes, tree: int, salt: bytes, customer_id: bytes) -> bytes:
    """Hide a customer's id: SHA256(id | context | tree | salt | length | id)."""
    return digest("id", context, bytes((tree,)), salt, bytes((len(customer_id),)), customer_id)


def leaf_hash(context: bytes, tree: int, tag: bytes, wire: bytes) -> bytes:
    """Hash a leaf of a sum tree."""
    return digest("leaf", context, bytes((tree,)), tag, wire)


def node_hash(left: bytes, right: bytes, left_hash: bytes, right_hash: bytes) -> bytes:
    """Hash an inner node: both commitments, then both hashes."""
    return digest("node", left, right, left_hash, right_hash)


def proof_binding(context: bytes, role: Role, tree: int, subject: bytes) -> bytes:
    """Say what a range proof belongs to: this epoch, this role, this asset, this node or account."""
    return digest("proof", context, bytes((role, tree)), subject)


def root_subject(depth: int, plain_hash: bytes) -> bytes:
    """Return what the range proof of a root is bound to: the depth of the tree and the hash."""
    return digest("root", bytes((depth,)), plain_hash)


def debtor_hash(context: bytes, record: bytes) -> bytes:
    """Hash a debtor record as a leaf of the tree of debtors."""
    return digest("debtor", context, record)


def debtors_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over debtor records, padded with zeros to a power of two; 32 zero bytes for none."""
    level = list(leaves) or [bytes(32)]
    while len(level) & (len(level) - 1):
        level.append(bytes(32))
    while len(level) > 1:
        level = [digest("debtor-node", level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def bundle_hash(header: bytes) -> bytes:
    """Return the name of a bundle: what the next bundle, the operator's signature and the memo refer to."""
    return digest("bundle", header)


def operator_message(header_hash: bytes) -> bytes:
    """Return the text that the operator signs (ASCII, so that it can never be a transaction)."""
    return b"makewhole solvency bundle 1\n" + header_hash.hex().encode("ascii") + b"\n"


def memo_text(epoch: int, header_hash: bytes) -> str:
    """Return the text of the on-chain memo."""
    return f"makewhole:solvency:1:{epoch}:{header_hash.hex()}"


def read_memo(text: str) -> tuple[int, bytes]:
    """Return (epoch, bundle hash) of a memo; reject with ValueError what `memo_text` would not write."""
    try:
        epoch_text, hash_text = text.removeprefix("makewhole:solvency:1:").split(":")
        epoch, header_hash = int(epoch_text), bytes.fromhex(hash_text)
    except ValueError as problem:
        raise ValueError(f"not a solvency memo: {text!r}") from problem
    if len(header_hash) != 32 or memo_text(epoch, header_hash) != text:
        raise ValueError(f"not a solvency memo: {text!r}")
    return epoch, header_hash


def challenge_text(context: bytes, account: bytes, owner: bytes) -> bytes:
    """Return what the owner of a reserve account signs this epoch."""
    lines = ("makewhole solvency reserve 1", context.hex(), account.hex(), owner.hex(), "")
    return "\n".join(lines).encode("ascii")


# ed25519 points of order 1, 2, 4 and 8 by their y, sign bit cleared. Anybody can sign for them: the all-zero
# address (the system program of Solana, where burnt coins lie) is one.
_WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)


def check_key(key: bytes) -> None:
    """Reject a public key that is not canonical (y ≥ 2^255 − 19) or that everybody can sign for."""
    cleared = key[:31] + bytes((key[31] & 0x7F,))
    if int.from_bytes(cleared, "little") >= 2**255 - 19 or cleared in _WEAK_KEYS:
        raise Rejected(Reason.WEAK_KEY, key.hex())


def signature_holds(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether an ed25519 signature holds (RFC 8032, S below the group order, no cofactor)."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# ---------------------------------------------------------------- 5 reading bytes


_NAME_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


class Reader:
    """Read big-endian fields of stated size; the first thing that does not fit is `Rejected`."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def take(self, size: int) -> bytes:
        """Take exactly `size` bytes."""
        piece = self.data[self.position : self.position + size]
        if len(piece) != size:
            raise Rejected(Reason.TRUNCATED, f"{size} bytes wanted at {self.position}")
        self.position += size
        return piece

    def number(self, size: int, low: int = 0, high: int = MAX_U64) -> int:
        """Take an unsigned integer and demand low ≤ it ≤ high."""
        value = int.from_bytes(self.take(size), "big")
        if not low <= value <= high:
            raise Rejected(
                Reason.OUT_OF_RANGE, f"{value} before byte {self.position} is not in [{low}, {high}]"
            )
        return value

    def text(self, high: int) -> str:
        """Take a length byte and that many characters of [A-Za-z0-9_]."""
        raw = self.take(self.number(1, 1, high))
        if not set(raw) <= _NAME_BYTES:
            raise Rejected(Reason.OUT_OF_RANGE, f"characters before byte {self.position}")
        return raw.decode("ascii")

    def point(self, identity: bool = False) -> bytes:
        """Take a commitment in its one encoding; `identity` allows 33 zero bytes."""
        wire = self.take(POINT_SIZE)
        if not (identity and wire == IDENTITY):
            load_point(wire)
        return wire

    def scalar(self) -> int:
        """Take a blinding: 32 bytes below the curve order."""
        value = int.from_bytes(self.take(32), "big")
        if value >= CURVE_ORDER:
            raise Rejected(Reason.OUT_OF_RANGE, f"blinding before byte {self.position}")
        return value

    def end(self) -> None:
        """Demand that nothing is left."""
        if self.position != len(self.data):
            raise Rejected(Reason.TRAILING_BYTES, f"{len(self.data) - self.position} after {self.position}")


def _ascending(keys: Sequence[object], what: str) -> None:
    if any(not a < b for a, b in pairwise(keys)):  # type: ignore[operator]
        raise Rejected(Reason.WRONG_ORDER, f"{what} are not strictly ascending")


# ---------------------------------------------------------------- 6 the header


@dataclass(frozen=True, slots=True)
class Asset:
    """Describe an asset as this epoch values it; `identity` is its mint (zeros for the native coin)."""

    symbol: str
    identity: bytes
    decimals: int
    price_e8: int
    weight_ppm: int

    @property
    def quanta_owed(self) -> int:
        """Return the value of one unit in usd6 / 10^17, without haircut: price × 10^6 × 10^(9 − decimals)."""
        return self.price_e8 * PPM * int(10 ** (MAX_DECIMALS - self.decimals))

    @property
    def quanta_held(self) -> int:
        """Return the same with the haircut: what one unit of collateral counts."""
        return self.price_e8 * self.weight_ppm * int(10 ** (MAX_DECIMALS - self.decimals))


@dataclass(frozen=True, slots=True)
class Tree:
    """Hold the public face of one sum tree: accounts without debt (plain) and the sum of the debtors."""

    depth: int
    plain: bytes
    plain_hash: bytes
    debtors: bytes
    total: int
    blinding: int


@dataclass(frozen=True, slots=True)
class AssetLine:
    """Hold the totals of one asset."""

    credits: Tree
    borrows_units: int
    borrows_blinding: int
    holdings_units: int
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Hold an account of the exchange itself, in clear."""

    name: str
    credits: tuple[int, ...]
    borrows: tuple[int, ...]
    claim_usd6: int
    debt_usd6: int

    def equity_quanta(self, assets: Sequence[Asset]) -> int:
        """Return equity at prices and haircuts in usd6 / 10^17."""
        value = (self.claim_usd6 - self.debt_usd6) * QUANTA_PER_USD6
        for asset, credit, borrow in zip(assets, self.credits, self.borrows, strict=True):
            value += credit * asset.quanta_held - borrow * asset.quanta_owed
        return value

    def shortfall_usd6(self, assets: Sequence[Asset]) -> int:
        """Return max(0, −equity), rounded up."""
        return max(0, -(self.equity_quanta(assets) // QUANTA_PER_USD6))


@dataclass(frozen=True, slots=True)
class Header:
    """Hold everything that a bundle says in total."""

    operator: bytes
    epoch: int
    previous: bytes
    sequence: int
    time_ns: int
    slot: int
    assets: tuple[Asset, ...]
    open_accounts: tuple[OpenAccount, ...]
    context: bytes
    lines: tuple[AssetLine, ...]
    claims: Tree
    debts_usd6: int
    debts_blinding: int
    shortfall_usd6: int
    shortfall_blinding: int
    total_rate_ppm: int
    debtor_count: int
    listed_count: int
    debtors_root: bytes
    holding_count: int
    body_hash: bytes
    hash: bytes

    def tree(self, number: int) -> Tree:
        """Return the tree of an asset or of the claims; reject an unknown number."""
        if number == CLAIMS_TREE:
            return self.claims
        if number >= len(self.assets):
            raise Rejected(Reason.OUT_OF_RANGE, f"tree {number}")
        return self.lines[number].credits

    def tree_name(self, number: int) -> str:
        """Return "claims" or the asset's symbol."""
        return "claims" if number == CLAIMS_TREE else self.assets[number].symbol

    def net_units(self, index: int) -> int:
        """Return net liabilities: credits − borrows; the settlement asset adds claims − debts + shortfall."""
        line = self.lines[index]
        net = line.credits.total - line.borrows_units
        if index == SETTLEMENT:
            net += self.claims.total - self.debts_usd6 + self.shortfall_usd6
        return net

    def total_net_quanta(self) -> int:
        """Return Σ net liabilities × price, in usd6 / 10^17."""
        return sum(self.net_units(i) * asset.quanta_owed for i, asset in enumerate(self.assets))

    def total_holdings_quanta(self) -> int:
        """Return Σ holdings × price, in usd6 / 10^17."""
        pairs = zip(self.lines, self.assets, strict=True)
        return sum(line.holdings_units * asset.quanta_owed for line, asset in pairs)


def rate_ppm(holdings: int, net: int) -> int:
    """Return holdings / net liabilities in ppm, rounded down; RATE_NOTHING_OWED when net ≤ 0."""
    return RATE_NOTHING_OWED if net <= 0 else min(holdings * PPM // net, MAX_U64 - 1)


def _read_asset(reader: Reader) -> Asset:
    return Asset(
        symbol=reader.text(16),
        identity=reader.take(32),
        decimals=reader.number(1, 0, MAX_DECIMALS),
        price_e8=reader.number(8, 1, MAX_PRICE_E8),
        weight_ppm=reader.number(4, 0, PPM),
    )


def _read_tree(reader: Reader) -> Tree:
    return Tree(
        depth=reader.number(1, 0, MAX_DEPTH),
        plain=reader.point(),
        plain_hash=reader.take(32),
        debtors=reader.point(identity=True),
        total=reader.number(8),
        blinding=reader.scalar(),
    )


def _read_line(reader: Reader) -> AssetLine:
    return AssetLine(
        credits=_read_tree(reader),
        borrows_units=reader.number(8),
        borrows_blinding=reader.scalar(),
        holdings_units=reader.number(8),
        rate_ppm=reader.number(8),
    )


def _read_open_account(reader: Reader, assets: int) -> OpenAccount:
    name = reader.text(32)
    pairs = [(reader.number(8), reader.number(8)) for _ in range(assets)]
    return OpenAccount(
        name=name,
        credits=tuple(credit for credit, _ in pairs),
        borrows=tuple(borrow for _, borrow in pairs),
        claim_usd6=reader.number(8),
        debt_usd6=reader.number(8),
    )


def read_header(data: bytes) -> Header:
    """Read a header; reject what is not the one encoding of its content."""
    reader = Reader(data)
    if reader.take(8) != HEADER_MAGIC:
        raise Rejected(Reason.WRONG_MAGIC, "not a Makewhole solvency bundle of version 1")
    operator = reader.take(32)
    epoch = reader.number(8, 1)
    previous = reader.take(32)
    if (previous == bytes(32)) != (epoch == 1):
        raise Rejected(Reason.OUT_OF_RANGE, "epoch 1, and no other, follows nothing")
    sequence, time_ns, slot = reader.number(8), reader.number(8), reader.number(8)
    assets = tuple(_read_asset(reader) for _ in range(reader.number(1, 1, MAX_ASSETS)))
    if len({asset.symbol for asset in assets}) != len(assets):
        raise Rejected(Reason.WRONG_ORDER, "an asset appears twice")
    settlement = assets[SETTLEMENT]
    if (settlement.decimals, settlement.price_e8, settlement.weight_ppm) != (6, 10**8, PPM):
        raise Rejected(
            Reason.OUT_OF_RANGE, "the first asset is the settlement asset: 6 decimals, price 1, weight 1"
        )
    open_accounts = tuple(_read_open_account(reader, len(assets)) for _ in range(reader.number(1, 1, 32)))
    _ascending([account.name for account in open_accounts], "open accounts")
    if FUND_NAME not in {account.name for account in open_accounts}:
        raise Rejected(Reason.OUT_OF_RANGE, "the insurance fund is missing")
    context = digest("context", data[: reader.position])
    lines = tuple(_read_line(reader) for _ in assets)
    claims = _read_tree(reader)
    debts_usd6, debts_blinding = reader.number(8), reader.scalar()
    shortfall_usd6, shortfall_blinding = reader.number(8), reader.scalar()
    total_rate_ppm = reader.number(8)
    debtor_count = reader.number(4)
    listed_count = reader.number(4, 0, debtor_count)
    root, holding_count, body_hash = reader.take(32), reader.number(4), reader.take(32)
    reader.end()
    # fmt: off
    return Header(
        operator, epoch, previous, sequence, time_ns, slot, assets, open_accounts, context, lines, claims,
        debts_usd6, debts_blinding, shortfall_usd6, shortfall_blinding, total_rate_ppm, debtor_count,
        listed_count, root, holding_count, body_hash, bundle_hash(data),
    )
    # fmt: on


def split_bundle(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Split length | header | signature | body; all before the body is the head, enough for a customer."""
    reader = Reader(data)
    header, signature = reader.take(reader.number(4)), reader.take(64)
    return header, signature, data[reader.position :]


# ---------------------------------------------------------------- 7 the body


@dataclass(frozen=True, slots=True)
class Amount:
    """Hold a committed amount of a debtor and its range proof."""

    role: Role
    tree: int
    wire: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Debtor:
    """Hold the public proof of one account with a debt."""

    tag: bytes
    listed: bool
    amounts: tuple[Amount, ...]
    margin: Amount
    remainder_proof: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class HeldAccount:
    """Hold one reserve account, what is on it at the slot, and its owner's signature."""

    tree: int
    account: bytes
    owner: bytes
    units: int
    envelope: bytes | None
    signature: bytes


def _read_amount(reader: Reader, role: Role, tree: int) -> Amount:
    return Amount(role, tree, reader.point(), reader.take(PROOF_SIZE))


def _read_amounts(reader: Reader, role: Role, assets: int) -> list[Amount]:
    amounts = [
        _read_amount(reader, role, reader.number(1, 0, assets - 1))
        for _ in range(reader.number(1, 0, assets))
    ]
    _ascending([amount.tree for amount in amounts], "assets of a debtor")
    return amounts


def read_debtor(reader: Reader, assets: int) -> Debtor:
    """Read one debtor record."""
    start = reader.position
    tag = reader.take(32)
    listed = bool(reader.number(1, 0, 1))
    amounts = _read_amounts(reader, Role.CREDIT, assets) + _read_amounts(reader, Role.BORROW, assets)
    amounts += [_read_amount(reader, Role.CLAIM, CLAIMS_TREE) for _ in range(reader.number(1, 0, 1))]
    amounts += [_read_amount(reader, Role.DEBT, CLAIMS_TREE) for _ in range(reader.number(1, 0, 1))]
    margin = _read_amount(reader, Role.MARGIN, ACCOUNT_TREE)
    remainder_proof = reader.take(PROOF_SIZE)
    raw = reader.data[start : reader.position]
    return Debtor(tag, listed, tuple(amounts), margin, remainder_proof, raw)


def _read_held(reader: Reader, assets: int) -> HeldAccount:
    tree, account, owner = reader.number(1, 0, assets - 1), reader.take(32), reader.take(32)
    units = reader.number(8)
    envelope = reader.take(reader.number(2)) if reader.number(1, 0, 1) else None
    return HeldAccount(tree, account, owner, units, envelope, reader.take(64))


@dataclass(frozen=True, slots=True)
class Body:
    """Hold the parts that only a full check needs."""

    root_proofs: tuple[bytes, ...]
    debtors: tuple[Debtor, ...]
    holdings: tuple[HeldAccount, ...]


def read_body(data: bytes, header: Header) -> Body:
    """Read the body; reject what is not the one encoding of its content."""
    reader, assets = Reader(data), len(header.assets)
    root_proofs = tuple(reader.take(PROOF_SIZE) for _ in range(assets + 1))
    debtors = tuple(read_debtor(reader, assets) for _ in range(header.debtor_count))
    _ascending([debtor.tag for debtor in debtors], "debtors")
    holdings = tuple(_read_held(reader, assets) for _ in range(header.holding_count))
    _ascending([held.account for held in holdings], "reserve accounts")
    reader.end()
    return Body(root_proofs, debtors, holdings)


# ---------------------------------------------------------------- 8 checking a head


@dataclass(frozen=True, slots=True)
class Anchors:
    """Hold what the verifier knows from elsewhere; None means "not known, so not checked".

    `prices_e8` bounds a price by (lowest, highest). `chain` maps a reserve account to the units that the
    verifier's own node saw at the slot.
    """

    operator: bytes | None = None
    published_hash: bytes | None = None
    previous: Header | None = None
    prices_e8: Mapping[str, tuple[int, int]] | None = None
    max_weight_ppm: Mapping[str, int] | None = None
    chain: Mapping[bytes, int] | None = None


def _point(wire: bytes) -> Point | None:
    return None if wire == IDENTITY else load_point(wire)


def _opens(points: Sequence[Point | None], total: int, in_clear: int, blinding: int) -> bool:
    """Tell whether the points add up to a commitment to total − in_clear under the revealed blinding."""
    return total >= in_clear and add_points(points) == commit(total - in_clear, blinding)


def check_follows(previous: Header, header: Header) -> None:
    """Demand that `header` is the next link after `previous`."""
    good = (
        header.operator == previous.operator
        and header.epoch == previous.epoch + 1
        and header.previous == previous.hash
        and header.sequence >= previous.sequence
        and header.slot >= previous.slot
        and header.time_ns > previous.time_ns
    )
    if not good:
        raise Rejected(Reason.BROKEN_CHAIN, f"epoch {header.epoch} does not follow epoch {previous.epoch}")


def _check_anchors(header: Header, anchors: Anchors) -> None:
    if anchors.operator is not None and header.operator != anchors.operator:
        raise Rejected(Reason.WRONG_OPERATOR, header.operator.hex())
    if anchors.published_hash is not None and header.hash != anchors.published_hash:
        raise Rejected(Reason.NOT_THE_PUBLISHED_HASH, header.hash.hex())
    if anchors.previous is not None:
        check_follows(anchors.previous, header)
    for asset in header.assets:
        low, high = (anchors.prices_e8 or {}).get(asset.symbol, (1, MAX_PRICE_E8))
        if not low <= asset.price_e8 <= high:
            raise Rejected(
                Reason.PRICE_OUT_OF_BOUNDS, f"{asset.symbol} {asset.price_e8} not in [{low}, {high}]"
            )
        if asset.weight_ppm > (anchors.max_weight_ppm or {}).get(asset.symbol, PPM):
            raise Rejected(Reason.WEIGHT_OUT_OF_BOUNDS, f"{asset.symbol} {asset.weight_ppm}")


def check_head(header_bytes: bytes, signature: bytes, anchors: Anchors = Anchors()) -> Header:
    """Check everything that the header alone can show: signature, anchors, opened totals, rates."""
    header = read_header(header_bytes)
    check_key(header.operator)
    if not signature_holds(header.operator, operator_message(header.hash), signature):
        raise Rejected(Reason.OPERATOR_SIGNATURE, header.hash.hex())
    _check_anchors(header, anchors)
    for index, line in enumerate(header.lines):
        in_clear = sum(account.credits[index] for account in header.open_accounts)
        points = [_point(line.credits.plain), _point(line.credits.debtors)]
        if not _opens(points, line.credits.total, in_clear, line.credits.blinding):
            raise Rejected(Reason.CREDITS_TOTAL, header.assets[index].symbol)
    claims = header.claims
    in_clear = sum(account.claim_usd6 for account in header.open_accounts)
    if not _opens([_point(claims.plain), _point(claims.debtors)], claims.total, in_clear, claims.blinding):
        raise Rejected(Reason.CLAIMS_TOTAL, str(claims.total))
    for index, line in enumerate(header.lines):
        if line.rate_ppm != rate_ppm(line.holdings_units, header.net_units(index)):
            raise Rejected(Reason.RATE, header.assets[index].symbol)
    if header.total_rate_ppm != rate_ppm(header.total_holdings_quanta(), header.total_net_quanta()):
        raise Rejected(Reason.RATE, "total")
    return header


# ---------------------------------------------------------------- 9 checking a bundle


def remainder_point(header: Header, debtor: Debtor) -> Point | None:
    """Combine a debtor's commitments with the public prices.

    equity = Σ credits × held + claim × 10^17 − Σ borrows × owed − debt × 10^17, in usd6 / 10^17. Not listed:
    equity − 10^17 × margin, where margin is the equity in whole usd6. Listed: equity + 10^17 × margin, where
    margin is the shortfall. The answer commits to a value in [0, 2^64) exactly if the account is what it
    claims.
    """
    terms: list[Point | None] = []
    for amount in debtor.amounts:
        point = load_point(amount.wire)
        if amount.role is Role.CREDIT:
            terms.append(multiply_point(point, header.assets[amount.tree].quanta_held))
        elif amount.role is Role.BORROW:
            terms.append(negate_point(multiply_point(point, header.assets[amount.tree].quanta_owed)))
        else:
            usd6 = multiply_point(point, QUANTA_PER_USD6)
            terms.append(usd6 if amount.role is Role.CLAIM else negate_point(usd6))
    margin = multiply_point(load_point(debtor.margin.wire), QUANTA_PER_USD6)
    terms.append(margin if debtor.listed else negate_point(margin))
    return add_points(terms)


@dataclass(frozen=True, slots=True)
class ProofTask:
    """Name one range proof to check, and the reason if it fails."""

    wire: bytes
    proof: bytes
    binding: bytes
    reason: Reason
    detail: str

    def check(self) -> None:
        """Reject other parameters first, then a proof that does not hold."""
        if self.proof[:2] != PROOF_PREFIX:
            raise Rejected(Reason.PROOF_PARAMETERS, self.detail)
        if not proof_holds(self.wire, self.proof, self.binding):
            raise Rejected(self.reason, self.detail)


def _debtor_tasks(header: Header, debtor: Debtor) -> Iterable[ProofTask]:
    name = f"debtor {debtor.tag.hex()}"
    for amount in (*debtor.amounts, debtor.margin):
        binding = proof_binding(header.context, amount.role, amount.tree, debtor.tag)
        yield ProofTask(
            amount.wire,
            amount.proof,
            binding,
            Reason.AMOUNT_NOT_IN_RANGE,
            f"{name}, {amount.role.name} {amount.tree}",
        )
    remainder = remainder_point(header, debtor)
    if remainder is None:
        raise Rejected(Reason.EQUITY_NOT_PROVED, f"{name}: the remainder is not hidden")
    binding = proof_binding(header.context, Role.REMAINDER, ACCOUNT_TREE, debtor.tag)
    yield ProofTask(save_point(remainder), debtor.remainder_proof, binding, Reason.EQUITY_NOT_PROVED, name)


def _all_tasks(header: Header, body: Body) -> Iterable[ProofTask]:
    numbers = (*range(len(header.assets)), CLAIMS_TREE)
    for number, proof in zip(numbers, body.root_proofs, strict=True):
        tree = header.tree(number)
        binding = proof_binding(header.context, Role.ROOT, number, root_subject(tree.depth, tree.plain_hash))
        yield ProofTask(tree.plain, proof, binding, Reason.ROOT_NOT_IN_RANGE, header.tree_name(number))
    for debtor in body.debtors:
        yield from _debtor_tasks(header, debtor)


def _check_debtor_totals(header: Header, body: Body) -> None:
    sums: dict[tuple[Role, int], list[Point | None]] = {}
    shortfalls: list[Point | None] = []
    for debtor in body.debtors:
        for amount in debtor.amounts:
            sums.setdefault((amount.role, amount.tree), []).append(load_point(amount.wire))
        if debtor.listed:
            shortfalls.append(load_point(debtor.margin.wire))
    if len(shortfalls) != header.listed_count:
        raise Rejected(Reason.LISTED_COUNT, f"{len(shortfalls)} listed, header says {header.listed_count}")
    for index, line in enumerate(header.lines):
        symbol = header.assets[index].symbol
        if add_points(sums.get((Role.CREDIT, index), [])) != _point(line.credits.debtors):
            raise Rejected(Reason.DEBTOR_CREDITS_SUM, symbol)
        in_clear = sum(account.borrows[index] for account in header.open_accounts)
        if not _opens(
            sums.get((Role.BORROW, index), []), line.borrows_units, in_clear, line.borrows_blinding
        ):
            raise Rejected(Reason.BORROWS_TOTAL, symbol)
    if add_points(sums.get((Role.CLAIM, CLAIMS_TREE), [])) != _point(header.claims.debtors):
        raise Rejected(Reason.DEBTOR_CREDITS_SUM, "claims")
    in_clear = sum(account.debt_usd6 for account in header.open_accounts)
    debts = sums.get((Role.DEBT, CLAIMS_TREE), [])
    if not _opens(debts, header.debts_usd6, in_clear, header.debts_blinding):
        raise Rejected(Reason.DEBTS_TOTAL, str(header.debts_usd6))
    in_clear = sum(account.shortfall_usd6(header.assets) for account in header.open_accounts)
    if not _opens(shortfalls, header.shortfall_usd6, in_clear, header.shortfall_blinding):
        raise Rejected(Reason.SHORTFALL_TOTAL, str(header.shortfall_usd6))


def _check_holdings(header: Header, body: Body, anchors: Anchors) -> None:
    totals = [0] * len(header.assets)
    for held in body.holdings:
        totals[held.tree] += held.units
        check_key(held.owner)
        message = challenge_text(header.context, held.account, held.owner)
        if held.envelope is not None:
            if message not in held.envelope:
                raise Rejected(Reason.CHALLENGE_MISSING, held.account.hex())
            message = held.envelope
        if not signature_holds(held.owner, message, held.signature):
            raise Rejected(Reason.RESERVE_SIGNATURE, held.account.hex())
        if anchors.chain is not None and anchors.chain.get(held.account) != held.units:
            raise Rejected(Reason.HOLDING_NOT_ON_CHAIN, held.account.hex())
    for index, line in enumerate(header.lines):
        if totals[index] != line.holdings_units:
            raise Rejected(Reason.HOLDINGS_TOTAL, header.assets[index].symbol)


@dataclass(frozen=True, slots=True)
class Checked:
    """Hold a bundle that passed every check."""

    header: Header
    body: Body


def check_sums(data: bytes, anchors: Anchors = Anchors()) -> Checked:
    """Check everything public but the range proofs: quick, and worth nothing to a customer without them."""
    header_bytes, signature, body_bytes = split_bundle(data)
    header = check_head(header_bytes, signature, anchors)
    if digest("body", body_bytes) != header.body_hash:
        raise Rejected(Reason.BODY_HASH, header.body_hash.hex())
    body = read_body(body_bytes, header)
    if (
        debtors_root([debtor_hash(header.context, debtor.raw) for debtor in body.debtors])
        != header.debtors_root
    ):
        raise Rejected(Reason.DEBTORS_ROOT, header.debtors_root.hex())
    _check_debtor_totals(header, body)
    _check_holdings(header, body, anchors)
    return Checked(header, body)


def check_bundle(
    data: bytes,
    anchors: Anchors = Anchors(),
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Check everything public; return the bundle or raise `Rejected` with the first reason.

    The verdict says that the bundle is true, not that the exchange is solvent: read the rates for that.
    """
    checked = check_sums(data, anchors)
    header, body = checked.header, checked.body
    total = len(body.root_proofs) + sum(len(debtor.amounts) + 2 for debtor in body.debtors)
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        # The library works outside the interpreter's lock, so threads use the cores; results come in order.
        for done, _ in enumerate(pool.map(ProofTask.check, _all_tasks(header, body)), start=1):
            if progress is not None:
                progress(done, total)
    return checked


# ---------------------------------------------------------------- 10 checking a customer's record


@dataclass(frozen=True, slots=True)
class RecordReport:
    """Hold what a record shows its customer: her balances, all of them, and that they are counted.

    Keys: an asset's symbol (credits), "claims", "borrow:" + symbol, "debt"; zero amounts are left out.
    """

    customer_id: str
    balances: dict[str, int]
    in_debt: bool
    listed: bool


def _check_path(header: Header, number: int, reader: Reader, customer_id: bytes) -> int:
    """Check one balance: opening, leaf, siblings in range, and the way to the root. Return the amount."""
    tree, context, name = header.tree(number), header.context, header.tree_name(number)
    salt, amount, blinding = reader.take(32), reader.number(8), reader.scalar()
    index = reader.number(4, 0, 2**tree.depth - 1)
    point = commit(amount, blinding)
    if point is None:
        raise Rejected(Reason.OPENING, f"{name}: not hidden")
    wire = save_point(point)
    value_hash = leaf_hash(context, number, id_tag(context, number, salt, customer_id), wire)
    tasks: list[ProofTask] = []
    for level in range(tree.depth):
        sibling, sibling_hash, proof = reader.point(), reader.take(32), reader.take(PROOF_SIZE)
        binding = proof_binding(context, Role.SIBLING, number, sibling_hash)
        tasks.append(
            ProofTask(sibling, proof, binding, Reason.SIBLING_NOT_IN_RANGE, f"{name}, level {level}")
        )
        if index >> level & 1:
            value_hash = node_hash(sibling, wire, sibling_hash, value_hash)
        else:
            value_hash = node_hash(wire, sibling, value_hash, sibling_hash)
        point = add_points([point, load_point(sibling)])
        if point is None:
            raise Rejected(Reason.PATH, f"{name}, level {level}: the sum is the identity")
        wire = save_point(point)
    if tree.debtors != IDENTITY:
        # Without this a sum of debtors below zero would shrink the total of everybody who checks a head only.
        binding = proof_binding(context, Role.SIBLING, number, header.debtors_root)
        proof = reader.take(PROOF_SIZE)
        tasks.append(ProofTask(tree.debtors, proof, binding, Reason.SIBLING_NOT_IN_RANGE, f"{name}, debtors"))
    if (wire, value_hash) != (tree.plain, tree.plain_hash):
        raise Rejected(Reason.PATH, name)
    for task in tasks:
        task.check()
    return amount


def _check_debtor_path(header: Header, debtor: Debtor, index: int, reader: Reader) -> None:
    value = debtor_hash(header.context, debtor.raw)
    for level in range((header.debtor_count - 1).bit_length()):
        sibling = reader.take(32)
        pair = (sibling, value) if index >> level & 1 else (value, sibling)
        value = digest("debtor-node", *pair)
    if value != header.debtors_root:
        raise Rejected(Reason.PATH, "debtors")


def _check_own_debtor(header: Header, reader: Reader, customer_id: bytes) -> tuple[dict[str, int], bool]:
    """Check the record of a customer in debt: every amount of her public proof is opened to her."""
    if header.debtor_count == 0:
        raise Rejected(Reason.OUT_OF_RANGE, "the bundle has no debtors")
    salt, index = reader.take(32), reader.number(4, 0, header.debtor_count - 1)
    debtor = read_debtor(reader, len(header.assets))
    if debtor.tag != id_tag(header.context, ACCOUNT_TREE, salt, customer_id):
        raise Rejected(Reason.OPENING, "the debtor record carries another id")
    balances: dict[str, int] = {}
    for amount in debtor.amounts:
        value, blinding = reader.number(8), reader.scalar()
        if commit(value, blinding) != load_point(amount.wire):
            raise Rejected(Reason.OPENING, f"{amount.role.name} {amount.tree}")
        name = "debt" if amount.role is Role.DEBT else header.tree_name(amount.tree)
        if value:
            balances["borrow:" + name if amount.role is Role.BORROW else name] = value
    _check_debtor_path(header, debtor, index, reader)
    for task in _debtor_tasks(header, debtor):
        task.check()
    return balances, debtor.listed


def check_record(
    header: Header,
    data: bytes,
    customer_id: str | None = None,
    expected: Mapping[str, int] | None = None,
) -> RecordReport:
    """Check a customer's record against a header that passed `check_head`.

    Give `customer_id` and `expected` (all balances, zeros left out) from your own knowledge: a record that is
    true of somebody else, or of half of what you own, is worth nothing to you.
    """
    reader = Reader(data)
    if reader.take(8) != RECORD_MAGIC:
        raise Rejected(Reason.WRONG_MAGIC, "not a Makewhole solvency record of version 1")
    if reader.take(32) != header.hash:
        raise Rejected(Reason.OTHER_BUNDLE, "the record belongs to another bundle")
    own_id = reader.take(reader.number(1, 1, MAX_ID_BYTES))
    if customer_id is not None and own_id != customer_id.encode("utf-8"):
        raise Rejected(Reason.OTHER_CUSTOMER, repr(own_id))
    try:
        shown_id = own_id.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise Rejected(Reason.OUT_OF_RANGE, "the id is not UTF-8") from problem
    balances: dict[str, int] = {}
    listed = False
    in_debt = bool(reader.number(1, 0, 1))
    if in_debt:
        balances, listed = _check_own_debtor(header, reader, own_id)
    else:
        numbers: list[int] = []
        for _ in range(reader.number(1, 1, MAX_ASSETS + 1)):
            numbers.append(reader.number(1))
            _ascending(numbers, "trees of a record")
            amount = _check_path(header, numbers[-1], reader, own_id)
            if amount:
                balances[header.tree_name(numbers[-1])] = amount
    reader.end()
    if expected is not None and dict(expected) != balances:
        raise Rejected(Reason.BALANCE_DIFFERS, f"expected {dict(expected)}, the record shows {balances}")
    return RecordReport(shown_id, balances, in_debt, listed)


def check_audit(header: Header, number: int, leaves: Iterable[bytes]) -> int:
    """Check every leaf of a tree (tag | point | proof each, in order); return how many there are.

    None is negative, and together they are the root. This is for an auditor: it shows no amount, no customer.
    """
    tree, tasks = header.tree(number), 0
    level: list[tuple[bytes, bytes]] = []
    for raw in leaves:
        reader = Reader(raw)
        tag, wire, proof = reader.take(32), reader.point(), reader.take(PROOF_SIZE)
        reader.end()
        value_hash = leaf_hash(header.context, number, tag, wire)
        binding = proof_binding(header.context, Role.LEAF, number, value_hash)
        ProofTask(wire, proof, binding, Reason.LEAF_NOT_IN_RANGE, f"leaf {tasks}").check()
        level.append((wire, value_hash))
        tasks += 1
    if tasks != 2**tree.depth:
        raise Rejected(Reason.PATH, f"{tasks} leaves, the tree has {2**tree.depth}")
    while len(level) > 1:
        above = []
        for (left, left_hash), (right, right_hash) in zip(level[::2], level[1::2], strict=True):
            point = add_points([load_point(left), load_point(right)])
            if point is None:
                raise Rejected(Reason.PATH, "a sum is the identity")
            above.append((save_point(point), node_hash(left, right, left_hash, right_hash)))
        level = above
    if level[0] != (tree.plain, tree.plain_hash):
        raise Rejected(Reason.PATH, header.tree_name(number))
    return tasks


# ---------------------------------------------------------------- 11 chains, equivocation, command line


def check_chain(heads: Iterable[tuple[bytes, bytes]], operator: bytes | None = None) -> list[Header]:
    """Check (header, signature) pairs as consecutive links, oldest first."""
    headers: list[Header] = []
    for header_bytes, signature in heads:
        previous = headers[-1] if headers else None
        headers.append(check_head(header_bytes, signature, Anchors(operator=operator, previous=previous)))
    return headers


def is_equivocation(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> bool:
    """Tell whether two (header, signature) pairs prove that one operator signed two bundles for one place.

    Anybody can show the pair to anybody: both signatures are the operator's own.
    """
    headers = []
    for header_bytes, signature in (first, second):
        header = read_header(header_bytes)
        check_key(header.operator)
        if not signature_holds(header.operator, operator_message(header.hash), signature):
            raise Rejected(Reason.OPERATOR_SIGNATURE, header.hash.hex())
        headers.append(header)
    one, two = headers
    return (
        one.operator == two.operator
        and one.hash != two.hash
        and (one.epoch == two.epoch or one.previous == two.previous)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="verifier.py", description="Verify a Makewhole proof of solvency.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--operator", metavar="HEX", help="the operator's key, from a source you trust")
    parser.add_argument("--published", metavar="HEX", help="the hash in the on-chain memo")
    parser.add_argument("--previous", type=Path, metavar="BUNDLE", help="the bundle before this one")
    parser.add_argument("--record", type=Path, help="your record: check only the head and your own balances")
    parser.add_argument("--id", help="your customer id")
    parser.add_argument(
        "--balance", action="append", metavar="NAME=UNITS", help="what you know you have; repeat"
    )
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _run(arguments: argparse.Namespace) -> list[str]:
    data = arguments.bundle.read_bytes()
    header_bytes, signature, _ = split_bundle(data)
    previous = None
    if arguments.previous is not None:
        previous = check_head(*split_bundle(arguments.previous.read_bytes())[:2])
    anchors = Anchors(
        operator=bytes.fromhex(arguments.operator) if arguments.operator else None,
        published_hash=bytes.fromhex(arguments.published) if arguments.published else None,
        previous=previous,
    )
    if arguments.record is not None:
        header = check_head(header_bytes, signature, anchors)
        pairs = [item.rpartition("=") for item in arguments.balance or []]
        expected = {name: int(units) for name, _, units in pairs} if pairs else None
        report = check_record(header, arguments.record.read_bytes(), arguments.id, expected)
        return [f"counted: {report.customer_id} {report.balances}{' (in debt)' if report.in_debt else ''}"]
    header = check_bundle(data, anchors, arguments.threads).header
    lines = [
        f"valid: epoch {header.epoch}, sequence {header.sequence}, slot {header.slot}, {header.hash.hex()}"
    ]
    for index, (asset, line) in enumerate(zip(header.assets, header.lines, strict=True)):
        lines.append(
            f"{asset.symbol}: holdings {line.holdings_units}, credits {line.credits.total}, "
            f"loans {line.borrows_units}, net owed {header.net_units(index)}, rate {line.rate_ppm} ppm, "
            f"price {asset.price_e8} e-8"
        )
    lines.append(
        f"claims {header.claims.total}, debts {header.debts_usd6}, shortfall {header.shortfall_usd6} usd6"
    )
    lines.append(f"total rate {header.total_rate_ppm} ppm")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 valid and covered, 1 rejected, 3 valid but holdings do not cover."""
    parsed = _parser().parse_args(arguments)
    try:
        lines = _run(parsed)
    except (Rejected, OSError, ValueError) as problem:
        sys.stderr.write(f"rejected: {problem}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    if parsed.record is not None:
        return 0
    header = read_header(split_bundle(parsed.bundle.read_bytes())[0])
    return 0 if is_covered(header) else 3


def is_covered(header: Header) -> bool:
    """Tell whether holdings cover net liabilities in every asset."""
    return all(line.holdings_units >= header.net_units(index) for index, line in enumerate(header.lines))


if __name__ == "__main__":
    sys.exit(main())

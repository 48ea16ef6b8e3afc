"""Deposit addresses from one seed, and text from outside into addresses and amounts.

Owns SLIP-0010 derivation (m/44'/501'/account'/subaccount', S1: a backup is one secret), the reserved
account numbers of the system accounts, and the parsing of base58 addresses and decimal amounts with
errors a person can act on. Keys never show in a repr, a log or an error (K1). Must not know balances,
mnemonics or files.
"""

from __future__ import annotations

import re
from typing import Final

from solders.keypair import Keypair
from solders.pubkey import Pubkey

HARDENED_LIMIT: Final = 2**31  # SLIP-0010: hardened indices are 31 bits
INSURANCE_FUND_ACCOUNT: Final = HARDENED_LIMIT - 1
FEES_ACCOUNT: Final = HARDENED_LIMIT - 2
U64_MAX: Final = 2**64 - 1

_SEED_BYTES: Final = 64
_BASE58_ALPHABET: Final = frozenset("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
_AMOUNT: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)


class DepositKeys:
    """The keys of every deposit address, derived on demand from a 64-byte seed (SLIP-0010, ed25519)."""

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        # A shorter seed is refused rather than stretched: stretching would derive other addresses than
        # every other wallet does from the same words.
        if not isinstance(seed, bytes) or len(seed) != _SEED_BYTES:
            raise ValueError(f"a seed is {_SEED_BYTES} bytes")
        self._seed = seed

    def __repr__(self) -> str:
        return "DepositKeys(<secret>)"

    def __reduce__(self) -> str:
        raise TypeError("DepositKeys holds a secret and is not pickled")

    def keypair(self, account: int, subaccount: int) -> Keypair:
        """Return the signing key of m/44'/501'/account'/subaccount'; rejects indices outside 31 bits."""
        for name, index in (("account", account), ("subaccount", subaccount)):
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < HARDENED_LIMIT:
                raise ValueError(f"{name} must be an integer from 0 to {HARDENED_LIMIT - 1}")
        return Keypair.from_seed_and_derivation_path(self._seed, f"m/44'/501'/{account}'/{subaccount}'")

    def address(self, account: int, subaccount: int) -> str:
        """Return the base58 deposit address of a subaccount."""
        return str(self.keypair(account, subaccount).pubkey())


def parse_address(text: str) -> str:
    """Return the canonical base58 form of a 32-byte address; raises ValueError saying what is wrong."""
    if not isinstance(text, str) or not text:
        raise ValueError("an address is empty")
    shown = text if len(text) <= 60 else text[:57] + "..."
    wrong = next((character for character in text if character not in _BASE58_ALPHABET), None)
    if wrong is not None:
        raise ValueError(f"address {shown!r} contains {wrong!r}, which base58 does not use")
    if len(text) > 44:
        raise ValueError(f"address {shown!r} is too long for 32 bytes of base58")
    try:
        key = Pubkey.from_string(text)
    except ValueError:
        raise ValueError(f"address {shown!r} is not 32 bytes of base58") from None
    if str(key) != text:
        raise ValueError(f"address {shown!r} is not the canonical form of {key}")
    return text


def is_on_curve(address: str) -> bool:
    """Say whether somebody can hold a private key of the address (False for program-derived ones, W5)."""
    return Pubkey.from_string(address).is_on_curve()


def parse_amount(text: str, decimals: int) -> int:
    """Return the base units of a decimal amount like "1.5"; exact, never rounds.

    Rejects signs, exponents, NaN, separators, more decimals than the asset has (even if they are zeros
    beyond its last), and amounts above the u64 that every token amount on Solana is.
    """
    cleaned = text.strip()
    match = _AMOUNT.fullmatch(cleaned)
    shown = cleaned if len(cleaned) <= 60 else cleaned[:57] + "..."
    if match is None:
        if cleaned.startswith("-"):
            raise ValueError(f"amount {shown!r} is negative")
        raise ValueError(f"amount {shown!r} is not a plain decimal number like 12.5")
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > decimals:
        raise ValueError(f"amount {shown!r} has {len(fraction)} decimals, the asset has {decimals}")
    digits = (whole + fraction.ljust(decimals, "0")).lstrip("0") or "0"
    # 20 digits is the length of the u64 maximum; int() of a huge string would be slow, then raise.
    if len(digits) > 20 or int(digits) > U64_MAX:
        raise ValueError(f"amount {shown!r} is larger than the largest amount a token can have")
    return int(digits)


def format_amount(units: int, decimals: int) -> str:
    """Return base units as a decimal amount without trailing zeros; parse_amount gives the units back."""
    sign, digits = ("-", str(-units)) if units < 0 else ("", str(units))
    if decimals == 0:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    return sign + digits[:-decimals] + (f".{fraction}" if fraction else "")

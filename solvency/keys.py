"""The master secret and what is derived from it: blindings, salts, the order of leaves.

Owns: the only copy of the secret in this package. It has no repr, no pickle, no equality; derived values
carry the epoch's context, so nothing of one epoch says anything about another, not even for balances that
did not move.
"""

from __future__ import annotations

import enum
import hmac
import secrets
from typing import NoReturn

from solvency.verifier import CURVE_ORDER

_LABEL = b"makewhole/solvency/1/derive\x00"


class Use(enum.IntEnum):
    """Separate what is derived; never reuse a number."""

    LEAF = 0
    PADDING = 1
    ACCOUNT = 2
    AMOUNT = 3
    MARGIN = 4


class MasterSecret:
    """Hold the secret that hides every balance; whoever has it can open every commitment ever published."""

    __slots__ = ("__key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("the master secret has 32 bytes")
        self.__key = bytes(key)

    @classmethod
    def generate(cls) -> MasterSecret:
        """Draw a fresh secret from the operating system."""
        return cls(secrets.token_bytes(32))

    def derive(self, use: Use, context: bytes, label: bytes) -> tuple[bytes, int]:
        """Return (salt, blinding) = HMAC-SHA512(master, use | context | label), the blinding mod the curve
        order.

        The context holds the previous hash, sequence, time, slot and prices: a second attempt at the same
        epoch with other balances gets other blindings, so the difference of two commitments shows nothing.
        """
        raw = hmac.digest(self.__key, _LABEL + bytes((use,)) + context + label, "sha512")
        return raw[:32], int.from_bytes(raw[32:], "big") % CURVE_ORDER

    def __repr__(self) -> str:
        return "MasterSecret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a master secret is not pickled; hand the worker its bytes over a pipe and rebuild it there"
        )

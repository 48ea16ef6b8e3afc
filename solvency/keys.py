"""The master secret and what is derived from it: blindings, salts, the order of leaves.

Owns: the only copy of the secret in this package. It has no repr, no pickle, no equality; what is
derived belongs to one epoch and its balances, so nothing of one epoch says anything about another, not even
for balances that did not move.
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


class EpochSecret:
    """Hold what hides one epoch's balances, and no other epoch's."""

    __slots__ = ("__key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("a secret has 32 bytes")
        self.__key = bytes(key)

    def derive(self, use: Use, label: bytes) -> tuple[bytes, int]:
        """Return (salt, blinding) = HMAC-SHA512(epoch secret, use | label), the blinding mod curve order."""
        raw = hmac.digest(self.__key, bytes((use,)) + label, "sha512")
        return raw[:32], int.from_bytes(raw[32:], "big") % CURVE_ORDER

    def reveal(self) -> bytes:
        """Return the bytes, for the epoch's own secret file and nothing else."""
        return self.__key

    def __repr__(self) -> str:
        return "EpochSecret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class MasterSecret:
    """Hold the secret behind every epoch: whoever has it and the balances can open every commitment."""

    __slots__ = ("__key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("the master secret has 32 bytes")
        self.__key = bytes(key)

    @classmethod
    def generate(cls) -> MasterSecret:
        """Draw a fresh secret from the operating system."""
        return cls(secrets.token_bytes(32))

    def epoch(self, context: bytes, balances_digest: bytes) -> EpochSecret:
        """Return HMAC-SHA256(master, context | digest of the balances).

        The balances are in it because two proofs of one context with different balances and equal blindings
        would show the difference of each: a rebuilt epoch is either the same one or shares nothing.
        """
        return EpochSecret(hmac.digest(self.__key, _LABEL + context + balances_digest, "sha256"))

    def __repr__(self) -> str:
        return "MasterSecret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master secret is not pickled; hand the worker its bytes over a pipe")


def leaf_label(number: int, own_id: bytes) -> bytes:
    """Return what the salt and blinding of a customer's leaf are derived from."""
    return bytes((number,)) + own_id

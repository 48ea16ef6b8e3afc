"""What the scanner looks for: deposit addresses, their token accounts, the accepted tokens, our own signers.

Owns membership. An address, once added, is watched for ever (D10): there is no removal. `add` returns only
when the address is active, so it may be shown to a customer right after. Must not know blocks.

One address with two accepted mints is three accounts; a million addresses are three million. A Python set
of base58 strings would need about 140 bytes an account. Here an account is 12 bytes in an open-addressing
table (64-bit fingerprint, 32-bit entry) and an address 32 more. A fingerprint only picks candidates:
every hit is confirmed exactly, an address by its 32 bytes, a token account by deriving it again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from solders.pubkey import Pubkey

from chain.addresses import parse_address
from chain.tokens import TokenMint, associated_token_key

_SMALLEST_TABLE: Final = 64
# Above this load (in eighths) the table doubles: at 5/8 an unsuccessful search looks at 4 slots on average.
_LOAD_EIGHTHS: Final = 5
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Watched:
    """A watched account: the deposit address itself (`token` None), or its token account for `token`."""

    address: str
    token: TokenMint | None


class Watchlist:
    """Deposit addresses by the million, with the tokens we accept and the keys we sign with."""

    def __init__(
        self,
        tokens: Iterable[TokenMint],
        *,
        own_signers: Iterable[str] = (),
        minimum_units: Mapping[str, int] | None = None,
        expected_addresses: int = 0,
    ) -> None:
        """Accept `tokens`; `minimum_units` by symbol (D10); reserve room for `expected_addresses`.

        Rejects two tokens with one symbol or one mint, and minimums of unknown symbols (ValueError).
        """
        self.tokens: tuple[TokenMint, ...] = tuple(tokens)
        if len({t.symbol for t in self.tokens}) != len(self.tokens):
            raise ValueError("two accepted tokens have the same symbol")
        if len({t.mint for t in self.tokens}) != len(self.tokens):
            raise ValueError("two accepted tokens have the same mint")
        self.native: TokenMint | None = next((t for t in self.tokens if t.is_native), None)
        minimums = dict(minimum_units or {})
        unknown = sorted(set(minimums) - {t.symbol for t in self.tokens})
        if unknown:
            raise ValueError("minimum deposit of a token that is not accepted: " + ", ".join(unknown))
        self.minimum_units: Mapping[str, int] = MappingProxyType(minimums)
        self._by_mint = {t.mint: t for t in self.tokens if t.mint is not None}
        self._minted = tuple(
            (t, Pubkey.from_string(t.mint), Pubkey.from_string(t.program))
            for t in self.tokens
            if t.mint is not None and t.program is not None
        )
        self._own_signers = {parse_address(signer) for signer in own_signers}
        self._address_keys = bytearray()
        self._accounts = 0
        size = _SMALLEST_TABLE
        while size * _LOAD_EIGHTHS < expected_addresses * self._stride * 8:
            size *= 2
        self._allocate(size)

    # -- filling -----------------------------------------------------------------------------------------

    def add(self, address: str, accounts: Sequence[str] | None = None) -> None:
        """Watch an address and its token accounts from now on; adding it again changes nothing.

        `accounts` are its associated token accounts in the order of the tokens with a mint, for a caller
        that stored them: deriving costs about 9 microseconds each. A wrong one is never matched. Rejects
        what is not an address (ValueError).
        """
        if address in self:
            return
        key = Pubkey.from_string(parse_address(address))
        if accounts is None:
            accounts = [str(associated_token_key(key, mint, program)) for _, mint, program in self._minted]
        elif len(accounts) != len(self._minted):
            raise ValueError(f"{len(accounts)} token accounts given, {len(self._minted)} tokens have a mint")
        entry = len(self._address_keys) // _KEY_BYTES * self._stride
        self._address_keys += bytes(key)
        self._insert(address, entry)
        for position, account in enumerate(accounts, start=1):
            self._insert(account, entry + position)

    def add_own_signer(self, address: str) -> None:
        """Treat transactions signed by this key as our own: never deposits (D3)."""
        self._own_signers.add(parse_address(address))

    # -- asking ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._address_keys) // _KEY_BYTES

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str):
            return False
        watched = self.find(address)
        return watched is not None and watched.token is None

    def is_own(self, signer: str) -> bool:
        """Say whether we hold this key: a deposit address or one of our other signers."""
        return signer in self._own_signers or signer in self

    def token_of(self, mint: str, program: str) -> TokenMint | None:
        """Return the accepted token of a mint under exactly this token program, or None."""
        token = self._by_mint.get(mint)
        return token if token is not None and token.program == program else None

    def candidates(self, keys: Iterable[str]) -> set[str]:
        """Return those keys that are probably watched; none that is watched is left out."""
        fingerprints, mask = self._fingerprints, self._mask
        found = set()
        for key in keys:
            fingerprint = hash(key) or 1
            slot = fingerprint & mask
            while stored := fingerprints[slot]:
                if stored == fingerprint:
                    found.add(key)
                    break
                slot = (slot + 1) & mask
        return found

    def find(self, key: str) -> Watched | None:
        """Return what a key is to us, exactly, or None."""
        fingerprint = hash(key) or 1
        slot = fingerprint & self._mask
        while stored := self._fingerprints[slot]:
            if stored == fingerprint:
                watched = self._confirm(key, self._entries[slot])
                if watched is not None:
                    return watched
            slot = (slot + 1) & self._mask
        return None

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of the table and the address store (44 an account when half full and grown)."""
        table = len(self._fingerprints) * (self._fingerprints.itemsize + self._entries.itemsize)
        return table + len(self._address_keys)

    # -- the table ---------------------------------------------------------------------------------------

    @property
    def _stride(self) -> int:
        # An entry is address number * stride + position: 0 the address, then its accounts by token.
        return 1 + len(self._minted)

    def _confirm(self, key: str, entry: int) -> Watched | None:
        number, position = divmod(entry, self._stride)
        owner = Pubkey(bytes(self._address_keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES]))
        if position == 0:
            return Watched(str(owner), None) if str(owner) == key else None
        token, mint, program = self._minted[position - 1]
        derived = associated_token_key(owner, mint, program)
        return Watched(str(owner), token) if str(derived) == key else None

    def _insert(self, key: str, entry: int) -> None:
        if (self._accounts + 1) * 8 > len(self._fingerprints) * _LOAD_EIGHTHS:
            self._grow()
        self._put(hash(key) or 1, entry)
        self._accounts += 1

    def _put(self, fingerprint: int, entry: int) -> None:
        slot = fingerprint & self._mask
        while self._fingerprints[slot]:
            slot = (slot + 1) & self._mask
        self._fingerprints[slot] = fingerprint
        self._entries[slot] = entry

    def _grow(self) -> None:
        fingerprints, entries = self._fingerprints, self._entries
        self._allocate(len(fingerprints) * 2)
        for fingerprint, entry in zip(fingerprints, entries, strict=True):
            if fingerprint:
                self._put(fingerprint, entry)

    def _allocate(self, size: int) -> None:
        self._fingerprints = array("q", bytes(8 * size))
        self._entries = array("I", bytes(4 * size))
        self._mask = size - 1

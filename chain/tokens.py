"""Which assets we accept on Solana, and where a wallet holds them.

Owns the program addresses, the mint description and the derivation of associated token accounts. An asset
is accepted by mint *and* token program, never by its symbol: a symbol is a label anybody can print on a
mint of their own (D3). Must not know balances, blocks or who owns what.
"""

# ruff: noqa: S105 - program addresses are public

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022_PROGRAM: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
ASSOCIATED_TOKEN_PROGRAM: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
WRAPPED_SOL_MINT: Final = "So11111111111111111111111111111111111111112"
TOKEN_PROGRAMS: Final = frozenset({TOKEN_PROGRAM, TOKEN_2022_PROGRAM})

_ASSOCIATED_PROGRAM_KEY: Final = Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM)


@dataclass(frozen=True, slots=True)
class TokenMint:
    """An accepted asset; native SOL has neither mint nor program."""

    symbol: str
    mint: str | None
    program: str | None
    decimals: int

    def __post_init__(self) -> None:
        if not self.symbol:
            raise ValueError("a token needs a symbol")
        if (self.mint is None) != (self.program is None):
            raise ValueError(f"{self.symbol}: a token has a mint and a program, native SOL has neither")
        if self.program is not None and self.program not in TOKEN_PROGRAMS:
            raise ValueError(f"{self.symbol}: {self.program} is not one of the two token programs")
        if self.mint is None and self.decimals != 9:
            raise ValueError(f"{self.symbol}: native SOL has 9 decimals, not {self.decimals}")
        if not 0 <= self.decimals <= 255:
            raise ValueError(f"{self.symbol}: decimals must be a u8, got {self.decimals}")

    @property
    def is_native(self) -> bool:
        """Say whether this is SOL itself (lamports of the address, no token account)."""
        return self.mint is None


NATIVE_SOL: Final = TokenMint("SOL", None, None, 9)


def associated_token_address(owner: str, mint: str, program: str) -> str:
    """Return the one token account of (owner, mint, program) that deposits are accepted on (D3)."""
    return str(
        associated_token_key(Pubkey.from_string(owner), Pubkey.from_string(mint), Pubkey.from_string(program))
    )


def associated_token_key(owner: Pubkey, mint: Pubkey, program: Pubkey) -> Pubkey:
    """Return the associated token account as a key; the form for callers that derive millions."""
    seeds = [bytes(owner), bytes(program), bytes(mint)]
    return Pubkey.find_program_address(seeds, _ASSOCIATED_PROGRAM_KEY)[0]

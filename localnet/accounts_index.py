"""Finds accounts by program, by token owner and by mint without scanning all of them.

Owns: the sets of addresses. Rules: the index describes the *current* state (the open slot); older views
start from it and add what later slots wrote. Every write to an account passes through `update`. Must not
know: commitments, JSON.
"""

from __future__ import annotations

from typing import TypeVar

from solders.account import Account
from solders.pubkey import Pubkey

from . import programs
from .token_state import is_token_account

K = TypeVar("K")


class AccountsIndex:
    """Addresses of the accounts written since genesis, by owner program, token owner and mint."""

    def __init__(self) -> None:
        self.by_program: dict[Pubkey, set[Pubkey]] = {}
        self.by_token_owner: dict[bytes, set[Pubkey]] = {}
        self.by_mint: dict[bytes, set[Pubkey]] = {}

    def update(self, key: Pubkey, before: Account | None, after: Account | None) -> None:
        """Move an address from where `before` put it to where `after` puts it."""
        if before is not None and (after is None or before.owner != after.owner):
            _discard(self.by_program, before.owner, key)
        if after is not None:
            self.by_program.setdefault(after.owner, set()).add(key)
        old, new = _token_fields(before), _token_fields(after)
        if old != new:
            if old is not None:
                _discard(self.by_mint, old[:32], key)
                _discard(self.by_token_owner, old[32:], key)
            if new is not None:
                self.by_mint.setdefault(new[:32], set()).add(key)
                self.by_token_owner.setdefault(new[32:], set()).add(key)

    def all_keys(self) -> set[Pubkey]:
        """Every address that exists and was written since genesis."""
        return set().union(*self.by_program.values())


def _token_fields(account: Account | None) -> bytes | None:
    """The mint and owner bytes of a token account; None for anything else."""
    if account is None or account.owner not in programs.TOKEN_PROGRAMS:
        return None
    data = account.data
    return data[:64] if is_token_account(data) else None


def _discard(index: dict[K, set[Pubkey]], name: K, key: Pubkey) -> None:
    found = index.get(name)
    if found is not None:
        found.discard(key)
        if not found:
            del index[name]

"""Membership: exact, for ever, thrifty (D10), whatever fingerprints do."""

from __future__ import annotations

import random

import pytest
from solders.pubkey import Pubkey

from chain.tokens import NATIVE_SOL, TOKEN_2022_PROGRAM, TokenMint
from chain.watchlist import Watched, Watchlist

from .forge import ALICE, BOB, HOT_WALLET, PYUSD, STRANGER, TOKENS, USDC, WSOL, address, ata


def random_keys(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [str(Pubkey(source.randbytes(32))) for _ in range(count)]


def test_an_address_brings_its_token_accounts() -> None:
    watched = Watchlist(TOKENS)
    watched.add(ALICE)
    assert watched.find(ALICE) == Watched(ALICE, None)
    assert watched.find(ata(ALICE, USDC)) == Watched(ALICE, USDC)
    assert watched.find(ata(ALICE, PYUSD)) == Watched(ALICE, PYUSD)
    assert watched.find(ata(ALICE, WSOL)) == Watched(ALICE, WSOL)
    assert watched.find(ata(BOB, USDC)) is None
    assert ALICE in watched
    assert ata(ALICE, USDC) not in watched  # an account of ours, but no deposit address
    assert 5 not in watched
    assert len(watched) == 1


def test_adding_twice_changes_nothing() -> None:
    watched = Watchlist(TOKENS)
    for _ in range(3):
        watched.add(ALICE)
    assert len(watched) == 1
    assert watched.candidates([ALICE, BOB]) == {ALICE}


def test_growing_keeps_every_key_and_invents_none() -> None:
    watched = Watchlist([NATIVE_SOL, USDC])
    mine, foreign = random_keys(2_000, 1), random_keys(2_000, 2)
    for key in mine:
        watched.add(key)
    assert len(watched) == 2_000
    assert watched.candidates([*mine, *foreign]) == set(mine)
    assert all(watched.find(key) == Watched(key, None) for key in mine)
    assert all(watched.find(ata(key, USDC)) == Watched(key, USDC) for key in mine[:50])
    assert not any(watched.find(key) for key in foreign)


def test_two_keys_with_one_fingerprint_are_told_apart() -> None:
    """The fingerprint only picks candidates: forced collisions are settled by the key itself."""
    watched = Watchlist([NATIVE_SOL])
    watched.add(ALICE)
    # Plant bob under alice's fingerprint, and alice's fingerprint on a key that is not watched.
    number = len(watched)
    watched._address_keys += bytes(Pubkey.from_string(BOB))
    watched._put(hash(BOB), 0)  # claims to be alice
    assert watched.find(BOB) is None
    watched._put(hash(BOB), number)
    assert watched.find(BOB) == Watched(BOB, None)
    assert watched.find(ALICE) == Watched(ALICE, None)


def test_given_accounts_spare_the_derivation_and_a_wrong_one_never_matches() -> None:
    watched = Watchlist([NATIVE_SOL, USDC])
    watched.add(ALICE, [ata(ALICE, USDC)])
    watched.add(BOB, [STRANGER])
    assert watched.find(ata(ALICE, USDC)) == Watched(ALICE, USDC)
    assert watched.candidates([STRANGER]) == {STRANGER}
    assert watched.find(STRANGER) is None
    with pytest.raises(ValueError, match="2 token accounts given, 1 tokens have a mint"):
        watched.add(HOT_WALLET, [STRANGER, STRANGER])


def test_own_keys_are_the_signers_and_every_deposit_address() -> None:
    watched = Watchlist(TOKENS, own_signers=[HOT_WALLET])
    watched.add(ALICE)
    assert watched.is_own(HOT_WALLET)
    assert watched.is_own(ALICE)
    assert not watched.is_own(ata(ALICE, USDC))
    assert not watched.is_own(BOB)
    watched.add_own_signer(BOB)
    assert watched.is_own(BOB)
    assert BOB not in watched


def test_a_token_is_known_by_mint_and_program() -> None:
    watched = Watchlist(TOKENS)
    assert USDC.mint is not None and USDC.program is not None
    assert watched.token_of(USDC.mint, USDC.program) is USDC
    assert watched.token_of(USDC.mint, TOKEN_2022_PROGRAM) is None
    assert watched.token_of(address("fake"), USDC.program) is None


def test_wrong_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="same symbol"):
        Watchlist([USDC, TokenMint("USDC", address("other"), USDC.program, 6)])
    with pytest.raises(ValueError, match="same mint"):
        Watchlist([USDC, TokenMint("USDX", USDC.mint, USDC.program, 6)])
    with pytest.raises(ValueError, match="not accepted: DOGE"):
        Watchlist([USDC], minimum_units={"DOGE": 1})
    with pytest.raises(ValueError, match="base58"):
        Watchlist([USDC]).add("not an address!")
    with pytest.raises(ValueError, match="base58"):
        Watchlist([USDC], own_signers=["0"])


def test_memory_is_about_44_bytes_an_account_at_the_stated_size() -> None:
    """100,000 addresses with one token are 200,000 accounts; a set of strings needs about 140 bytes each."""
    count = 100_000
    watched = Watchlist([NATIVE_SOL, USDC], expected_addresses=count)
    reserved = watched.memory_bytes
    keys = random_keys(2 * count, 3)
    for key, account in zip(keys[::2], keys[1::2], strict=True):
        watched.add(key, [account])
    assert watched.memory_bytes - reserved == 32 * count  # reserved at once: the table did not grow
    assert watched.memory_bytes <= 48 * 2 * count

"""Derivation against published vectors, addresses and amounts from text (S1, K1, W5)."""

from __future__ import annotations

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from chain.addresses import (
    FEES_ACCOUNT,
    HARDENED_LIMIT,
    INSURANCE_FUND_ACCOUNT,
    U64_MAX,
    DepositKeys,
    format_amount,
    is_on_curve,
    parse_address,
    parse_amount,
)

from .forge import ALICE, USDC, ata

# SLIP-0010, "Test vector 2 for ed25519": its seed is the only one of 64 bytes.
SLIP_0010_SEED = bytes.fromhex(
    "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
    "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
)
SLIP_0010_PRIVATE_KEYS = {
    "m": "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012",
    "m/0'": "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635",
    "m/0'/2147483647'": "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4",
    "m/0'/2147483647'/1'": "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c",
    "m/0'/2147483647'/1'/2147483646'": "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
    "m/0'/2147483647'/1'/2147483646'/2'": "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
}
# The wallets' path m/44'/501'/0'/0' for the BIP-39 words "abandon" eleven times and "about", no passphrase.
ABANDON_SEED = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)


@pytest.mark.parametrize("path", SLIP_0010_PRIVATE_KEYS)
def test_s1_the_library_derives_as_slip_0010_says(path: str) -> None:
    derived = Keypair.from_seed_and_derivation_path(SLIP_0010_SEED, path)
    assert derived.secret().hex() == SLIP_0010_PRIVATE_KEYS[path]


def test_s1_addresses_are_those_every_wallet_derives() -> None:
    assert DepositKeys(ABANDON_SEED).address(0, 0) == "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"


def test_s1_account_and_subaccount_are_the_third_and_fourth_level() -> None:
    keys = DepositKeys(SLIP_0010_SEED)
    expected = Keypair.from_seed_and_derivation_path(SLIP_0010_SEED, "m/44'/501'/7'/3'")
    assert keys.keypair(7, 3) == expected
    assert keys.address(7, 3) == str(expected.pubkey())
    assert len({keys.address(a, s) for a in range(5) for s in range(5)}) == 25


def test_system_accounts_have_addresses_of_their_own() -> None:
    keys = DepositKeys(SLIP_0010_SEED)
    assert (INSURANCE_FUND_ACCOUNT, FEES_ACCOUNT) == (2**31 - 1, 2**31 - 2)
    assert len({keys.address(a, 0) for a in (0, INSURANCE_FUND_ACCOUNT, FEES_ACCOUNT)}) == 3


@pytest.mark.parametrize(
    ("account", "subaccount"), [(-1, 0), (0, -1), (HARDENED_LIMIT, 0), (0, 2**40), (True, 0)]
)
def test_indices_outside_31_bits_are_refused_before_the_library_panics(account: int, subaccount: int) -> None:
    with pytest.raises(ValueError, match="must be an integer from 0 to 2147483647"):
        DepositKeys(SLIP_0010_SEED).keypair(account, subaccount)


@pytest.mark.parametrize("seed", [b"", bytes(32), bytes(63), bytes(65), "x" * 64, None])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        DepositKeys(seed)


def test_k1_the_seed_shows_nowhere() -> None:
    keys = DepositKeys(SLIP_0010_SEED)
    secrets = [SLIP_0010_SEED.hex(), repr(SLIP_0010_SEED), keys.keypair(0, 0).secret().hex()]
    shown = repr(keys) + str(keys)
    try:
        keys.keypair(-1, 0)
    except ValueError:
        shown += traceback.format_exc()
    assert not any(secret in shown for secret in secrets)
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(keys)


# -- addresses --------------------------------------------------------------------------------------------


def test_a_good_address_comes_back() -> None:
    assert parse_address(ALICE) == ALICE
    assert parse_address("11111111111111111111111111111111") == "1" * 32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("0" * 40, "contains '0', which base58 does not use"),
        (ALICE[:-1] + "l", "contains 'l'"),
        (ALICE + " ", "contains ' '"),
        ("0x742d35Cc6634C0532925a3b844Bc454e4438f44e", "contains '0'"),
        (ALICE[:-4], "not 32 bytes"),
        ("1" * 33, "not 32 bytes"),
        ("z" * 44, "not 32 bytes"),
        ("A" * 5_000, "too long"),
        ("А" + ALICE[1:], "contains 'А'"),  # a Cyrillic letter
    ],
)
def test_a_wrong_address_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        parse_address(text)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 200


def test_program_derived_addresses_are_off_the_curve() -> None:
    assert is_on_curve(ALICE)
    assert not is_on_curve(ata(ALICE, USDC))


# -- amounts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("1.5", 6, 1_500_000),
        ("0", 6, 0),
        ("0.000001", 6, 1),
        ("12", 0, 12),
        (" 7.25 ", 2, 725),
        ("007", 9, 7_000_000_000),
        ("18446744073709.551615", 6, U64_MAX),
        ("18446744073709551615", 0, U64_MAX),
        ("0" * 500 + "1", 0, 1),
    ],
)
def test_amounts_are_exact(text: str, decimals: int, units: int) -> None:
    assert parse_amount(text, decimals) == units


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a plain decimal"),
        ("-1", "is negative"),
        ("-0", "is negative"),
        ("+1", "not a plain decimal"),
        ("1e6", "not a plain decimal"),
        ("NaN", "not a plain decimal"),
        ("inf", "not a plain decimal"),
        ("1,000", "not a plain decimal"),
        ("1_000", "not a plain decimal"),
        (".5", "not a plain decimal"),
        ("5.", "not a plain decimal"),
        ("1.2.3", "not a plain decimal"),
        ("0x10", "not a plain decimal"),
        ("٣", "not a plain decimal"),
        ("1.0000001", "has 7 decimals, the asset has 6"),
        ("1.0000000", "has 7 decimals, the asset has 6"),
        ("18446744073709.551616", "larger than the largest"),
        ("9" * 100_000, "larger than the largest"),
        ("1" + "0" * 10_000, "larger than the largest"),
    ],
)
def test_wrong_amounts_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="amount") as caught:
        parse_amount(text, 6)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 200


@given(st.integers(0, U64_MAX), st.integers(0, 18))
def test_formatting_and_parsing_are_inverse(units: int, decimals: int) -> None:
    text = format_amount(units, decimals)
    assert parse_amount(text, decimals) == units
    assert not text.endswith(".")
    assert format_amount(-units - 1, decimals) == "-" + format_amount(units + 1, decimals)

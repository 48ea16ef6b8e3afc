"""The small pure parts: base58, amounts, token layouts, error sentences, extensions."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction_status import InstructionErrorFieldless, TransactionErrorFieldless

from localnet import base58
from localnet.token_extensions import encode_extensions
from localnet.token_state import (
    extensions_of,
    is_mint,
    is_token_account,
    pack_mint,
    pack_token_account,
    read_mint,
    read_token_account,
    ui_amount_string,
    ui_multiplier,
    ui_token_amount,
)
from localnet.transaction_errors import describe

KEY = Pubkey([3] * 32)


@given(st.binary(max_size=200))
def test_base58_round_trip(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_base58_is_that_of_solders(key: bytes, signature: bytes) -> None:
    assert base58.encode(key) == str(Pubkey(key))
    assert base58.encode(signature) == str(Signature.from_bytes(signature))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab0", "InvalidCharacter { character: '0', index: 2 }"),
        ("é", "NonAsciiCharacter { index: 0 }"),
    ],
)
def test_base58_says_where_it_fails(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="Character") as caught:
        base58.decode(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("units", "decimals", "expected"),
    [
        (0, 6, "0"),
        (1, 6, "0.000001"),
        (1_500_000, 6, "1.5"),
        (10, 0, "10"),
        (10, 1, "1"),
        (44, 9, "0.000000044"),
        (2**64 - 1, 9, "18446744073.709551615"),
    ],
)
def test_amounts(units: int, decimals: int, expected: str) -> None:
    assert ui_amount_string(units, decimals) == expected


def test_the_float_of_an_amount() -> None:
    assert ui_token_amount(44, 9)["uiAmount"] == 4.4e-08
    assert ui_token_amount(0, 6)["uiAmount"] == 0.0
    assert ui_token_amount(1, 20)["uiAmount"] is None


def test_token_accounts_round_trip() -> None:
    data = pack_token_account(mint=KEY, owner=Pubkey([4] * 32), amount_units=7, native_reserve_lamports=9)
    token = read_token_account(data)
    assert len(data) == 165
    assert token is not None
    assert (token.mint, token.amount_units, token.native_reserve_lamports) == (KEY, 7, 9)
    assert (token.state, token.delegate, token.close_authority) == ("initialized", None, None)
    assert not is_mint(data)


def test_mints_round_trip() -> None:
    data = pack_mint(mint_authority=KEY, supply_units=5, decimals=2, freeze_authority=None)
    mint = read_mint(data)
    assert len(data) == 82
    assert mint is not None
    assert (mint.mint_authority, mint.supply_units, mint.decimals) == (KEY, 5, 2)
    assert (mint.freeze_authority, mint.is_initialized) == (None, True)
    assert not is_token_account(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_token_account(data)
    read_mint(data)
    encode_extensions(data)


def test_interest_is_continuous_at_two_rates() -> None:
    year = 60 * 60 * 24 * 365.24
    value = bytes(32) + struct.pack("<qhqh", 0, 100, int(year), 200)
    data = extended(10, value)
    assert ui_multiplier(data, int(year)) == pytest.approx(math.exp(0.01))
    assert ui_multiplier(data, int(2 * year)) == pytest.approx(math.exp(0.03))
    assert ui_multiplier(extended(3, bytes(KEY)), 5) == 1.0


def test_a_scaled_amount_changes_at_its_time() -> None:
    data = extended(25, bytes(32) + struct.pack("<dqd", 2.0, 1_000, 3.0))
    assert (ui_multiplier(data, 999), ui_multiplier(data, 1_000)) == (2.0, 3.0)
    assert ui_token_amount(50, 2, 2.0) == {
        "amount": "50",
        "decimals": 2,
        "uiAmount": 1.0,
        "uiAmountString": "1",
    }


def extended(kind: int, value: bytes, account_type: int = 1) -> bytes:
    base = pack_mint(mint_authority=KEY, supply_units=5, decimals=2, freeze_authority=None).ljust(165, b"\0")
    return base + bytes([account_type]) + struct.pack("<HH", kind, len(value)) + value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (7, b"", {"extension": "immutableOwner"}),
        (3, bytes(KEY), {"extension": "mintCloseAuthority", "state": {"closeAuthority": str(KEY)}}),
        (12, bytes(32), {"extension": "permanentDelegate", "state": {"delegate": None}}),
        (6, b"\2", {"extension": "defaultAccountState", "state": {"accountState": "frozen"}}),
        (
            2,
            struct.pack("<Q", 12),
            {"extension": "transferFeeAmount", "state": {"withheldAmount": 12}},
        ),
        (4, bytes(65), {"extension": "unparseableExtension"}),
        (2, b"short", {"extension": "unparseableExtension"}),
        (999, b"?", {"extension": "unparseableExtension"}),
    ],
)
def test_extensions(kind: int, value: bytes, expected: object) -> None:
    data = extended(kind, value)
    assert is_mint(data)
    assert extensions_of(data) == [(kind, value)]
    assert encode_extensions(data) == [expected]


def test_every_error_of_solders_has_a_sentence() -> None:
    names = [name for name in dir(TransactionErrorFieldless) if name[0].isupper()]
    silent = {name for name in names if describe(name) == name}
    assert silent <= {"ResanitizationNeeded", "CommitCancelled"}
    for name in dir(InstructionErrorFieldless):
        if name[0].isupper():
            sentence = describe({"InstructionError": [3, name]})
            assert sentence.startswith("Error processing Instruction 3: ")
            assert name not in sentence


@pytest.mark.parametrize(
    ("err", "sentence"),
    [
        (
            {"InstructionError": [2, {"Custom": 6001}]},
            "Error processing Instruction 2: custom program error: 0x1771",
        ),
        (
            {"InsufficientFundsForRent": {"account_index": 4}},
            "Transaction results in an account (4) with insufficient funds for rent",
        ),
        (
            {"DuplicateInstruction": 1},
            "Transaction contains a duplicate instruction (1) that is not allowed",
        ),
        ("SomethingNew", "SomethingNew"),
        ({"InstructionError": [0, "SomethingNew"]}, "Error processing Instruction 0: SomethingNew"),
    ],
)
def test_error_sentences(err: dict[str, object] | str, sentence: str) -> None:
    assert describe(err) == sentence

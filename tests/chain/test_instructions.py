"""Instructions and messages against a second implementation and against the real programs."""

from __future__ import annotations

from typing import Any

import pytest
import spl.token.instructions as spl
import spl.token.models as models
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import Transaction

from chain.instructions import (
    LARGEST_TRANSACTION_BYTES,
    MEMO_PROGRAM,
    advance_nonce,
    assemble_transaction,
    build_message,
    compute_unit_limit,
    compute_unit_price,
    create_associated_token_account,
    memo,
    transfer_checked,
    transfer_lamports,
    unsigned_transaction,
    write_locked_accounts,
)
from chain.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, associated_token_address

U64 = 2**64 - 1
A, B, C, D = (str(Keypair.from_seed(bytes([n]) * 32).pubkey()) for n in (1, 2, 3, 4))
PROGRAMS = [TOKEN_PROGRAM, TOKEN_2022_PROGRAM]


def key(address: str) -> Pubkey:
    return Pubkey.from_string(address)


def spl_transfer_checked(program: str, units: int, decimals: int) -> Any:
    parameters = models.TransferCheckedParams(
        program_id=key(program), source=key(A), mint=key(B), dest=key(C), owner=key(D),
        amount=units, decimals=decimals, signers=[],
    )  # fmt: skip
    return spl.transfer_checked(parameters)


@pytest.mark.parametrize("program", PROGRAMS)
@given(units=st.integers(1, U64), decimals=st.integers(0, 255))
def test_transfer_checked_is_what_the_spl_library_builds(program: str, units: int, decimals: int) -> None:
    ours = transfer_checked(
        source=A, mint=B, destination=C, owner=D, units=units, decimals=decimals, program=program
    )
    theirs = spl_transfer_checked(program, units, decimals)
    assert (ours.program_id, ours.data) == (theirs.program_id, theirs.data)
    assert [(m.pubkey, m.is_writable) for m in ours.accounts] == [
        (m.pubkey, m.is_writable) for m in theirs.accounts
    ]
    assert [m.is_signer for m in ours.accounts] == [False, False, False, True]


@pytest.mark.parametrize("program", PROGRAMS)
def test_create_associated_token_account_is_what_the_spl_library_builds(program: str) -> None:
    ours = create_associated_token_account(payer=A, owner=B, mint=C, program=program)
    theirs = spl.create_idempotent_associated_token_account(key(A), key(B), key(C), key(program))
    assert (ours.program_id, ours.data) == (theirs.program_id, theirs.data)
    mine = [(m.pubkey, m.is_signer, m.is_writable) for m in ours.accounts]
    # The library still lists the rent sysvar, which the program has not read since 2022.
    assert mine == [(m.pubkey, m.is_signer, m.is_writable) for m in theirs.accounts][: len(mine)]
    assert str(ours.accounts[1].pubkey) == associated_token_address(B, C, program)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: transfer_lamports(A, B, 0), "must be 1 to 18446744073709551615, not 0"),
        (lambda: transfer_lamports(A, B, -1), "not -1"),
        (lambda: transfer_lamports(A, B, U64 + 1), "not 18446744073709551616"),
        (lambda: transfer_checked(source=A, mint=B, destination=C, owner=D, units=0, decimals=6,
                                  program=TOKEN_PROGRAM), "units to transfer must be"),
        (lambda: transfer_checked(source=A, mint=B, destination=C, owner=D, units=1, decimals=256,
                                  program=TOKEN_PROGRAM), "0 to 255 decimals"),
        (lambda: transfer_checked(source=A, mint=B, destination=C, owner=D, units=1, decimals=6,
                                  program=MEMO_PROGRAM), "not one of the two token programs"),
        (lambda: create_associated_token_account(payer=A, owner=B, mint=C, program=A),
         "not one of the two token programs"),
        (lambda: compute_unit_limit(0), "1 to 1400000, not 0"),
        (lambda: compute_unit_limit(1_400_001), "1 to 1400000"),
        (lambda: compute_unit_price(-1), "not -1"),
        (lambda: compute_unit_price(U64 + 1), "not 18446744073709551616"),
    ],
)  # fmt: skip
def test_amounts_and_programs_that_cannot_be_are_refused(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_advance_nonce_is_the_system_instruction_four() -> None:
    built = advance_nonce(A, B)
    assert bytes(built.data) == (4).to_bytes(4, "little")
    assert [str(m.pubkey) for m in built.accounts] == [
        A,
        "SysvarRecentB1ockHashes11111111111111111111",
        B,
    ]


def test_a_message_is_signed_in_place_and_reads_back() -> None:
    pair = Keypair.from_seed(bytes([1]) * 32)
    message = build_message(A, [memo("m"), transfer_lamports(A, B, 7)], str(Hash.default()))
    data = assemble_transaction(message, [bytes(pair.sign_message(bytes(message)))])
    transaction = Transaction.from_bytes(data)
    transaction.verify()
    assert transaction.message == message
    assert len(unsigned_transaction(message)) == len(data)
    with pytest.raises(ValueError, match="asks for 1 signatures, 0 were given"):
        assemble_transaction(message, [])


def test_a_transaction_larger_than_a_packet_is_refused() -> None:
    fits = build_message(A, [memo("m" * 1_000)], str(Hash.default()))
    assert len(unsigned_transaction(fits)) <= LARGEST_TRANSACTION_BYTES
    large = build_message(A, [memo("m" * 1_200)], str(Hash.default()))
    with pytest.raises(ValueError, match="does not fit; the limit is 1232"):
        unsigned_transaction(large)


@pytest.mark.parametrize("program", PROGRAMS)
def test_w6_the_write_locked_accounts_are_those_the_message_writes(program: str) -> None:
    transfer = transfer_checked(
        source=C, mint=D, destination=B, owner=A, units=1, decimals=6, program=program
    )
    message = build_message(A, [compute_unit_limit(1), memo("m"), transfer], str(Hash.default()))
    assert set(write_locked_accounts(message)) == {A, B, C}
    sol = build_message(A, [transfer_lamports(A, B, 1)], str(Hash.default()))
    assert write_locked_accounts(sol) == (A, B)

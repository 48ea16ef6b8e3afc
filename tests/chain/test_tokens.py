"""Token descriptions and derived accounts (D3)."""

from __future__ import annotations

import pytest
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from chain.tokens import (
    NATIVE_SOL,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    TokenMint,
    associated_token_address,
)

from .forge import ALICE, USDC, address


def test_d3_the_derived_account_depends_on_owner_mint_and_program() -> None:
    mint = USDC.mint or ""
    derived = associated_token_address(ALICE, mint, TOKEN_PROGRAM)
    # An independent derivation, by the library's own function for the token program.
    assert derived == str(get_associated_token_address(Pubkey.from_string(ALICE), Pubkey.from_string(mint)))
    others = {
        associated_token_address(ALICE, mint, TOKEN_2022_PROGRAM),
        associated_token_address(address("other"), mint, TOKEN_PROGRAM),
        associated_token_address(ALICE, address("other mint"), TOKEN_PROGRAM),
    }
    assert len(others | {derived}) == 4


def test_native_sol_has_neither_mint_nor_program() -> None:
    assert NATIVE_SOL.is_native
    assert not USDC.is_native
    assert (NATIVE_SOL.mint, NATIVE_SOL.program, NATIVE_SOL.decimals) == (None, None, 9)


@pytest.mark.parametrize(
    ("symbol", "mint", "program", "decimals", "why"),
    [
        ("", USDC.mint, TOKEN_PROGRAM, 6, "needs a symbol"),
        ("X", USDC.mint, None, 6, "a mint and a program"),
        ("X", None, TOKEN_PROGRAM, 6, "a mint and a program"),
        ("X", USDC.mint, address("a look-alike program"), 6, "not one of the two token programs"),
        ("SOL", None, None, 6, "9 decimals"),
        ("X", USDC.mint, TOKEN_PROGRAM, 256, "u8"),
        ("X", USDC.mint, TOKEN_PROGRAM, -1, "u8"),
    ],
)
def test_a_wrong_token_is_refused(
    symbol: str, mint: str | None, program: str | None, decimals: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        TokenMint(symbol, mint, program, decimals)

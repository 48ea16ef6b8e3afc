"""Methods on token accounts and mints of SPL Token and Token-2022.

Owns: getTokenAccountBalance, getTokenSupply, getTokenLargestAccounts, getTokenAccountsByOwner,
getTokenAccountsByDelegate. Rules: amounts are raw units; uiAmount follows from the mint's decimals
and, with Token-2022, from its interest or scale. Must not know: HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

from .. import programs
from ..encoding import encode_account
from ..errors import invalid_params
from ..params import Config, Params, pubkey_of
from ..token_state import TokenAccount, read_mint, read_token_account, ui_multiplier, ui_token_amount
from ..views import View
from .registry import Node, method, view_of, with_context

LARGEST_ACCOUNTS: Final = 20
_COMMITMENT_CONFIG: Final = "CommitmentConfig"


@method("getTokenAccountBalance", 1, 2)
def get_token_account_balance(node: Node, params: Params) -> object:
    """The balance of a token account."""
    key = params.pubkey(0)
    view = node.ledger.view(params.config(1, _COMMITMENT_CONFIG).commitment())
    account = view.account(key)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    token = read_token_account(account.data) if account.owner in programs.TOKEN_PROGRAMS else None
    if token is None:
        raise invalid_params("Invalid param: not a Token account")
    _, decimals, multiplier = _mint_of(view, token.mint)
    return with_context(view, ui_token_amount(token.amount_units, decimals, multiplier))


@method("getTokenSupply", 1, 2)
def get_token_supply(node: Node, params: Params) -> object:
    """The supply of a mint."""
    key = params.pubkey(0)
    view = node.ledger.view(params.config(1, _COMMITMENT_CONFIG).commitment())
    account = view.account(key)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    if account.owner not in programs.TOKEN_PROGRAMS:
        raise invalid_params("Invalid param: not a Token mint")
    mint = read_mint(account.data)
    if mint is None:
        raise invalid_params("Invalid param: mint could not be unpacked")
    multiplier = ui_multiplier(account.data, view.time_s)
    return with_context(view, ui_token_amount(mint.supply_units, mint.decimals, multiplier))


@method("getTokenLargestAccounts", 1, 2)
def get_token_largest_accounts(node: Node, params: Params) -> object:
    """The 20 largest accounts of a mint."""
    mint = params.pubkey(0)
    view = node.ledger.view(params.config(1, _COMMITMENT_CONFIG).commitment())
    program, decimals, multiplier = _mint_of(view, mint)
    found = [
        (token.amount_units, key)
        for key, _, token in _token_accounts(view, program, mint=mint, accepts=lambda token: True)
    ]
    found.sort(key=lambda entry: (entry[0], bytes(entry[1])), reverse=True)
    return with_context(
        view,
        [
            {"address": str(key), **ui_token_amount(units, decimals, multiplier)}
            for units, key in found[:LARGEST_ACCOUNTS]
        ],
    )


@method("getTokenAccountsByOwner", 2, 3)
def get_token_accounts_by_owner(node: Node, params: Params) -> object:
    """The token accounts of an owner, of one mint or of one token program."""
    owner = params.pubkey(0)
    return _by(node, params, owner=owner, accepts=lambda token: token.owner == owner)


@method("getTokenAccountsByDelegate", 2, 3)
def get_token_accounts_by_delegate(node: Node, params: Params) -> object:
    """The token accounts that a delegate may spend from, of one mint or of one token program."""
    delegate = params.pubkey(0)
    return _by(node, params, owner=None, accepts=lambda token: token.delegate == delegate)


def _by(
    node: Node, params: Params, *, owner: Pubkey | None, accepts: Callable[[TokenAccount], bool]
) -> object:
    wanted = params.config(1, "RpcTokenAccountsFilter")
    config = params.config(2, "RpcAccountInfoConfig")
    encoding, data_slice = config.account_encoding(), config.data_slice()
    view = view_of(node, config)
    program, mint = _program_and_mint(view, wanted)
    found = _token_accounts(view, program, owner=owner, mint=mint, accepts=accepts)
    return with_context(
        view,
        [
            {
                "pubkey": str(key),
                "account": encode_account(account, encoding, data_slice, view.account, key=key),
            }
            for key, account, _ in found
        ],
    )


def _program_and_mint(view: View, wanted: Config) -> tuple[Pubkey, Pubkey | None]:
    """The token program to look in and, if the caller named one, the mint."""
    mint_text = wanted.text("mint")
    if mint_text is not None:
        mint = pubkey_of(mint_text)
        return _mint_of(view, mint)[0], mint
    program_text = wanted.text("programId")
    if program_text is None:
        raise invalid_params("Invalid params: unknown variant, expected `mint` or `programId`.")
    program = pubkey_of(program_text)
    if program not in programs.TOKEN_PROGRAMS:
        raise invalid_params("Invalid param: unrecognized Token program id")
    return program, None


def _mint_of(view: View, mint: Pubkey) -> tuple[Pubkey, int, float]:
    """The token program, the decimals and the display multiplier of a mint."""
    if mint == programs.NATIVE_MINT:
        return programs.TOKEN, 9, 1.0
    account = view.account(mint)
    if account is None:
        raise invalid_params("Invalid param: could not find mint")
    state = read_mint(account.data)
    if state is None:
        raise invalid_params("Invalid param: mint could not be unpacked")
    if account.owner not in programs.TOKEN_PROGRAMS:
        raise invalid_params("Invalid param: not a Token mint")
    return account.owner, state.decimals, ui_multiplier(account.data, view.time_s)


def _token_accounts(
    view: View,
    program: Pubkey,
    *,
    accepts: Callable[[TokenAccount], bool],
    owner: Pubkey | None = None,
    mint: Pubkey | None = None,
) -> list[tuple[Pubkey, Account, TokenAccount]]:
    found = []
    for key in view.token_accounts(program, owner=owner, mint=mint):
        account = view.account(key)
        if account is None or account.owner != program:
            continue
        token = read_token_account(account.data)
        if token is not None and (mint is None or token.mint == mint) and accepts(token):
            found.append((key, account, token))
    return found

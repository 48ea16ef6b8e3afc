"""Methods that read accounts: balances, account data, program accounts, supply.

Owns: getAccountInfo, getMultipleAccounts, getBalance, getProgramAccounts, getLargestAccounts, getSupply,
getMinimumBalanceForRentExemption. Rules: every read is at the commitment asked for. Must not know: HTTP.
"""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey

from .. import programs
from ..encoding import encode_account
from ..errors import invalid_request
from ..params import Params, pubkey_of
from ..views import View
from .registry import Node, method, too_many, view_of, with_context

MAX_MULTIPLE_ACCOUNTS: Final = 100
MAX_DATA_LENGTH: Final = 10 * 1024 * 1024
LARGEST_ACCOUNTS: Final = 20
_ACCOUNT_CONFIG: Final = "RpcAccountInfoConfig"
_CONTEXT_CONFIG: Final = "RpcContextConfig"


@method("getBalance", 1, 2)
def get_balance(node: Node, params: Params) -> object:
    """The lamports of an account; 0 when it does not exist."""
    key = params.pubkey(0)
    view = view_of(node, params.config(1, _CONTEXT_CONFIG))
    return with_context(view, view.balance(key))


@method("getAccountInfo", 1, 2)
def get_account_info(node: Node, params: Params) -> object:
    """An account, or null."""
    key = params.pubkey(0)
    config = params.config(1, _ACCOUNT_CONFIG)
    encoding, data_slice = config.account_encoding(), config.data_slice()
    view = view_of(node, config)
    account = view.account(key)
    value = None if account is None else encode_account(account, encoding, data_slice, view.account, key=key)
    return with_context(view, value)


@method("getMultipleAccounts", 1, 2)
def get_multiple_accounts(node: Node, params: Params) -> object:
    """Up to 100 accounts in the order asked for, null for those that do not exist."""
    texts = params.texts(0)
    config = params.config(1, _ACCOUNT_CONFIG)
    if len(texts) > MAX_MULTIPLE_ACCOUNTS:
        raise too_many(MAX_MULTIPLE_ACCOUNTS)
    keys = [pubkey_of(text) for text in texts]
    encoding, data_slice = config.account_encoding("base64"), config.data_slice()
    view = view_of(node, config)
    found = []
    for key in keys:
        account = view.account(key)
        encoded = (
            None if account is None else encode_account(account, encoding, data_slice, view.account, key=key)
        )
        found.append(encoded)
    return with_context(view, found)


@method("getProgramAccounts", 1, 2)
def get_program_accounts(node: Node, params: Params) -> object:
    """The accounts of a program that meet all filters, by address."""
    program = params.pubkey(0)
    config = params.config(1, "RpcProgramAccountsConfig")
    filters = config.filters()
    encoding, data_slice = config.account_encoding(), config.data_slice()
    wants_context = config.flag("withContext")
    view = view_of(node, config)
    found = [
        {"pubkey": str(key), "account": encode_account(account, encoding, data_slice, view.account, key=key)}
        for key, account in view.program_accounts(program)
        if all(condition.allows(account) for condition in filters)
    ]
    return with_context(view, found) if wants_context else found


@method("getMinimumBalanceForRentExemption", 1, 2)
def get_minimum_balance_for_rent_exemption(node: Node, params: Params) -> object:
    """The lamports that keep an account of this many bytes. Raises -32600 above 10 MiB."""
    length = params.uint(0, "usize")
    params.config(1, "CommitmentConfig").commitment()
    if length > MAX_DATA_LENGTH:
        raise invalid_request()
    return node.ledger.svm.rent_exempt_lamports(length)


@method("getSupply", 0, 1)
def get_supply(node: Node, params: Params) -> object:
    """All lamports. What the faucet still holds was never handed out and is not circulating."""
    config = params.config(0, "RpcSupplyConfig")
    hide_list = config.flag("excludeNonCirculatingAccountsList")
    view = view_of(node, config)
    total = sum(lamports for _, lamports in _all_balances(node, view))
    faucet = node.ledger.faucet.pubkey()
    held = view.balance(faucet)
    value = {
        "total": total,
        "circulating": total - held,
        "nonCirculating": held,
        "nonCirculatingAccounts": [] if hide_list else [str(faucet)],
    }
    return with_context(view, value)


@method("getLargestAccounts", 0, 1)
def get_largest_accounts(node: Node, params: Params) -> object:
    """The 20 accounts with the most lamports."""
    config = params.config(0, "RpcLargestAccountsConfig")
    wanted = config.variant("filter", ("circulating", "nonCirculating"), "")
    view = view_of(node, config)
    faucet = node.ledger.faucet.pubkey()
    ranked = sorted(_all_balances(node, view), key=lambda entry: (-entry[1], bytes(entry[0])))
    chosen = [
        (key, lamports)
        for key, lamports in ranked
        if not wanted or (key == faucet) == (wanted == "nonCirculating")
    ]
    return with_context(
        view, [{"address": str(key), "lamports": lamports} for key, lamports in chosen[:LARGEST_ACCOUNTS]]
    )


def _all_balances(node: Node, view: View) -> list[tuple[Pubkey, int]]:
    ledger = node.ledger
    keys = ledger.index.all_keys() | ledger.keys_written_after(view.slot)
    keys.update(ledger.svm.boot_accounts(programs.BOOT_OWNERS))
    return [(key, lamports) for key in keys if (lamports := view.balance(key))]

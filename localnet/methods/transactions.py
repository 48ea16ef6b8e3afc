"""Methods that run transactions: send, simulate, airdrop, fees.

Owns: sendTransaction, simulateTransaction, requestAirdrop, getFeeForMessage, getRecentPrioritizationFees.
Rules: a preflight runs at its own commitment (default finalized), so a blockhash or a balance that is
only processed fails it, as on a validator; without preflight anything well-formed is accepted and, if no
block would take it, dropped. Must not know: HTTP.
"""

from __future__ import annotations

from typing import Final

from solders.hash import Hash
from solders.transaction import VersionedTransaction

from .. import events, execution
from ..airdrop import airdrop_transaction
from ..blocks import TransactionErrorJson
from ..encoding import encode_account
from ..errors import (
    invalid_params,
    node_unhealthy,
    preflight_failure,
    signature_verification_failure,
)
from ..params import Config, Params, hash_of, pubkey_of
from ..processing import missing_program
from ..svm import LAMPORTS_PER_SIGNATURE, Execution
from ..transaction_encoding import encode_inner, encode_return_data, encode_token_balance
from ..transaction_errors import describe
from ..views import MAX_BLOCKHASH_AGE, View
from ..wire import read_message, read_transaction, with_blockhash
from .registry import Node, method, view_of, with_context

MAX_ACCOUNT_LOCKS: Final = 128
_NOT_RUN: Final = Execution(None, False, 0, (), (), 0, None)


@method("sendTransaction", 1, 2)
def send_transaction(node: Node, params: Params) -> object:
    """Accept a transaction; returns its signature. Raises -32002, -32003, -32005, -32602."""
    text = params.text(0)
    config = params.config(1, "RpcSendTransactionConfig")
    skip_preflight = config.flag("skipPreflight")
    encoding = config.transaction_encoding("base58")
    config.uint("maxRetries", "usize")
    transaction = read_transaction(text, encoding)
    commitment = "processed" if skip_preflight else config.commitment("preflightCommitment")
    view = view_of(node, config, commitment)
    _check_lookups(view, transaction)
    valid = execution.signatures_are_valid(transaction)
    if not skip_preflight:
        if not valid:
            raise signature_verification_failure()
        if node.slots_behind != 0:
            raise node_unhealthy(node.slots_behind)
        _preflight(view, transaction)
    signature = str(transaction.signatures[0])
    ledger = node.ledger
    ledger.publish(events.SignatureReceived(signature, ledger.open.slot))
    if valid:
        ledger.process(transaction)
    return signature


def _check_lookups(view: View, transaction: VersionedTransaction) -> None:
    err = execution.lookup_error(transaction.message, view.account, view.slot)
    if err is not None:
        raise invalid_params(f"invalid transaction: {describe(err)}")


def _preflight(view: View, transaction: VersionedTransaction) -> None:
    err, result = _simulate(view, transaction)
    if err is not None:
        accounts = execution.resolve_accounts(transaction.message, view.account)
        data = _simulation_json(view, transaction, accounts, err, result)
        # a preflight records no balances
        data |= dict.fromkeys(_BALANCE_MEMBERS) | {"fee": None, "loadedAddresses": None}
        raise preflight_failure(f"Transaction simulation failed: {describe(err)}", data)


def _simulate(view: View, transaction: VersionedTransaction) -> tuple[TransactionErrorJson | None, Execution]:
    err = view.refusal(transaction)
    if err is not None:
        return err, _NOT_RUN
    result = view.simulate(transaction)
    err = result.err
    if not result.included and err is not None:
        accounts = execution.resolve_accounts(transaction.message, view.account)
        err = missing_program(view.ledger.svm, transaction.message, accounts, err)
    return err, result


_BALANCE_MEMBERS: Final = ("preBalances", "postBalances", "preTokenBalances", "postTokenBalances")


def _simulation_json(
    view: View,
    transaction: VersionedTransaction,
    accounts: execution.Accounts,
    err: TransactionErrorJson | None,
    result: Execution,
) -> dict[str, object]:
    ran = result is not _NOT_RUN
    loaded = execution.loaded_data_bytes(transaction.message, accounts, view.account) if ran else 0
    returned = None if result.return_data is None else encode_return_data(result.return_data)
    return {
        "err": err,
        "logs": result.logs,
        "accounts": None,
        "unitsConsumed": result.compute_units_consumed,
        "loadedAccountsDataSize": loaded,
        "returnData": returned,
        "innerInstructions": None,
        "replacementBlockhash": None,
        "fee": result.fee_lamports if ran else None,
    }


@method("simulateTransaction", 1, 2)
def simulate_transaction(node: Node, params: Params) -> object:
    """Run a transaction at a commitment and keep nothing. Raises -32003, -32602."""
    text = params.text(0)
    config = params.config(1, "RpcSimulateTransactionConfig")
    verify, replace = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
    transaction = read_transaction(text, config.transaction_encoding("base58"))
    view = view_of(node, config)
    replacement = None
    if replace:
        if verify:
            raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
        transaction = with_blockhash(transaction, Hash.from_string(view.blockhash))
        replacement = {
            "blockhash": view.blockhash,
            "lastValidBlockHeight": view.last_valid_block_height,
        }
    _check_lookups(view, transaction)
    if verify and not execution.signatures_are_valid(transaction):
        raise signature_verification_failure()
    accounts = execution.resolve_accounts(transaction.message, view.account)
    wanted = config.object("accounts", "RpcSimulateTransactionAccountsConfig")
    encoding = _accounts_encoding(wanted, len(accounts.keys))
    err, result = _simulate(view, transaction)
    body = _simulation_json(view, transaction, accounts, err, result)
    body["replacementBlockhash"] = replacement
    body |= _simulated_balances(view, accounts, result)
    if wanted is not None:
        body["accounts"] = _simulated_accounts(view, wanted, encoding, result, failed=err is not None)
    if config.flag("innerInstructions"):
        keys = [str(key) for key in accounts.keys]
        body["innerInstructions"] = encode_inner(result.inner_instructions, keys, parsed=True)
    return with_context(view, body)


def _accounts_encoding(wanted: Config | None, known: int) -> str:
    if wanted is None:
        return ""
    encoding = wanted.account_encoding("base64")
    if encoding in ("binary", "base58"):
        raise invalid_params("base58 encoding not supported")
    if len(wanted.texts("addresses")) > known:
        raise invalid_params(f"Too many accounts provided; max {known}")
    return encoding


def _simulated_accounts(
    view: View, wanted: Config, encoding: str, result: Execution, *, failed: bool
) -> list[object]:
    addresses = wanted.texts("addresses")
    if failed:
        return [None] * len(addresses)
    changed = result.post_accounts or {}
    found: list[object] = []
    for address in addresses:
        key = pubkey_of(address)
        account = changed.get(key) or view.account(key)
        if account is None or account.lamports == 0:
            found.append(None)
        else:
            found.append(encode_account(account, encoding, None, view.account, key=key))
    return found


def _simulated_balances(view: View, accounts: execution.Accounts, result: Execution) -> dict[str, object]:
    """Balances before and after a simulation; after a failed one nothing but the fee has moved."""
    before = {key: view.account(key) for key in accounts.keys}
    after = before | (result.post_accounts or {})
    middle = accounts.static_count + accounts.loaded_writable_count
    body: dict[str, object] = {
        "loadedAddresses": {
            "writable": [str(key) for key in accounts.keys[accounts.static_count : middle]],
            "readonly": [str(key) for key in accounts.keys[middle:]],
        }
    }
    for name, states in (("pre", before), ("post", after)):
        lamports = [0 if (account := states[key]) is None else account.lamports for key in accounts.keys]
        tokens = (
            execution.token_balances(accounts, states, view.account, view.time_s)
            if execution.touches_tokens(accounts)
            else ()
        )
        if name == "post" and result.err is not None and result.included:
            lamports[0] -= result.fee_lamports
        body[f"{name}Balances"] = lamports
        body[f"{name}TokenBalances"] = [encode_token_balance(balance, stored=False) for balance in tokens]
    return body


@method("requestAirdrop", 2, 3)
def request_airdrop(node: Node, params: Params) -> object:
    """Send lamports from the faucet; returns the signature."""
    key, lamports = params.pubkey(0), params.uint(1)
    config = params.config(2, "RpcRequestAirdropConfig")
    ledger = node.ledger
    asked = config.text("recentBlockhash")
    view = ledger.view(config.commitment())
    blockhash = Hash.from_string(view.blockhash) if asked is None else hash_of(asked)
    transaction = airdrop_transaction(ledger, key, lamports, blockhash)
    signature = str(transaction.signatures[0])
    ledger.publish(events.SignatureReceived(signature, ledger.open.slot))
    ledger.process(transaction)
    return signature


@method("getFeeForMessage", 1, 2)
def get_fee_for_message(node: Node, params: Params) -> object:
    """What a message would pay, in lamports; null when its blockhash is not known (any more)."""
    message = read_message(params.text(0))
    view = view_of(node, params.config(1, "RpcContextConfig"))
    err = execution.lookup_error(message, view.account, view.slot)
    if err is not None:
        raise invalid_params(f"invalid transaction message: {describe(err)}")
    if not view.knows_blockhash(message.recent_blockhash):
        next_nonce = execution.next_durable_nonce(view.ledger.blockhash_bytes(view.blockhash))
        if execution.nonce_is_usable(message, view.account, next_nonce) is None:
            return with_context(view, None)
    accounts = execution.resolve_accounts(message, view.account)
    signatures = message.header.num_required_signatures + execution.precompile_signatures(message, accounts)
    fee = LAMPORTS_PER_SIGNATURE * signatures + execution.priority_fee_lamports(message, accounts)
    return with_context(view, fee)


@method("getRecentPrioritizationFees", 0, 1)
def get_recent_prioritization_fees(node: Node, params: Params) -> object:
    """Per block of the last 150 the least bid, in micro-lamports a unit, that got in to write them."""
    texts = params.texts(0)
    if len(texts) > MAX_ACCOUNT_LOCKS:
        raise invalid_params(f"Too many inputs provided; max {MAX_ACCOUNT_LOCKS}")
    keys = {pubkey_of(text) for text in texts}
    found = []
    for block in node.ledger.chain[-MAX_BLOCKHASH_AGE:]:
        fee, by_account = block.lowest_bids()
        fee = max([fee, *(by_account.get(key, 0) for key in keys)])
        found.append({"slot": block.slot, "prioritizationFee": fee})
    return found

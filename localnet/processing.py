"""Runs one transaction and writes down what it did.

Owns: turning an execution into a `TransactionRecord` with balances before and after, and the list of
account writes for the ledger's journal. Rules: reads every account it needs before and after, once. Must
not know: forks, commitments, the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from solders.account import Account
from solders.message import MessageV1
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from . import execution, programs
from .blocks import TokenBalance, TransactionErrorJson, TransactionRecord
from .svm import Execution, Svm


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction that belongs into the block, and its writes as (account, before, after)."""

    record: TransactionRecord
    writes: tuple[tuple[Pubkey, Account | None, Account | None], ...]


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances of a transaction's accounts, in lamports and in tokens."""

    lamports: tuple[int, ...]
    tokens: tuple[TokenBalance, ...]


def run(
    svm: Svm, transaction: VersionedTransaction, slot: int, index: int, fees_only: frozenset[str]
) -> Outcome | TransactionErrorJson:
    """Run a transaction and keep its changes; returns the bare error when no block would take it."""
    message = transaction.message
    accounts = execution.resolve_accounts(message, svm.account)
    with_tokens = execution.touches_tokens(accounts)
    states = read_states(svm.account, accounts, with_tokens)
    before = balances_of(svm, accounts, states, with_tokens)
    writable = accounts.writable_keys()
    pre = {key: states[key] for key in writable}
    result = svm.execute(transaction)
    err = result.err
    if not result.included:
        err = missing_program(svm, message, accounts, err)
        if not (isinstance(err, str) and err in fees_only):
            return err or "SanitizeFailure"
        _charge_fee(svm, accounts.keys[0], result.fee_lamports)
    for key in writable:
        states[key] = svm.account(key)
    after = balances_of(svm, accounts, states, with_tokens)
    record = _record(transaction, slot, index, accounts, result, err, before, after)
    return Outcome(record, tuple((key, pre[key], states[key]) for key in writable))


def _record(
    transaction: VersionedTransaction,
    slot: int,
    index: int,
    accounts: execution.Accounts,
    result: Execution,
    err: TransactionErrorJson | None,
    before: Balances,
    after: Balances,
) -> TransactionRecord:
    message = transaction.message
    units = result.compute_units_consumed
    price = 0
    if programs.COMPUTE_BUDGET in accounts.keys or isinstance(message, MessageV1):
        price = execution.compute_budget(message, accounts)[1]
    return TransactionRecord(
        transaction=transaction,
        signature=str(transaction.signatures[0]),
        slot=slot,
        index=index,
        account_keys=accounts.keys,
        static_count=accounts.static_count,
        loaded_writable_count=accounts.loaded_writable_count,
        writable_keys=accounts.writable_keys(),
        err=err,
        fee_lamports=result.fee_lamports,
        logs=result.logs,
        inner_instructions=result.inner_instructions,
        pre_balances=before.lamports,
        post_balances=after.lamports,
        pre_token_balances=before.tokens,
        post_token_balances=after.tokens,
        return_data=result.return_data,
        compute_units_consumed=units,
        # the loaded size enters the cost in pages of 32 KiB; one page stands for the ordinary transaction
        cost_units=execution.cost_units(message, accounts, units, loaded_bytes=1),
        compute_unit_price=price,
        memo=execution.memo_of(message, accounts),
    )


def read_states(
    read: Callable[[Pubkey], Account | None], accounts: execution.Accounts, with_tokens: bool
) -> dict[Pubkey, Account | None]:
    """The accounts whose contents matter: the writable ones, and with tokens all but called programs."""
    wanted = (
        key
        for index, (key, writable) in enumerate(zip(accounts.keys, accounts.is_writable, strict=True))
        if writable or (with_tokens and index not in accounts.invoked)
    )
    return {key: read(key) for key in wanted}


def balances_of(
    svm: Svm, accounts: execution.Accounts, states: dict[Pubkey, Account | None], with_tokens: bool
) -> Balances:
    """Lamports and token balances of all accounts; of those not in `states` only the lamports count."""
    lamports = []
    for key in accounts.keys:
        if key in states:
            account = states[key]
            lamports.append(0 if account is None else account.lamports)
        else:
            lamports.append(svm.balance(key))
    tokens = execution.token_balances(accounts, states, svm.account, svm.time_s) if with_tokens else ()
    return Balances(tuple(lamports), tokens)


def missing_program(
    svm: Svm,
    message: execution.AnyMessage,
    accounts: execution.Accounts,
    err: TransactionErrorJson | None,
) -> TransactionErrorJson | None:
    """Tell a program that does not exist from one that is not executable, as a validator does."""
    if err == "InvalidProgramForExecution":
        for instruction in message.instructions:
            account = svm.account(accounts.keys[instruction.program_id_index])
            if account is None:
                return "ProgramAccountNotFound"
            if not account.executable:
                break
    return err


def _charge_fee(svm: Svm, payer: Pubkey, fee_lamports: int) -> None:
    account = svm.account(payer)
    if account is not None:
        lamports = account.lamports - fee_lamports
        svm.write(payer, Account(lamports, account.data, account.owner, False, account.rent_epoch))

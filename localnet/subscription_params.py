"""The parameters of every subscription: read, refused as a validator refuses them, and kept as comparable
values.

Owns: one frozen key per kind of subscription and `SUBSCRIBE`, which reads each from the parameters of a
request. Rules: equal keys are the same subscription; texts are Agave's (rpc/src/rpc_pubsub.rs). `dataSlice`
and `minContextSlot` are accepted and ignored, as there. Must not know: the ledger, sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solders.pubkey import Pubkey
from solders.signature import Signature

from .errors import invalid_params
from .params import TRANSACTION_DETAILS, Filter, Params


@dataclass(frozen=True, slots=True)
class SlotKey:
    """slotSubscribe."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """rootSubscribe."""


@dataclass(frozen=True, slots=True)
class SlotsUpdatesKey:
    """slotsUpdatesSubscribe."""


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """signatureSubscribe."""

    signature: str
    commitment: str
    received: bool


@dataclass(frozen=True, slots=True)
class AccountKey:
    """accountSubscribe."""

    address: Pubkey
    commitment: str
    encoding: str


@dataclass(frozen=True, slots=True)
class ProgramKey:
    """programSubscribe."""

    program: Pubkey
    commitment: str
    encoding: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class LogsKey:
    """logsSubscribe; `mentions` None is every transaction."""

    mentions: Pubkey | None
    commitment: str


@dataclass(frozen=True, slots=True)
class BlockKey:
    """blockSubscribe; `mentions` None is every transaction."""

    mentions: Pubkey | None
    commitment: str
    encoding: str
    details: str
    rewards: bool
    max_version: int | None


Key = SlotKey | RootKey | SlotsUpdatesKey | SignatureKey | AccountKey | ProgramKey | LogsKey | BlockKey


def _address(text: str, thing: str) -> Pubkey:
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise invalid_params(f"Invalid Request: Invalid {thing} provided") from None


def _no_params(key: Key) -> Callable[[object], Key]:
    def read(values: object) -> Key:
        Params(values, 0, 0)
        return key

    return read


def _account(values: object) -> Key:
    params = Params(values, 1, 2)
    config = params.config(1, "RpcAccountInfoConfig")
    config.data_slice()
    return AccountKey(_address(params.text(0), "pubkey"), config.commitment(), config.account_encoding())


def _program(values: object) -> Key:
    params = Params(values, 1, 2)
    config = params.config(1, "RpcProgramAccountsConfig")
    config.data_slice()
    filters = config.filters()
    program = _address(params.text(0), "pubkey")
    return ProgramKey(program, config.commitment(), config.account_encoding(), filters)


def _signature(values: object) -> Key:
    params = Params(values, 1, 2)
    config = params.config(1, "RpcSignatureSubscribeConfig")
    try:
        signature = Signature.from_string(params.text(0))
    except ValueError:
        raise invalid_params("Invalid Request: Invalid signature provided") from None
    return SignatureKey(str(signature), config.commitment(), config.flag("enableReceivedNotification"))


def _logs(values: object) -> Key:
    params = Params(values, 1, 2)
    commitment = params.config(1, "RpcTransactionLogsConfig").commitment()
    mentioned = _filter(params.get(0), ("all", "allWithVotes"), "mentions")
    if mentioned is None:
        return LogsKey(None, commitment)
    if not isinstance(mentioned, list) or not all(isinstance(item, str) for item in mentioned):
        raise invalid_params("Invalid params: invalid type: expected a sequence of strings.")
    if len(mentioned) != 1:
        raise invalid_params("Invalid Request: Only 1 address supported")
    return LogsKey(_address(mentioned[0], "mentions"), commitment)


def _block(values: object) -> Key:
    params = Params(values, 1, 2)
    mentioned = _filter(params.get(0), ("all",), "mentionsAccountOrProgram")
    config = params.config(1, "RpcBlockSubscribeConfig")
    commitment = config.commitment()
    if commitment == "processed":
        raise invalid_params("Method does not support commitment below `confirmed`")
    if mentioned is not None and not isinstance(mentioned, str):
        raise invalid_params("Invalid params: invalid type: expected a string.")
    return BlockKey(
        mentions=None if mentioned is None else _address(mentioned, "mentions_account_or_program"),
        commitment=commitment,
        encoding=config.transaction_encoding("base64"),
        details=config.variant("transactionDetails", TRANSACTION_DETAILS, "full"),
        rewards=config.flag("showRewards"),
        max_version=config.max_transaction_version(),
    )


def _filter(value: object, words: tuple[str, ...], name: str) -> Any:
    """Read a serde enum: None for one of the words, the detail of `{name: detail}` otherwise."""
    if isinstance(value, str):
        if value in words:
            return None
        known = ", ".join(f"`{word}`" for word in (*words, name))
        raise invalid_params(f"Invalid params: unknown variant `{value}`, expected one of {known}.")
    if isinstance(value, dict) and list(value) == [name]:
        return value[name]
    raise invalid_params("Invalid params: expected value of a filter: a string or a map with a single key.")


SUBSCRIBE: dict[str, Callable[[object], Key]] = {
    "accountSubscribe": _account,
    "blockSubscribe": _block,
    "logsSubscribe": _logs,
    "programSubscribe": _program,
    "rootSubscribe": _no_params(RootKey()),
    "signatureSubscribe": _signature,
    "slotSubscribe": _no_params(SlotKey()),
    "slotsUpdatesSubscribe": _no_params(SlotsUpdatesKey()),
}
UNSUBSCRIBE = frozenset(name.replace("Subscribe", "Unsubscribe") for name in SUBSCRIBE)

"""Who watches what, and which notifications each ledger event makes of it.

Owns: the book of subscriptions, the matching of ledger events to them, and the exact JSON of every
notification. Rules: equal parameters are one subscription with one id for all connections, as in Agave; a
notification is built once, whoever receives it. Must not know: sockets, queues, connections.

Shapes and quirks are Agave's (rpc/src/rpc_pubsub.rs, rpc_subscriptions.rs):
- `signatureSubscribe` ends itself with the processed result; `receivedSignature` does not end it. A
  signature that reached its level before the subscription is reported at the next slot of that level.
- A closed account is reported as an empty one of the system program.
Different on purpose: at `processed` a transaction is reported when it has run, not when its slot is frozen,
and an account only when it has changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from solders.account import Account
from solders.pubkey import Pubkey
from solders.transaction import Legacy

from . import events
from .encoding import encode_account
from .errors import RpcError
from .subscription_params import (
    AccountKey,
    BlockKey,
    Key,
    LogsKey,
    ProgramKey,
    RootKey,
    SignatureKey,
    SlotKey,
    SlotsUpdatesKey,
)
from .transaction_encoding import encode_block

if TYPE_CHECKING:
    from .blocks import Block, TransactionRecord
    from .ledger import Ledger

Json = Any
_CLOSED = Account(0, b"", Pubkey.default(), False, 0)
_TOO_LONG = "error: data too large for bs58 encoding"


_METHODS: dict[type[Key], str] = {
    SlotKey: "slotNotification",
    RootKey: "rootNotification",
    SlotsUpdatesKey: "slotsUpdatesNotification",
    SignatureKey: "signatureNotification",
    AccountKey: "accountNotification",
    ProgramKey: "programNotification",
    LogsKey: "logsNotification",
    BlockKey: "blockNotification",
}


@dataclass(slots=True, eq=False)
class Subscription:
    """One set of parameters that at least one connection subscribed to."""

    id: int
    key: Key
    holders: int = 0
    last: Account | None = None  # what an account subscription reported last
    late: bool = False  # a signature that had reached its level before it was subscribed to

    def frame(self, result: Json) -> str:
        """The notification as it goes over the wire."""
        params = {"result": result, "subscription": self.id}
        return msgspec.json.encode(
            {"jsonrpc": "2.0", "method": _METHODS[type(self.key)], "params": params}
        ).decode()


@dataclass(frozen=True, slots=True)
class Notification:
    """What one subscription has to be told; `final` ends it."""

    subscription: Subscription
    result: Json
    final: bool = False


class Book:
    """All live subscriptions, found by what they watch."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._next_id = 0
        self._all: dict[Key, Subscription] = {}
        self._by_kind: dict[type[Key], dict[int, Subscription]] = {kind: {} for kind in _METHODS}
        self._by_signature: dict[str, list[Subscription]] = {}
        self._by_address: dict[Pubkey, list[Subscription]] = {}

    def hold(self, key: Key) -> Subscription:
        """The subscription of these parameters, made if there is none, with one holder more."""
        subscription = self._all.get(key)
        if subscription is None:
            subscription = self._all[key] = Subscription(self._next_id, key)
            self._next_id += 1
            self._by_kind[type(key)][subscription.id] = subscription
            if isinstance(key, SignatureKey):
                self._by_signature.setdefault(key.signature, []).append(subscription)
                record = self._ledger.transaction(key.signature)
                subscription.late = record is not None and record.slot <= self._ledger.slot_at(key.commitment)
            elif isinstance(key, AccountKey):
                self._by_address.setdefault(key.address, []).append(subscription)
                slot = self._ledger.slot_at(key.commitment)
                subscription.last = self._ledger.account_at(key.address, slot)
        subscription.holders += 1
        return subscription

    def release(self, subscription: Subscription) -> None:
        """One holder less; the last one takes the subscription along."""
        subscription.holders -= 1
        if subscription.holders > 0:
            return
        key = subscription.key
        del self._all[key]
        del self._by_kind[type(key)][subscription.id]
        if isinstance(key, SignatureKey):
            _drop(self._by_signature, key.signature, subscription)
        elif isinstance(key, AccountKey):
            _drop(self._by_address, key.address, subscription)

    # --- events

    def notifications(self, event: events.Event) -> Iterator[Notification]:
        """What subscribers have to be told of an event, in order."""
        match event:
            case events.SlotOpened():
                yield from self._slot_opened(event)
            case events.SignatureReceived():
                yield from self._received(event)
            case events.TransactionProcessed():
                yield from self._processed(event)
            case events.AccountOverwritten():
                yield from self._accounts_changed(
                    [Pubkey.from_string(event.address)], event.slot, "processed"
                )
            case events.BlockProduced():
                yield from self._progress(event.slot, "frozen", stats=_stats(event.block))
            case events.SlotConfirmed():
                yield from self._progress(event.slot, "optimisticConfirmation")
                yield from self._block_reached(event.block, "confirmed")
            case events.SlotRooted():
                yield from self._root(event)
            case events.ForkAbandoned():
                yield from self._abandoned(event)

    def _slot_opened(self, event: events.SlotOpened) -> Iterator[Notification]:
        info = {"parent": event.parent, "root": event.root, "slot": event.slot}
        yield from self._tell(SlotKey, info)
        yield from self._progress(event.slot, "createdBank", parent=event.parent)
        yield from self._late_signatures(event.slot, "processed")

    def _received(self, event: events.SignatureReceived) -> Iterator[Notification]:
        for subscription in self._by_signature.get(event.signature, ()):
            if isinstance(subscription.key, SignatureKey) and subscription.key.received:
                yield Notification(subscription, _in_context(event.slot, "receivedSignature"))

    def _processed(self, event: events.TransactionProcessed) -> Iterator[Notification]:
        record = event.transaction
        yield from self._transaction_reached(record, event.slot, "processed")
        yield from self._accounts_changed(record.writable_keys, event.slot, "processed")

    def _root(self, event: events.SlotRooted) -> Iterator[Notification]:
        yield from self._tell(RootKey, event.slot)
        yield from self._progress(event.slot, "root")
        yield from self._block_reached(event.block, "finalized")

    def _abandoned(self, event: events.ForkAbandoned) -> Iterator[Notification]:
        """Dead slots, and accounts that are what they were before the fork."""
        for block in event.blocks:
            yield from self._progress(block.slot, "dead", err="fork abandoned")
        touched = {key for block in event.blocks for key in block.written}
        touched.update(key for record in event.open_transactions for key in record.writable_keys)
        ordered = sorted(touched, key=bytes)
        yield from self._accounts_changed(ordered, self._ledger.slot_at("processed"), "processed")
        for address in ordered:
            yield from self._account_changed(address, self._ledger.slot_at("confirmed"), "confirmed")

    def _block_reached(self, block: Block, commitment: str) -> Iterator[Notification]:
        yield from self._late_signatures(block.slot, commitment)
        for record in block.transactions:
            yield from self._transaction_reached(record, block.slot, commitment)
        changed = [
            key for key, before in block.written.items() if self._ledger.account_at(key, block.slot) != before
        ]
        yield from self._accounts_changed(changed, block.slot, commitment)
        for subscription in list(self._by_kind[BlockKey].values()):
            if isinstance(subscription.key, BlockKey) and subscription.key.commitment == commitment:
                yield from _block_update(subscription, subscription.key, block)

    # --- what happened to signatures and accounts

    def _transaction_reached(
        self, record: TransactionRecord, slot: int, commitment: str
    ) -> Iterator[Notification]:
        for subscription in list(self._by_signature.get(record.signature, ())):
            key = subscription.key
            if isinstance(key, SignatureKey) and key.commitment == commitment:
                yield Notification(subscription, _in_context(slot, {"err": record.err}), final=True)
        for subscription in list(self._by_kind[LogsKey].values()):
            key = subscription.key
            if not isinstance(key, LogsKey) or key.commitment != commitment:
                continue
            if key.mentions is None or key.mentions in record.account_keys:
                value = {"signature": record.signature, "err": record.err, "logs": list(record.logs)}
                yield Notification(subscription, _in_context(slot, value))

    def _late_signatures(self, slot: int, commitment: str) -> Iterator[Notification]:
        """Signatures that had reached their level before the subscription."""
        for subscription in list(self._by_kind[SignatureKey].values()):
            key = subscription.key
            if not subscription.late or not isinstance(key, SignatureKey) or key.commitment != commitment:
                continue
            record = self._ledger.transaction(key.signature)
            if record is not None:
                yield Notification(subscription, _in_context(slot, {"err": record.err}), final=True)

    def _accounts_changed(
        self, addresses: Iterable[Pubkey], slot: int, commitment: str
    ) -> Iterator[Notification]:
        programs = [
            (subscription, key)
            for subscription in self._by_kind[ProgramKey].values()
            if isinstance(key := subscription.key, ProgramKey) and key.commitment == commitment
        ]
        for address in addresses:
            yield from self._account_changed(address, slot, commitment)
            account = self._ledger.account_at(address, slot) if programs else None
            if account is None:
                continue
            for subscription, program in programs:
                if account.owner != program.program or not all(f.allows(account) for f in program.filters):
                    continue
                value = {"account": self._account(address, account, program, slot), "pubkey": str(address)}
                yield Notification(subscription, _in_context(slot, value))

    def _account_changed(self, address: Pubkey, slot: int, commitment: str) -> Iterator[Notification]:
        """Tell the subscribers of one account, each only what it was not told before."""
        for subscription in list(self._by_address.get(address, ())):
            key = subscription.key
            if not isinstance(key, AccountKey) or key.commitment != commitment:
                continue
            account = self._ledger.account_at(address, slot)
            if account == subscription.last:
                continue
            subscription.last = account
            value = self._account(address, account, key, slot)
            yield Notification(subscription, _in_context(slot, value))

    def _account(
        self, address: Pubkey, account: Account | None, key: AccountKey | ProgramKey, slot: int
    ) -> Json:
        account = account or _CLOSED
        try:
            return encode_account(
                account, key.encoding, None, lambda mint: self._ledger.account_at(mint, slot), key=address
            )
        except RpcError:
            # a request for so much base58 is refused; a notification has nobody to refuse and says so in
            # the data
            body = encode_account(account, "base64", None, lambda mint: None)
            return body | {"data": _TOO_LONG if key.encoding == "binary" else [_TOO_LONG, "base58"]}

    def _tell(self, kind: type[Key], result: Json) -> Iterator[Notification]:
        for subscription in self._by_kind[kind].values():
            yield Notification(subscription, result)

    def _progress(self, slot: int, what: str, **more: Json) -> Iterator[Notification]:
        if self._by_kind[SlotsUpdatesKey]:
            stamp = {"slot": slot, "timestamp": time.time_ns() // 1_000_000, "type": what}
            yield from self._tell(SlotsUpdatesKey, stamp | more)


def _block_update(subscription: Subscription, key: BlockKey, block: Block) -> Iterator[Notification]:
    """The block with the transactions that the subscriber asked for; nothing if none of them is in it."""
    if key.mentions is not None:
        mentioning = [record for record in block.transactions if key.mentions in record.account_keys]
        if not mentioning:
            return
        block = replace(block, transactions=mentioning)
    update: Json = {"slot": block.slot, "block": None, "err": None}
    try:
        update["block"] = encode_block(
            block,
            encoding=key.encoding,
            transaction_details=key.details,
            rewards=key.rewards,
            max_version=key.max_version,
        )
    except RpcError:
        update["err"] = {"UnsupportedTransactionVersion": _newest_version(block)}
    yield Notification(subscription, _in_context(block.slot, update))


def _newest_version(block: Block) -> int:
    versions = (record.transaction.version() for record in block.transactions)
    return max(int(version) for version in versions if version != Legacy.Legacy)


def _drop(index: dict[Any, list[Subscription]], name: object, subscription: Subscription) -> None:
    index[name].remove(subscription)
    if not index[name]:
        del index[name]


def _in_context(slot: int, value: Json) -> Json:
    return {"context": {"slot": slot}, "value": value}


def _stats(block: Block) -> Json:
    failed = sum(record.err is not None for record in block.transactions)
    return {
        "numTransactionEntries": len(block.transactions),
        "numSuccessfulTransactions": len(block.transactions) - failed,
        "numFailedTransactions": failed,
        "maxTransactionsPerEntry": 1 if block.transactions else 0,
    }

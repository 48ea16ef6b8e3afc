"""What the daemon and its proof worker say to each other: msgpack, each message behind its length.

Theory of operation of one conversation, the daemon's lines on the left:

    Prove(snapshot, keys)  ->
    Rows ...               ->
                           <-  Challenges      the epoch is fixed in memory; each reserve owner signs
    Signatures             ->
                           <-  Progress ...    for the log
                           <-  Proved          body and secret are in the folder, durable, under their hash
    Seal(header, signature)->                  only after the database holds the hash for ever
                           <-  Sealed          the bundle is in the folder, its sums checked
    Record(customer)       ->                  any number, until the worker is closed
                           <-  Made | Failed

`Load` replaces the first four lines when the epoch was proved before a restart. Rules: secrets go through the
pipe only, never through arguments, the environment or a log. Must not know how anything is computed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from daemon.proof.balances import OwnedRow, Picture

LENGTH_BYTES: Final = 8


class Message(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Base of all messages."""


class AssetTerms(msgspec.Struct, array_like=True, frozen=True):
    """An asset as the bundle names it."""

    symbol: str
    identity: bytes
    decimals: int
    price_e8: int
    weight_ppm: int


class Reserve(msgspec.Struct, array_like=True, frozen=True):
    """A `solvency.model.Holding`."""

    symbol: str
    account: bytes
    owner: bytes
    units: int


class Rows(Message, frozen=True):
    """A part of the picture, so that no message keeps the daemon busy for long."""

    rows: list[OwnedRow]


class Prove(Message, frozen=True):
    """Begin an epoch; the picture's rows come in `row_messages` messages after it.

    `ids` gives the customer's id of a subaccount. It shows no field in its repr: it holds the master secret.
    """

    epoch: int
    previous_hash: bytes
    slot: int
    assets: list[AssetTerms]
    picture: Picture
    ids: dict[str, str]
    set_aside: dict[str, int]
    reserves: list[Reserve]
    operator: bytes
    master: bytes
    folder: str
    workers: int
    row_messages: int

    def __repr__(self) -> str:
        return f"Prove(epoch={self.epoch})"


class Challenges(Message, frozen=True):
    """What the owners of the reserves must sign: (owner, text), in order."""

    texts: list[tuple[bytes, bytes]]


class Signatures(Message, frozen=True):
    """The answers, in the same order."""

    signatures: list[bytes]


class Progress(Message, frozen=True):
    """How far the work is."""

    stage: str
    done: int
    total: int


class Proved(Message, frozen=True):
    """The header is fixed; body and secret are durable under its hash."""

    header: bytes
    operator_message: bytes
    memo: str


class Seal(Message, frozen=True):
    """Put head and body together."""

    epoch: int
    header: bytes
    signature: bytes
    folder: str


class Sealed(Message, frozen=True):
    """The bundle is durable."""

    size: int


class Load(Message, frozen=True):
    """Open a proved epoch from its secret file."""

    path: str


class Loaded(Message, frozen=True):
    """Records can be asked for."""


class Record(Message, frozen=True):
    """Ask for a customer's record."""

    customer_id: str


class Made(Message, frozen=True):
    """The record; empty if the customer has no balance in this epoch."""

    record: bytes


class Failed(Message, frozen=True):
    """It could not be done; `kind` is the exception's name."""

    kind: str
    why: str


Question = Prove | Rows | Signatures | Seal | Load | Record
Answer = Challenges | Progress | Proved | Sealed | Loaded | Made | Failed


def encode(message: Message) -> bytes:
    """Write a message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_question(body: bytes) -> Question:
    """Read what the daemon says."""
    question: Question = msgspec.msgpack.decode(body, type=Question)
    return question


def decode_answer(body: bytes) -> Answer:
    """Read what the worker says."""
    answer: Answer = msgspec.msgpack.decode(body, type=Answer)
    return answer

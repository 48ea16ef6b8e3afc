"""What can go wrong between us and Solana, and whether trying again is safe.

Owns the exception tree of the package. Every error answers one question for its catcher: `retry_safe`,
whether the same call may be made again without a second effect on chain and with a chance of another
answer. Must not know endpoints, blocks or keys; it only names what happened.

    ChainError
    ├── TransportError            no usable answer: connection, timeout, 429, HTML, empty or oversized body
    │   └── Throttled             429 or "slow down": carries how long the node asked us to wait
    ├── RpcError                  the node answered with an error object (code, message, data)
    │   ├── BlockNotAvailable     -32004, -32007, -32009: proves nothing, see D2
    │   ├── BlockCleanedUp        -32001: an older or an archive node has it
    │   ├── NodeBehind            -32005, -32014, -32016: wait or ask another node
    │   └── UnsupportedVersion    -32015: raise the configured transaction version
    ├── WrongGenesis              the endpoint serves another chain than the configured one
    ├── BlockUnreadable           a block body we refuse to interpret; scanning halts (D5)
    ├── EndpointsDisagree         two nodes gave different answers about finalized facts (D9)
    │   └── CheckpointContradicted  a node's chain does not contain the block that we committed (D2)
    ├── TransactionFailed         landed with an error: it cost a fee and did nothing else
    ├── TransactionExpired        proven dead: new bytes may be signed (W3)
    └── OutcomeUnknown            sent, and nobody can say yet whether it landed (W3: manual review)
"""

from __future__ import annotations

from typing import ClassVar


class ChainError(Exception):
    """Base of every failure of the chain side; `retry_safe` says whether the same call may be repeated."""

    retry_safe: ClassVar[bool] = False


class TransportError(ChainError):
    """No usable answer arrived; the request was a read or can be repeated without a second effect."""

    retry_safe = True

    def __init__(self, message: str, *, endpoint: str = "", body_excerpt: str = "") -> None:
        super().__init__(message if not endpoint else f"{endpoint}: {message}")
        self.endpoint = endpoint
        self.body_excerpt = body_excerpt


class Throttled(TransportError):
    """The node asked us to slow down; `retry_after_s` is its wish, or None where it gave none."""

    def __init__(self, message: str, *, endpoint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, endpoint=endpoint)
        self.retry_after_s = retry_after_s


class RpcError(ChainError):
    """The node answered with an error object; the request is at fault unless a subclass says more."""

    def __init__(self, code: int, message: str, data: object = None, *, endpoint: str = "") -> None:
        where = f"{endpoint}: " if endpoint else ""
        super().__init__(f"{where}{message} (code {code})")
        self.code = code
        self.message = message
        self.data = data
        self.endpoint = endpoint


class BlockNotAvailable(RpcError):
    """The node has no block for the slot; whether the slot was skipped or lost is not proven by this (D2)."""

    retry_safe = True


class BlockCleanedUp(RpcError):
    """The node no longer keeps the block; an archive node may."""

    retry_safe = True


class NodeBehind(RpcError):
    """The node has not reached the slot asked for, or lags behind the cluster."""

    retry_safe = True


class UnsupportedVersion(RpcError):
    """The block holds a newer transaction version than we allowed; the configured version must be raised."""


class WrongGenesis(ChainError):
    """An endpoint serves another chain; names both hashes, because mixing clusters loses money."""

    def __init__(self, endpoint: str, expected: str, found: str) -> None:
        super().__init__(f"{endpoint} serves genesis {found}, but {expected} is expected")
        self.endpoint = endpoint
        self.expected = expected
        self.found = found


class BlockUnreadable(ChainError):
    """A block body we refuse to interpret; asking another node is safe, skipping the block is not (D5)."""

    retry_safe = True

    def __init__(self, slot: int, why: str) -> None:
        super().__init__(f"block {slot} cannot be read: {why}")
        self.slot = slot
        self.why = why


class EndpointsDisagree(ChainError):
    """Two nodes gave different answers about the same finalized fact."""

    retry_safe = True


class CheckpointContradicted(EndpointsDisagree):
    """A node gave a block that does not descend from the checkpoint."""


class TransactionFailed(ChainError):
    """The transaction landed with an error; `err` is the node's JSON for it, never interpreted."""

    def __init__(self, signature: str, err: object, logs: tuple[str, ...] = ()) -> None:
        super().__init__(f"transaction {signature} failed: {err}")
        self.signature = signature
        self.err = err
        self.logs = logs


class TransactionExpired(ChainError):
    """The transaction can never land any more; signing new bytes is safe."""

    retry_safe = True

    def __init__(self, signature: str, last_valid_block_height: int) -> None:
        super().__init__(
            f"transaction {signature} expired: its last valid block height {last_valid_block_height} is final"
        )
        self.signature = signature
        self.last_valid_block_height = last_valid_block_height


class OutcomeUnknown(ChainError):
    """Something was sent and its fate is not known; only a look at the chain may decide, never a retry."""

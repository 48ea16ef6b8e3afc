"""The exception tree: every error says whether a retry is safe, and the docstring draws the real tree."""

from __future__ import annotations

import inspect
import re

import pytest

from chain import errors
from chain.errors import ChainError

RETRY_SAFE = {
    "ChainError": False,
    "TransportError": True,
    "Throttled": True,
    "RpcError": False,
    "BlockNotAvailable": True,
    "BlockCleanedUp": True,
    "NodeBehind": True,
    "UnsupportedVersion": False,
    "WrongGenesis": False,
    "BlockUnreadable": True,
    "EndpointsDisagree": True,
    "CheckpointContradicted": True,
    "TransactionFailed": False,
    "TransactionExpired": True,
    "OutcomeUnknown": False,
}


def classes() -> dict[str, type[ChainError]]:
    return {
        name: found
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, ChainError)
    }


def test_every_error_has_a_row_that_says_whether_a_retry_is_safe() -> None:
    assert {name: found.retry_safe for name, found in classes().items()} == RETRY_SAFE


def test_the_drawn_tree_is_the_real_tree() -> None:
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([ │├└─]*)([A-Z]\w+)", line)
        if match is None:
            continue
        depth, name = len(match.group(1)), match.group(2)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        drawn[name] = stack[-1][1] if stack else "Exception"
        stack.append((depth, name))
    assert drawn == {name: found.__bases__[0].__name__ for name, found in classes().items()}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.RpcError(-32602, "bad", endpoint="a"), "a: bad (code -32602)"),
        (errors.TransportError("timed out", endpoint="a"), "a: timed out"),
        (errors.WrongGenesis("a", "X", "Y"), "a serves genesis Y, but X is expected"),
        (errors.BlockUnreadable(7, "cut"), "block 7 cannot be read: cut"),
        (errors.TransactionFailed("sig", {"Custom": 1}), "transaction sig failed: {'Custom': 1}"),
        (
            errors.TransactionExpired("sig", 9),
            "transaction sig expired: its last valid block height 9 is final",
        ),
    ],
)
def test_errors_read_as_sentences(error: ChainError, text: str) -> None:
    assert str(error) == text

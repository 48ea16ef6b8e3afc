"""The state of token accounts as the chain holds it now: which are frozen.

Owns one small read. A freeze moves no balance, so a block cannot show it; a touched account is looked up.
Must not decide what a frozen account means.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from chain.rpc import RpcPool

_STATE_OFFSET: Final = 108  # mint 32, owner 32, amount 8, delegate 4 + 32: the state byte is next
_FROZEN: Final = 2
_LARGEST_BATCH: Final = 100  # getMultipleAccounts takes no more


class _AccountInfo(msgspec.Struct):
    data: tuple[str, str]


class _Accounts(msgspec.Struct):
    value: list[_AccountInfo | None]


async def frozen_accounts(pool: RpcPool, accounts: Sequence[str]) -> frozenset[str]:
    """Return those token accounts that are frozen at finalized; absent ones are not. Raises ChainError."""
    frozen = set()
    for start in range(0, len(accounts), _LARGEST_BATCH):
        batch = list(accounts[start : start + _LARGEST_BATCH])
        options = {"encoding": "base64", "commitment": "finalized"}
        answer = await pool.call("getMultipleAccounts", [batch, options], type=_Accounts)
        for account, info in zip(batch, answer.value, strict=False):
            data = base64.b64decode(info.data[0]) if info is not None else b""
            if len(data) > _STATE_OFFSET and data[_STATE_OFFSET] == _FROZEN:
                frozen.add(account)
    return frozenset(frozen)

"""An embedded Solana for tests and demos: LiteSVM executes, JSON-RPC and WebSocket serve wallets.

    from localnet import Validator

    with Validator(rpc_port=0, ws_port=0) as v:
        print(v.rpc_url)

Owns: the package's front door. Rules: importing it costs nothing; `Validator` is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .validator import Endpoint, Mint, Validator

__all__ = ["Endpoint", "Mint", "Validator"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from . import validator

        return getattr(validator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

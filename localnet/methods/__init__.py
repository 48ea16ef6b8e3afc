"""The JSON-RPC methods, by topic. Importing this package fills the table.

Owns: nothing but the list of topics. Must not know: HTTP.
"""

from . import accounts, blocks, cluster, signatures, tokens, transactions
from .registry import API_VERSION, METHODS, Method, Node

__all__ = [
    "API_VERSION",
    "METHODS",
    "Method",
    "Node",
    "accounts",
    "blocks",
    "cluster",
    "signatures",
    "tokens",
    "transactions",
]

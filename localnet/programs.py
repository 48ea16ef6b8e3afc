"""Addresses of the programs and sysvars that the local cluster knows by name.

Owns: the constants. Rules: nothing is computed here. Must not know: the ledger, JSON.
"""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey


def _key(text: str) -> Pubkey:
    return Pubkey.from_string(text)


SYSTEM: Final = _key("11111111111111111111111111111111")
TOKEN: Final = _key("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = _key("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN: Final = _key("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
MEMO: Final = _key("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_V1: Final = _key("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
COMPUTE_BUDGET: Final = _key("ComputeBudget111111111111111111111111111111")
ADDRESS_LOOKUP_TABLE: Final = _key("AddressLookupTab1e1111111111111111111111111")
NATIVE_LOADER: Final = _key("NativeLoader1111111111111111111111111111111")
BPF_LOADER: Final = _key("BPFLoader2111111111111111111111111111111111")
BPF_LOADER_DEPRECATED: Final = _key("BPFLoader1111111111111111111111111111111111")
BPF_LOADER_UPGRADEABLE: Final = _key("BPFLoaderUpgradeab1e11111111111111111111111")
LOADER_V4: Final = _key("LoaderV411111111111111111111111111111111111")
CONFIG: Final = _key("Config1111111111111111111111111111111111111")
FEATURE: Final = _key("Feature111111111111111111111111111111111111")
STAKE: Final = _key("Stake11111111111111111111111111111111111111")
VOTE: Final = _key("Vote111111111111111111111111111111111111111")
ED25519: Final = _key("Ed25519SigVerify111111111111111111111111111")
SECP256K1: Final = _key("KeccakSecp256k11111111111111111111111111111")
SECP256R1: Final = _key("Secp256r1SigVerify1111111111111111111111111")
SYSVAR_OWNER: Final = _key("Sysvar1111111111111111111111111111111111111")

SYSVAR_CLOCK: Final = _key("SysvarC1ock11111111111111111111111111111111")
SYSVAR_RECENT_BLOCKHASHES: Final = _key("SysvarRecentB1ockHashes11111111111111111111")
SYSVAR_SLOT_HASHES: Final = _key("SysvarS1otHashes111111111111111111111111111")

NATIVE_MINT: Final = _key("So11111111111111111111111111111111111111112")
NATIVE_MINT_2022: Final = _key("9pan9bMn5HatX4EJdBwg9VgCa7Uz5HL8N1m5D3NdXej9")

TOKEN_PROGRAMS: Final = frozenset({TOKEN, TOKEN_2022})
PRECOMPILES: Final = frozenset({ED25519, SECP256K1, SECP256R1})
MEMO_PROGRAMS: Final = frozenset({MEMO, MEMO_V1})

# Accounts that a message can name as writable but that the runtime never lets a transaction write.
RESERVED: Final = frozenset(
    {
        SYSTEM,
        CONFIG,
        FEATURE,
        STAKE,
        VOTE,
        COMPUTE_BUDGET,
        ADDRESS_LOOKUP_TABLE,
        ED25519,
        SECP256K1,
        SECP256R1,
        NATIVE_LOADER,
        BPF_LOADER,
        BPF_LOADER_DEPRECATED,
        BPF_LOADER_UPGRADEABLE,
        LOADER_V4,
        SYSVAR_OWNER,
        SYSVAR_CLOCK,
        SYSVAR_RECENT_BLOCKHASHES,
        SYSVAR_SLOT_HASHES,
        _key("StakeConfig11111111111111111111111111111111"),
        _key("SysvarEpochRewards1111111111111111111111111"),
        _key("SysvarEpochSchedu1e111111111111111111111111"),
        _key("SysvarFees111111111111111111111111111111111"),
        _key("Sysvar1nstructions1111111111111111111111111"),
        _key("SysvarLastRestartS1ot1111111111111111111111"),
        _key("SysvarRent111111111111111111111111111111111"),
        _key("SysvarRewards111111111111111111111111111111"),
        _key("SysvarS1otHistory11111111111111111111111111"),
        _key("SysvarStakeHistory1111111111111111111111111"),
    }
)
# Owners of every account that exists before the first transaction; used to count the supply.
BOOT_OWNERS: Final = (
    SYSTEM,
    NATIVE_LOADER,
    BPF_LOADER,
    BPF_LOADER_DEPRECATED,
    BPF_LOADER_UPGRADEABLE,
    SYSVAR_OWNER,
    FEATURE,
    CONFIG,
)

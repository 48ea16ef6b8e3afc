"""Names and scales of every number in the engine; identifiers of subaccounts and their canonical order.

Owns: scales (R1), limits on numbers that may enter, the spelling of subaccount identifiers. Must not know
balances or rules. A name's last word is its unit: `_units` (base units of an asset), `_usd6` (micro-dollars;
one USDC unit is one usd6), `_e8` (USD x 10^8 per whole token), `_ppm`, `_ns` since the epoch.
"""

from __future__ import annotations

from typing import Final

# Bumped by every change of rules or encodings: it is part of the genesis hash and of every state hash (R5).
ENGINE_VERSION: Final = 2

SubaccountId = str
OrderKey = tuple[int, int, int, str]

PPM: Final = 1_000_000
# The scale of indices (R1): an index of 10^18 is one unit per share.
E18: Final = 10**18
# A year of 365 days, for interest rates (R9).
YEAR_NS: Final = 365 * 24 * 3_600 * 10**9
NS_PER_SECOND: Final = 1_000_000_000
NS_PER_HOUR: Final = 3_600 * NS_PER_SECOND
SETTLEMENT_ASSET: Final = "USDC"
NETWORK_FEE_ASSET: Final = "SOL"

# One token account on chain holds at most a u64; nothing larger can be a true deposit or withdrawal.
MAX_UNITS: Final = 2**64 - 1
# $10 billion per whole token. Together with MAX_UNITS this bounds every product the engine ever forms.
MAX_PRICE_E8: Final = 10**18
# Signed 64-bit nanoseconds last until the year 2262.
MAX_TIME_NS: Final = 2**63 - 1
MAX_ACCOUNT: Final = 2**31 - 1
MAX_TEXT_LENGTH: Final = 256

INSURANCE_FUND: Final = "insurance_fund"
SETTLEMENT_POOL: Final = "settlement_pool"
FEES: Final = "fees"
ROUNDING: Final = "rounding"
LENDING_POOL: Final = "lending_pool"
SYSTEM_ACCOUNTS: Final = (FEES, INSURANCE_FUND, LENDING_POOL, ROUNDING, SETTLEMENT_POOL)
# Operator capital may be deposited to these; the others only ever hold what the rules post to them.
OPERATOR_ACCOUNTS: Final = (FEES, INSURANCE_FUND)


def order_key(subaccount: SubaccountId) -> OrderKey | None:
    """Give the canonical sort key: customers by (account, index), then system accounts by name.

    None when the text names no subaccount: not a system account and not "account/index" in decimal without
    leading zeros, each at most 2^31 - 1 (the hardened range of a key derivation path).
    """
    if subaccount in SYSTEM_ACCOUNTS:
        return (1, 0, 0, subaccount)
    account, slash, index = subaccount.partition("/")
    if not slash or not _is_plain_number(account) or not _is_plain_number(index):
        return None
    return (0, int(account), int(index), "")


def same_account(first: SubaccountId, second: SubaccountId) -> bool:
    """Tell whether two customer subaccounts belong to one customer account."""
    return first.partition("/")[0] == second.partition("/")[0]


def is_text(text: str, *, may_be_empty: bool = False) -> bool:
    """Tell whether a text may enter the journal: printable ASCII of at most 256 characters.

    ASCII only, because two different strings of lone surrogates can have one JSON spelling, and the journal's
    encoding has to be injective.
    """
    return (
        len(text) <= MAX_TEXT_LENGTH
        and text.isascii()
        and text.isprintable()
        and (may_be_empty or text != "")
    )


def _is_plain_number(text: str) -> bool:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or (text[0] == "0" and text != "0"):
        return False
    return int(text) <= MAX_ACCOUNT

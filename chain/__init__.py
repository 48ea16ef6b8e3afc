"""Solana, as seen by somebody who takes deposits and pays withdrawals.

Owns everything that speaks to nodes: lamports, signatures, blocks. Knows nothing of margin, customers or
databases. Start with `chain.watcher` (deposits as an async iterator) and `chain.payer` (payouts that land
once). This file imports nothing, so that `chain.anchor` loads with an older pair of libraries, too.
"""

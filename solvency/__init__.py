"""Proof of solvency: balances in, bundle out (docs/SOLVENCY.md).

Owns: commitments, range proofs, sum trees, margin proofs of debtors, the bundle and the customer's record,
their verifier and their summary. Rules: everything a verifier believes is checked by `verifier.py`, which
imports nothing of ours; the prover takes constants and encodings from there, never the reverse. Must not
know the engine, a chain, a database or a clock.
"""

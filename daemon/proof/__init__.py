"""Proof of solvency: from the ledger and the chain to a published bundle (docs/SOLVENCY.md).

Owns: what of the state counts as owed (`balances`), when an epoch is made and what survives a crash
(`service`), the worker process that computes (`worker`, `workshop`), the folder of files (`files`), and what
somebody can check against the chain (`checking`). The cryptography is `solvency`'s, which knows none of this.
"""

"""Deterministic margin engine: one door (`engine.apply.apply`), integers only, no I/O, no clock.

Standard library only. docs/RULES.md states every rule (R...) and invariant (I...) cited in this package.
"""

"""A mutation fuzzer over valid bundles and records: nothing that is changed is accepted."""

from __future__ import annotations

import os

import pytest

from tests.solvency import mutants

SEED = int(os.environ.get("SOLVENCY_SEED", "20240607"))
ROUNDS = int(os.environ.get("SOLVENCY_ROUNDS", "150"))


def accepted(cases: list[mutants.Mutant]) -> list[str]:
    print(f"SOLVENCY_SEED={SEED}, {len(cases)} mutants")
    assert cases
    return [case.name for case in cases if mutants.judge(case) == "valid"]


def test_no_changed_byte_is_accepted() -> None:
    assert accepted(list(mutants.byte_mutants(SEED, ROUNDS))) == []


def test_no_changed_byte_of_a_debtor_is_accepted() -> None:
    assert accepted(list(mutants.proof_mutants(SEED, ROUNDS))) == []


def test_no_changed_field_is_accepted() -> None:
    """The operator changes one field, keeps every proof, and signs."""
    assert accepted(list(mutants.field_mutants())) == []


def test_no_changed_record_is_accepted() -> None:
    assert accepted(list(mutants.record_mutants(SEED, ROUNDS // 3))) == []


@pytest.mark.parametrize("customer_id", ["1/0", "11/0"])
def test_the_unchanged_ones_are_accepted(customer_id: str) -> None:
    """The fuzzer's own check: what it starts from is valid, so a refusal is due to the change."""
    epoch, bundle = mutants.forge.honest()
    assert mutants.judge(mutants.Mutant("bundle", bundle)) == "valid"
    record = epoch.record(customer_id)
    assert mutants.judge(mutants.Mutant("record", bundle, record, customer_id)) == "valid"

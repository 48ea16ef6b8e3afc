"""Fault scripts: drawn from a seed, printed, parsed, played slot by slot."""

from __future__ import annotations

import pytest

from localnet.fault_script import CHAIN, FaultPlayer, FaultScript, Step, parse_fault
from localnet.faults import CHAIN_KINDS, Fault, FaultKind, Faults


@pytest.mark.parametrize("seed", range(40))
def test_a_printed_script_parses_to_itself(seed: int) -> None:
    script = FaultScript.random(seed, faults=60, endpoints=("main", "b.1"), reorg_depth=3)
    assert len(script.steps) == 60
    assert FaultScript.parse(str(script)) == script


def test_a_seed_gives_the_same_script_again_and_another_seed_another() -> None:
    assert FaultScript.random(5) == FaultScript.random(5)
    assert FaultScript.random(5) != FaultScript.random(6)


def test_every_kind_but_errors_and_padding_is_drawn() -> None:
    drawn = {step.fault.kind for step in FaultScript.random(1, faults=2_000).steps}
    assert set(FaultKind) - drawn == {FaultKind.ERROR, FaultKind.OVERSIZE}


def test_kinds_and_endpoints_can_be_limited() -> None:
    script = FaultScript.random(3, kinds=[FaultKind.LAG, FaultKind.SKIP], endpoints=["b"], slots=10)
    assert {(step.fault.kind, step.endpoint) for step in script.steps} == {
        (FaultKind.LAG, "b"),
        (FaultKind.SKIP, CHAIN),
    }
    assert all(step.at < 10 for step in script.steps)


def test_the_text_form_by_hand() -> None:
    script = FaultScript.parse(
        """
        # a comment
        at 9 chain: reorg slots=1 text=keep
        at 3 main: throttle methods=getBlock,getSlot times=2 retry_after_s=1 status=429
        at 5 for 10 b: lag slots=8
        at 6 main: error code=-32005 text='Node is behind by 5 slots'
        """
    )
    assert [step.at for step in script.steps] == [3, 5, 6, 9]
    throttle = Fault(FaultKind.THROTTLE, ("getBlock", "getSlot"), times=2, retry_after_s=1, status=429)
    assert script.steps[0] == Step(3, "main", throttle)
    assert script.steps[2].fault.text == "Node is behind by 5 slots"
    assert script.steps[2].fault.code == -32005
    assert script.last_slot == 15
    assert FaultScript.parse(str(script)) == script


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("whenever main: drop", "line 1: not a step: 'whenever main: drop'"),
        ("at 1 main: explode", "line 1: unknown fault 'explode'"),
        ("at 1 main: drop often=yes", "line 1: unknown field 'often=yes' of fault 'drop'"),
        ("at 1 main: drop times=many", "line 1: invalid literal for int"),
        ("at 1 main: reorg slots=1", "faults of the chain, and only those, belong to 'chain'"),
        ("at 1 chain: drop", "faults of the chain, and only those, belong to 'chain'"),
    ],
)
def test_a_bad_line_is_named(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", "\\(")):
        FaultScript.parse(line)


def test_every_fault_prints_as_it_is_read() -> None:
    for kind in FaultKind:
        fault = Fault(kind, ("getSlot",), 2, 1, 3, (4, 5), 6, 7, 8, -9, 10, "a text 'with' quotes")
        assert parse_fault(str(fault)) == fault


def test_the_player_strikes_and_lifts_on_its_slots() -> None:
    faults = Faults()
    script = FaultScript.parse(
        "at 2 for 3 b: lag slots=8\nat 3 main: withhold at=7 text=null\nat 4 main: ws_drop"
    )
    player = FaultPlayer(script, faults, start_slot=100)
    player.reach(101)
    assert faults.endpoint("b").armed == ()
    player.reach(102)
    assert faults.endpoint("b").armed == (Fault(FaultKind.LAG, slots=8),)
    player.reach(104)
    # slots that a fault names are relative to the start, too
    assert faults.armed == (Fault(FaultKind.WITHHOLD, at=(107,), text="null"),)
    assert not player.done
    player.reach(109)
    assert faults.endpoint("b").armed == ()
    assert player.done
    assert [str(step) for step in player.struck] == str(script).splitlines()


def test_what_the_backend_cannot_do_is_recorded_as_refused() -> None:
    player = FaultPlayer(FaultScript.parse("at 0 chain: skip_slots slots=2"), Faults(), start_slot=1)
    player.reach(1)
    assert not player.done
    player.strike_chain()
    assert player.done
    assert player.struck == []
    assert [(str(step), why) for step, why in player.refused] == [
        ("at 0 chain: skip_slots slots=2", "this backend cannot skip slots or reorganize")
    ]


def test_arming_refuses_what_makes_no_sense() -> None:
    faults = Faults()
    for kind in CHAIN_KINDS:
        with pytest.raises(ValueError, match="is a fault of the chain"):
            faults.arm(Fault(kind))
    with pytest.raises(ValueError, match="unknown alteration 'shrink'; known: blockhash, erase, inflate"):
        faults.alter("shrink")
    with pytest.raises(ValueError, match="unknown answer 'sorry'"):
        faults.withhold(5, answer="sorry")
    assert faults.armed == ()

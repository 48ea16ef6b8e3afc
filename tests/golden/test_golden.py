"""R5: golden journals replay, byte for byte and hash for hash, on every machine and every Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine import journal
from engine.apply import Accepted
from engine.events import EVENT_TYPES
from engine.journal import ENGINE_VERSION, JournalCorrupt, decode_outcome
from tests.golden import regenerate
from tests.golden.scenarios import SCENARIOS

GOLDENS = sorted(regenerate.FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("path", GOLDENS, ids=[path.stem for path in GOLDENS])
def test_r5_a_golden_journal_replays_to_the_same_hash(path: Path) -> None:
    header, _, footer = regenerate.read(path)
    assert header["engine_version"] == ENGINE_VERSION
    assert regenerate.play(path) == (footer["last_hash"], footer["state_hash"])


def test_every_scenario_has_its_golden() -> None:
    assert {path.stem for path in GOLDENS} == set(SCENARIOS)


def test_the_goldens_walk_the_whole_road() -> None:
    """A golden that never reaches an event protects nothing there."""
    seen: Counter[str] = Counter()
    for path in GOLDENS:
        for entry in regenerate.read(path)[1]:
            outcome = decode_outcome(entry.outcome)
            seen.update(
                [type(one).__name__ for one in outcome.events] if isinstance(outcome, Accepted) else []
            )
    assert {kind.__name__ for kind in EVENT_TYPES} == set(seen)


def test_a_changed_golden_is_noticed(tmp_path: Path) -> None:
    text = GOLDENS[0].read_text("ascii")
    meddled = tmp_path / "meddled.jsonl"
    meddled.write_text(
        text.replace("USDC", "USDT", 1)
        if "USDC" not in text.splitlines()[0]
        else text.replace('\\"1/0\\"', '\\"9/0\\"', 1)
    )
    with pytest.raises((JournalCorrupt, ValueError)):
        regenerate.play(meddled)


def test_regenerating_needs_a_new_version(capsys: pytest.CaptureFixture[str]) -> None:
    before = [path.read_bytes() for path in GOLDENS]
    assert regenerate.main([]) == 1
    assert "bump it" in capsys.readouterr().err
    assert [path.read_bytes() for path in GOLDENS] == before


def test_regenerating_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenarios still lead to the goldens: neither was edited alone."""
    kept = {path.name: path.read_bytes() for path in GOLDENS}
    monkeypatch.setattr(regenerate, "FOLDER", tmp_path)
    assert {path.name: path.read_bytes() for path in map(regenerate.write, SCENARIOS)} == kept
    assert journal.ENGINE_VERSION in regenerate.versions()

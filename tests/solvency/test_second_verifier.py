"""The JavaScript verifier, written from docs/SOLVENCY.md alone, agrees with the Python one: verdict and
reason.

Its cases are every bundle and record that the other tests of this folder judge (they are run here once more
with a recorder in the verifier's place) and the fuzzer's mutants.
"""

from __future__ import annotations

import base64
import inspect
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from solvency import encode, verifier
from solvency.verifier import Anchors, Header
from tests.solvency import forge, mutants, test_attacks

HERE = Path(__file__).parent / "js"
NOTHING_KNOWN = Anchors()
needs_npm = pytest.mark.optional_backend("npm")


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the second verifier from its lock file in a folder of its own; skip where there is no npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("npm is not on PATH")
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "package-lock.json", "verifier.mjs", "judge.mjs"):
        shutil.copy(HERE / name, folder / name)
    install = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if install.returncode != 0:
        pytest.skip(f"npm ci failed: {install.stderr[-500:]}")
    return folder


def text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Recorder:
    """Stand in for the verifier: pass every call on and note what it was asked and what it said."""

    def __init__(self) -> None:
        self.cases: list[dict[str, Any]] = []
        self.verdicts: list[str] = []
        self.heads: dict[bytes, bytes] = {}
        self._bundle, self._head, self._record = (
            verifier.check_bundle,
            verifier.check_head,
            verifier.check_record,
        )

    def _note(self, case: dict[str, Any], call: Callable[[], Any]) -> Any:
        self.cases.append(case)
        try:
            answer = call()
        except verifier.Rejected as refused:
            self.verdicts.append(str(refused.reason))
            raise
        self.verdicts.append("valid")
        return answer

    def _anchors(self, anchors: Anchors) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if anchors.operator is not None:
            out["operator"] = anchors.operator.hex()
        if anchors.published_hash is not None:
            out["published"] = anchors.published_hash.hex()
        if anchors.previous is not None:
            out["previous"] = text(self.heads[anchors.previous.hash])
        if anchors.prices_e8 is not None:
            out["prices"] = {
                symbol: [str(low), str(high)] for symbol, (low, high) in anchors.prices_e8.items()
            }
        if anchors.max_weight_ppm is not None:
            out["weights"] = dict(anchors.max_weight_ppm)
        if anchors.chain is not None:
            out["chain"] = {account.hex(): str(units) for account, units in anchors.chain.items()}
        return out

    def check_bundle(self, data: bytes, anchors: Anchors = NOTHING_KNOWN, threads: int = 1) -> Any:
        case = {"bundle": text(data), "anchors": self._anchors(anchors)}
        return self._note(case, lambda: self._bundle(data, anchors, threads))

    def check_head(self, header: bytes, signature: bytes, anchors: Anchors = NOTHING_KNOWN) -> Header:
        answer = self._head(header, signature, anchors)
        self.heads[answer.hash] = encode.bundle(header, signature, b"")
        return answer

    def check_record(
        self,
        header: Header,
        data: bytes,
        customer_id: str | None = None,
        expected: dict[str, int] | None = None,
    ) -> Any:
        case: dict[str, Any] = {
            "bundle": text(self.heads[header.hash]),
            "record": text(data),
            "id": customer_id,
        }
        if expected is not None:
            case["expected"] = {name: str(units) for name, units in expected.items()}
        return self._note(case, lambda: self._record(header, data, customer_id, expected))


def runs(function: Callable[..., None]) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of each parametrized run of a test."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        yield ()
        return
    assert len(marks) == 1
    names, values = marks[0].args[:2]
    single = isinstance(names, str) and "," not in names
    for value in values:
        yield (value,) if single else tuple(value)


def recorded_attacks(patch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for name in ("check_bundle", "check_head", "check_record"):
        patch.setattr(verifier, name, getattr(recorder, name))
    for epoch, bundle in (forge.honest(), forge.second()):
        recorder.heads[epoch.hash] = bundle
    for name, function in inspect.getmembers(test_attacks, inspect.isfunction):
        if name.startswith("test_"):
            for arguments in runs(function):
                function(*arguments)
    return recorder


def judged(folder: Path, cases: list[dict[str, Any]]) -> list[str]:
    source, target = folder / "cases.json", folder / "verdicts.json"
    source.write_text(json.dumps(cases))
    run = subprocess.run(
        ["node", "judge.mjs", str(source), str(target)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert run.returncode == 0, run.stderr
    return [item["verdict"] for item in json.loads(target.read_text())]


def differences(names: list[str], python: list[str], javascript: list[str]) -> list[str]:
    assert len(names) == len(python) == len(javascript)
    rows = zip(names, python, javascript, strict=True)
    return [f"{name}: Python {one}, JavaScript {two}" for name, one, two in rows if one != two]


@needs_npm
def test_they_agree_on_every_attack(javascript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        recorder = recorded_attacks(patch)
    answers = judged(javascript, recorder.cases)
    names = [f"case {number}" for number in range(len(answers))]
    assert differences(names, recorder.verdicts, answers) == []
    assert len(set(answers)) > 25  # nearly every reason occurs, and so does "valid"
    assert "valid" in answers


@needs_npm
def test_they_agree_on_honest_bundles_and_all_records(javascript: Path) -> None:
    cases, names = [], []
    for epoch, bundle in (forge.honest(), forge.second()):
        cases.append({"bundle": text(bundle), "anchors": {"operator": forge.public(forge.OPERATOR).hex()}})
        names.append(f"epoch {epoch.header.epoch}")
        for account in (*forge.PLAIN, *forge.DEBTORS):
            record = text(epoch.record(account.customer_id))
            cases.append({"bundle": text(bundle), "record": record, "id": account.customer_id})
            names.append(account.customer_id)
    cases.append({"bundle": text(forge.second()[1]), "anchors": {"previous": text(forge.honest()[1])}})
    names.append("chain")
    assert differences(names, ["valid"] * len(cases), judged(javascript, cases)) == []


@needs_npm
def test_they_agree_on_mutants(javascript: Path) -> None:
    from tests.solvency.test_mutations import SEED

    found = [
        *mutants.byte_mutants(SEED + 1, 40),
        *mutants.proof_mutants(SEED + 1, 12),
        *mutants.field_mutants(),
        *mutants.record_mutants(SEED + 1, 20),
    ]
    cases: list[dict[str, Any]] = []
    for mutant in found:
        case: dict[str, Any] = {"bundle": text(mutant.bundle)}
        if mutant.record is not None:
            case |= {"record": text(mutant.record), "id": mutant.customer_id}
        cases.append(case)
    answers = judged(javascript, cases)
    python = [mutants.judge(mutant) for mutant in found]
    assert differences([mutant.name for mutant in found], python, answers) == []
    assert "valid" not in answers


def test_the_lock_file_names_no_registry() -> None:
    lock = (HERE / "package-lock.json").read_text("utf-8")
    assert "resolved" not in lock
    assert "://registry" not in lock
    assert json.loads(lock)["packages"]["node_modules/@vulpemventures/secp256k1-zkp"]["version"] == "3.2.1"

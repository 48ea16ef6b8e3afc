"""How long does a proof of solvency take, and how long to check it? Against the verifier's own other road.

Workload of an epoch: customers × 5 assets, 5% of them in debt (2 credits, 1 borrow each), a reserve an asset.
Published figures of peers, on other machines and for other statements: por_v2 (Plonky2) 750,000 users × 53
assets in 470 s on 12 cores; OKX v2 100,000 accounts in 256 s; Binance 62 s per 700 users on 32 vCPU.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from solvency import prover, tree, verifier
from solvency.keys import MasterSecret
from solvency.model import Balances, Holding, Snapshot
from solvency.verifier import Asset

from .report import Row, apart

WORKERS = 2
DEBTOR_SHARE_PERCENT = 5
AIM = "one balance: < 100 ms native, < 1 s in wasm"
JAVASCRIPT = Path(__file__).resolve().parent.parent / "tests" / "solvency" / "js"
Rows = list[dict[str, object]]


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return key(name).public_key().public_bytes_raw()


def snapshot(customers: int, assets_held: int = 5) -> Snapshot:
    """Return an exchange of that size, the same each time; with fewer than 5 assets nobody is in debt."""
    dice = random.Random(1)
    symbols = ("USDC", "SOL", "BTC", "ETH", "JUP")
    assets = tuple(
        Asset(
            symbol, bytes((i,)) * 32, 6, 10**8 if i == 0 else (i * 37) * 10**8, 10**6 if i == 0 else 900_000
        )
        for i, symbol in enumerate(symbols)
    )
    accounts = []
    for number in range(customers):
        if assets_held == 5 and number % 20 == 19:
            accounts.append(
                Balances(f"{number}/0", {"USDC": 10**9, "SOL": dice.randrange(10**9)}, {"BTC": 10**6})
            )
        else:
            held = {symbol: dice.randrange(1, 10**10) for symbol in symbols[:assets_held]}
            accounts.append(Balances(f"{number}/0", held))
    holdings = tuple(
        Holding(symbol, bytes((i + 1,)) * 32, public("reserve"), customers * 10**10)
        for i, symbol in enumerate(symbols)
    )
    fund = (Balances("insurance_fund", {"USDC": 10**9}),)
    return Snapshot(1, bytes(32), 1, 1_700_000_000 * 10**9, 1, assets, accounts, fund, holdings)


def proved(customers: int, workers: int, assets_held: int = 5) -> tuple[prover.Epoch, bytes]:
    draft = prover.begin(snapshot(customers, assets_held), public("operator"))
    answers = [
        prover.ReserveSignature(key("reserve").sign(challenge.message)) for challenge in draft.challenges
    ]
    epoch = prover.prove(draft, MasterSecret(bytes(32)), answers, workers=workers)
    return epoch, epoch.seal(key("operator").sign(epoch.operator_message))


def _peak_mb() -> float:
    """Return the peak memory of this process plus WORKERS times that of its largest child."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + WORKERS * child) / 1024


def _cpu_seconds() -> float:
    """Return the processor time of this process and its children: others on the cores do not add to it."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _epoch(customers: int) -> tuple[float, float, float, float]:
    begun = time.perf_counter()
    _, bundle = proved(customers, WORKERS)
    return time.perf_counter() - begun, _cpu_seconds(), _peak_mb(), len(bundle) / 1e6


def _tree(leaves: int) -> tuple[float, float, float]:
    rows = [(hashlib.sha256(i.to_bytes(8, "big")).digest(), i, i + 1) for i in range(leaves)]
    begun = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        tree.build(bytes(32), 0, rows, pool)
    return time.perf_counter() - begun, _cpu_seconds(), _peak_mb()


def row(question: str, workload: str, figure: float, unit: str, **more: object) -> dict[str, object]:
    return {"question": question, "workload": workload, "figure": figure, "unit": unit} | more


def epochs(sizes: list[int]) -> Rows:
    rows: Rows = []
    for customers in sizes:
        seconds, cpu, peak, megabytes = apart(_epoch, customers)
        debtors = customers * DEBTOR_SHARE_PERCENT // 100
        workload = (
            f"{customers:,} customers × 5 assets, {debtors:,} of them in debt, {WORKERS} workers; "
            f"{cpu:,.0f} s of processor time, peak {peak:,.0f} MB, bundle {megabytes:,.1f} MB"
        )
        aim = "100,000 customers inside 600 s on 2 cores; peers: see the head of bench/solvency.py"
        rows.append(row("prove an epoch", workload, seconds, "s", aim=aim))
    return rows


def trees(sizes: list[int]) -> Rows:
    rows: Rows = []
    for leaves in sizes:
        seconds, cpu, peak = apart(_tree, leaves)
        rows.append(
            row(
                "build a sum tree",
                f"{leaves:,} leaves, {WORKERS} workers, {cpu:,.0f} s of processor time, peak {peak:,.0f} MB",
                seconds,
                "s",
                aim="1,048,576 leaves in < 75 s",
            )
        )
    return rows


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def records(customers: int, asked: int, assets_held: int) -> Rows:
    """Time a customer's record: made, and checked natively and in wasm."""
    epoch, bundle = proved(customers, WORKERS, assets_held)
    depth = epoch.header.lines[0].credits.depth
    plain = [f"{number}/0" for number in range(customers) if assets_held < 5 or number % 20 != 19]
    chosen = random.Random(2).sample(plain, min(asked, len(plain)))
    made = sorted(_milliseconds(lambda own=name: epoch.record(own)) for name in chosen)  # type: ignore[misc]
    path = f"{assets_held} asset(s) × {depth} levels, {customers:,} customers"
    p99 = made[min(len(made) - 1, len(made) * 99 // 100)]
    head = verifier.split_bundle(bundle)[:2]
    record = epoch.record(chosen[0])
    native = statistics.median(
        _milliseconds(lambda: verifier.check_record(verifier.check_head(*head), record)) for _ in range(5)
    )
    rows = [
        row("make a record, p50", f"{path}, {len(chosen)} customers in a row", statistics.median(made), "ms"),
        row("make a record, p99", f"{path}, {len(chosen)} customers in a row", p99, "ms"),
        row("check a record", f"{path}, head included, {len(record):,} bytes", native, "ms", aim=AIM),
    ]
    return rows + _wasm(bundle, record, native, path)


def _wasm(bundle: bytes, record: bytes, native: float, path: str) -> Rows:
    if shutil.which("npm") is None or shutil.which("node") is None:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("package.json", "package-lock.json", "verifier.mjs", "judge.mjs"):
            shutil.copy(JAVASCRIPT / file, folder / file)
        if subprocess.run(
            ["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, check=False
        ).returncode:
            return []
        case = {"bundle": b64encode(bundle).decode(), "record": b64encode(record).decode()}
        (folder / "cases").write_text(json.dumps([case]))
        subprocess.run(["node", "judge.mjs", "cases", "out"], cwd=folder, check=True, timeout=300)
        answer = json.loads((folder / "out").read_text())[0]
    if answer["verdict"] != "valid":
        raise RuntimeError(f"the JavaScript verifier says {answer['verdict']}")
    taken = answer["milliseconds"]
    return [
        row("check a record in wasm", f"{path}, cold start of the module included", taken, "ms",
            alternative="native", alternative_figure=native, ratio=native / taken)
    ]  # fmt: skip


def bundles(customers: int) -> Rows:
    """Time a full check, on one thread and on two."""
    _, bundle = proved(customers, WORKERS)
    alone = _milliseconds(lambda: verifier.check_bundle(bundle)) / 1000
    shared = _milliseconds(lambda: verifier.check_bundle(bundle, threads=WORKERS)) / 1000
    debtors = customers * DEBTOR_SHARE_PERCENT // 100
    workload = f"{debtors:,} debtors, {len(bundle) / 1e6:.1f} MB, {WORKERS} threads"
    return [
        row("check a whole bundle", workload, shared, "s", alternative="one thread", alternative_figure=alone,
            ratio=alone / shared),
        row("check one debtor", workload, shared * 1000 / debtors, "ms"),
    ]  # fmt: skip


def run(quick: bool, block: Path | None) -> list[Row]:
    """Return the rows; the full run takes several minutes, most of them for the largest epoch and tree."""
    return [Row(**row) for row in _rows(quick)]  # type: ignore[arg-type]


def _rows(quick: bool) -> Rows:
    if quick:
        return [*trees([4096]), *epochs([200]), *records(200, 5, 1), *bundles(200)]
    return [
        *trees([16_384, 131_072, 1_048_576]),
        *epochs([10_000, 100_000]),
        *records(100_000, 100, 1),
        *records(10_000, 50, 5),
        *bundles(10_000),
    ]

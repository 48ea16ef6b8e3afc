"""Run the benchmarks: `python -m bench [--quick] [--json FILE] [NAME ...]`, names as in BENCHMARKS."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from .report import Row, as_json, show

BENCHMARKS = {
    "engine": "deposits through the engine, in memory and durable",
    "orders": "orders through the whole engine and through its book alone",
    "margin": "the full exact margin check of one subaccount",
    "screen": "who of 1,000,000 subaccounts might be endangered, after one market moved and after all",
    "crash": "an hour of a market crash through the engine, and how it grows",
    "scan": "reading a block for 1,000,000 watched addresses",
    "localnet": "the embedded validator: time to the first answer, transfers per second",
    "latency": "what watching adds on top of finality",
    "solvency": "the proof of solvency: an epoch, a record, checking them",
    "proof": "what making a proof costs the daemon that serves deposits meanwhile",
}


def _here(name: str, chosen: argparse.Namespace) -> list[Row]:
    module = importlib.import_module(f"bench.{name}")
    rows: list[Row] = module.run(quick=chosen.quick, block=chosen.block)
    return rows


def _alone(name: str, chosen: argparse.Namespace) -> list[Row]:
    """Run one benchmark in a process of its own, so that none measures what another left in memory."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench", name, "--json", str(answer)]
        command += ["--quick"] if chosen.quick else []
        command += ["--block", str(chosen.block)] if chosen.block else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the benchmark {name} failed:\n{done.stdout}{done.stderr}")
        return [Row(**row) for row in json.loads(answer.read_text(encoding="utf-8"))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="small workloads, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument(
        "--block", type=Path, metavar="FILE", help="a getBlock answer in accounts form (.json or .json.gz)"
    )
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    names = chosen.names or list(BENCHMARKS)
    rows: list[Row] = []
    for name in names:
        with console.status(f"{name}: {BENCHMARKS[name]}"):
            rows += _alone(name, chosen) if len(names) > 1 else _here(name, chosen)
    show(rows, console)
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
        console.print(f"written to {chosen.json}")


if __name__ == "__main__":
    main()

"""`makewhole localnet` as a process: what it prints, how it stops, what it refuses."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localnet.local_usdc import LOCAL_USDC

PROGRAM = """
import sys
from pathlib import Path
from localnet.cli import run
host, rpc, ws, slot_ms, ledger, quiet = sys.argv[1:]
sys.exit(run(host, int(rpc), int(ws), int(slot_ms), Path(ledger) if ledger else None, quiet == "quiet"))
"""
ADDRESS = "BPFLoader1111111111111111111111111111111112"


def command(
    rpc: int = 0, ws: int = 8900, slot_ms: int = 20, ledger: Path | str = "", quiet: str = ""
) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "127.0.0.1", str(rpc), str(ws), str(slot_ms), str(ledger), quiet]


class Running:
    """A localnet process that prints into a pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if "Ctrl-C" in line:
                break
        self.text = "\n".join(self.lines)

    @property
    def rpc_url(self) -> str:
        match = re.search(r"JSON-RPC +(\S+)", self.text)
        assert match is not None, self.text
        return match[1]

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


@pytest.fixture
def launch() -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def launch(arguments: list[str]) -> Running:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return Running(process)

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def ask(url: str, method: str, *params: Any) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the url is ours
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)["result"]


def test_it_says_where_it_listens_and_stops_cleanly_on_ctrl_c(launch: Any) -> None:
    net = launch(command())
    port = int(net.rpc_url.rsplit(":", 1)[1])
    assert f"WebSocket  ws://127.0.0.1:{port + 1}" in net.text
    assert "Slots      every 20 ms" in net.text
    assert f"500,000,000 SOL: makewhole airdrop YOUR_ADDRESS SOL 10 --url {net.rpc_url}" in net.text
    assert f"makewhole airdrop YOUR_ADDRESS USDC 100 --url {net.rpc_url}" in net.text
    assert (
        ask(net.rpc_url, "getTokenSupply", str(LOCAL_USDC), {"commitment": "processed"})["value"]["decimals"]
        == 6
    )
    first = ask(net.rpc_url, "getSlot", {"commitment": "processed"})
    until = time.monotonic() + 60
    while ask(net.rpc_url, "getSlot", {"commitment": "processed"}) < first + 5:
        assert time.monotonic() < until, "the clock stands still"
        time.sleep(0.02)
    status, rest = net.stop()
    assert (status, rest) == (0, "Stopped.\n")
    with pytest.raises(OSError, match="refused"):
        ask(net.rpc_url, "getSlot")


def test_sigterm_stops_it_too(launch: Any) -> None:
    assert launch(command()).stop(signal.SIGTERM)[0] == 0


def test_the_ledger_is_saved_and_the_next_run_goes_on_with_it(launch: Any, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = launch(command(ledger=path))
    assert f"Ledger     {path}, saved at the end" in first.text
    ask(first.rpc_url, "requestAirdrop", ADDRESS, 123_456_789)
    genesis = ask(first.rpc_url, "getGenesisHash")
    slot = ask(first.rpc_url, "getSlot", {"commitment": "processed"})
    assert first.stop() == (0, f"Stopped, ledger saved in {path}.\n")
    second = launch(command(ledger=path))
    assert ask(second.rpc_url, "getGenesisHash") == genesis
    assert ask(second.rpc_url, "getSlot", {"commitment": "processed"}) >= slot
    assert ask(second.rpc_url, "getBalance", ADDRESS, {"commitment": "processed"})["value"] == 123_456_789
    assert second.stop()[0] == 0


def refused(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("taken", ["rpc", "ws"])
def test_a_taken_port_is_one_clear_line(taken: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        complaint = refused(command(rpc=port) if taken == "rpc" else command(rpc=port - 1))
    rpc = port if taken == "rpc" else port - 1
    assert complaint == (
        f"localnet: port {rpc} or {rpc + 1} on 127.0.0.1 is taken; is another validator running? "
        "Choose another with --rpc-port, 0 takes a free one.\n"
    )


def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a ledger at all")
    assert str(path) in refused(command(ledger=path))
    assert path.read_text() == "not a ledger at all"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"slot_ms": 0}, "a slot takes at least 1 ms, not 0"),
        ({"rpc": 70_000}, "ports go up to 65535, not 70000 and 70001"),
        ({"ledger": "/"}, "/ is a folder; the ledger is one file"),
        ({"ledger": "/nowhere/at/all"}, "the folder /nowhere/at does not exist"),
    ],
)
def test_senseless_arguments_are_one_clear_line(options: dict[str, Any], complaint: str) -> None:
    assert refused(command(**options)) == f"localnet: {complaint}\n"


def two_free_ports() -> tuple[int, int]:
    """Find two ports that nobody has now; somebody may before they are used."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def quiet_and_answering() -> subprocess.Popen[str]:
    """Start a quiet localnet that answers; on other ports when somebody was faster."""
    for _ in range(5):
        rpc, ws = two_free_ports()
        process = subprocess.Popen(
            command(rpc=rpc, ws=ws, quiet="quiet"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                ask(f"http://127.0.0.1:{rpc}", "getSlot")
                return process
            except OSError:
                time.sleep(0.05)
        process.kill()
        out, err = process.communicate()
    raise AssertionError(f"it never answered: {out}{err}")


def test_quiet_prints_nothing() -> None:
    process = quiet_and_answering()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_a_terminal_shows_the_slot_as_it_moves() -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command(), stdout=slave, stderr=slave, stdin=slave, env=environment)
    os.close(slave)
    seen = ""
    deadline = time.monotonic() + 60
    slots: list[int] = []
    while len(slots) < 3 and time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 65_536).decode()
            slots = [
                int(text)
                for text in re.findall(r"slot (\d+) · finalized \d+ · \d+ transactions \(\d+/s\)", seen)
            ]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    os.close(master)
    assert len(slots) >= 3, seen
    assert slots == sorted(slots)
    assert slots[-1] > slots[0]

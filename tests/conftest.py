"""Shared by every test: nothing is skipped silently.

Under CI (environment variable `CI`) a skip is a failure, unless the test carries the marker
`optional_backend`, whose reasons are listed in OPTIONAL_BACKENDS. The closing summary names each.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

OPTIONAL_BACKENDS = {
    "solana-test-validator": "Agave's own validator on PATH, the second backend behind localnet's interface",
    "chromium": "a browser, in which the page of a crash is drawn and looked at",
    "npm": "Node.js with npm, for the conformance run of @solana/kit and the JavaScript bundle verifier",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("optional_backend"):
            if not mark.args or mark.args[0] not in OPTIONAL_BACKENDS:
                known = ", ".join(sorted(OPTIONAL_BACKENDS))
                raise pytest.UsageError(f"{item.nodeid}: optional_backend must name one of: {known}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    excused = next(item.iter_markers("optional_backend"), None) is not None
    if report.skipped and not excused and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, which hides a test that did not run: {report.longrepr}"
    return report

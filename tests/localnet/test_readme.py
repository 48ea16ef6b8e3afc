"""The Python of localnet/README.md runs as it stands there, in order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import localnet
from localnet.faults import Faults

README = Path(localnet.__file__).parent / "README.md"


def test_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) == 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)  # noqa: S102 - our own page


def test_every_fault_it_names_exists_and_none_is_missing() -> None:
    table = README.read_text().partition("| | |")[2].partition("`faults.log`")[0]
    named = set(re.findall(r"`(\w+)`", table))
    offered = {
        name
        for name in dir(Faults)
        if not name.startswith("_")
        and getattr(getattr(Faults, name), "__annotations__", {}).get("return") == "Fault"
    }
    assert named == offered - {"arm"}

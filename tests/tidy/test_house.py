"""House rules that matter are tests: locks, names of hosts, file sizes, documents that tell the truth."""

from __future__ import annotations

import ast
import re

import pytest

from .source import ROOT, committed_files, python_files, tree_of, where

PACKAGES = tuple(
    p for p in ("engine", "chain", "localnet", "daemon", "solvency") if (ROOT / p / "__init__.py").exists()
)
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".lock",
    ".json",
    ".txt",
    ".cfg",
    ".mjs",
    ".js",
    ".ts",
    ".html",
    ".sh",
    ".yml",
    ".yaml",
    "",
}
REGISTRIES = (
    "pypi." + "org",
    "pythonhosted" + ".org",
    "registry." + "npmjs",
    "crates" + ".io",
    "deb." + "debian",
    "test.py" + "pi",
)
LONGEST_FILE = 600
LONGEST_TEST_FILE = 1000  # tables of cases are read by row
# One file on purpose: whoever checks the exchange reads and runs this and nothing else of ours.
STAND_ALONE = "solvency/verifier.py"
# The events are one vocabulary, read as a list.
EXCUSED = {STAND_ALONE, "engine/events.py"}
LONGEST_FUNCTION = 60


def _text_files() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace"))
        for path in committed_files()
        if path.suffix in TEXT and path.stat().st_size < 4_000_000
    ]


def test_no_file_names_a_package_registry() -> None:
    found = [f"{name}: {host}" for name, text in _text_files() for host in REGISTRIES if host in text]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-anchor.lock"])
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text, "a lock file holds no address"
    entries = re.split(r"\n(?=[a-zA-Z])", text.strip())
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[a-zA-Z0-9_.\-\[\]]+==[^\s]+", entry), f"not pinned: {entry.splitlines()[0]}"
        assert "--hash=sha256:" in entry, f"not hashed: {entry.splitlines()[0]}"


def test_no_npm_lock_holds_an_address() -> None:
    locks = [path for path in committed_files() if path.name == "package-lock.json"]
    assert locks, "the JavaScript conformance runs are locked"
    found = [str(path.relative_to(ROOT)) for path in locks if "://" in path.read_text(encoding="utf-8")]
    assert not found, f"strip `resolved` and `funding`: {found}"


def test_files_are_one_thing() -> None:
    long = {}
    for path in python_files(*PACKAGES, "tests", "bench"):
        name = str(path.relative_to(ROOT))
        limit = LONGEST_TEST_FILE if name.startswith("tests/") else LONGEST_FILE
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > limit and name not in EXCUSED:
            long[name] = count
    assert not long, f"too long; is each still one thing? {long}"


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{where(path, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files(*PACKAGES)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_every_module_says_what_it_owns() -> None:
    silent = [str(p.relative_to(ROOT)) for p in python_files(*PACKAGES) if not ast.get_docstring(tree_of(p))]
    assert not silent, f"no module docstring: {silent}"


def test_every_public_function_says_what_it_does() -> None:
    silent = [
        f"{where(path, node)} {node.name}"
        for path in python_files("engine", "chain", "localnet", "solvency")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in committed_files():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not broken, "\n".join(broken)


def test_make_targets_named_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    missing = [
        f"{path.relative_to(ROOT)}: make {name}"
        for path in committed_files()
        if path.suffix == ".md"
        for name in re.findall(r"`make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"))
        if name not in targets
    ]
    assert not missing, "\n".join(missing)


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "make test " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def _rules_in_document() -> dict[str, str]:
    """Each rule of docs/RULES.md that is built, with the text of its section."""
    text = (ROOT / "docs" / "RULES.md").read_text(encoding="utf-8")
    sections = re.split(r"\n(?=#{2,4} +[RI]\d+a?\b)", text)
    return {m.group(1): s for s in sections if (m := re.match(r"#{2,4} +([RI]\d+a?)\b", s))}


def test_every_built_rule_has_a_test_that_names_it() -> None:
    rules = _rules_in_document()
    assert len(rules) >= 40, f"docs/RULES.md has a section for each rule; found {sorted(rules)}"
    tests = "\n".join(p.read_text(encoding="utf-8") for p in python_files("tests"))
    unnamed = [
        rule
        for rule, section in rules.items()
        if "status: next" not in section.lower()
        and not re.search(rf"(?i)(?<![a-z0-9]){rule}(?![a-z0-9])|_{rule.lower()}_", tests)
    ]
    assert not unnamed, f"no test names {unnamed}"

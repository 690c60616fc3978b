"""What is law in the layout: who may import whom, and what the cores and the shell may not touch."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OURS = ("impl", "harness", "nemesis", "checkers", "workloads", "tests", "benchmarks")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "impl": ("impl",),
    "harness/history": ("harness.history",),
    "harness/verdict.py": (),
    "harness/compilation.py": (),
    "harness/faults.py": ("harness.history",),
    "checkers": ("checkers", "harness.compilation", "harness.history", "harness.verdict", "harness.faults"),
    # A command line of its own: it reads files.
    "checkers/elle": (
        "checkers",
        "harness.compilation",
        "harness.history",
        "harness.verdict",
        "harness.history_formats",
    ),
    "nemesis": ("nemesis", "harness"),
    "workloads": ("workloads", "checkers", "harness"),
    "harness/cli.py": OURS,
    "harness/plugin.py": OURS,
    "harness/simulation/command_line.py": OURS,
    "harness": ("harness",),
}
"""By longest matching path. `harness/test_*.py` see everything; tests and benchmarks are not held to it."""

CORES = ("impl/raft/", "impl/gossip/")
CORE_BANS = {
    "asyncio",
    "datetime",
    "logging",
    "os",
    "secrets",
    "select",
    "socket",
    "threading",
    "time",
    "uuid",
}
"""Modules that would let I/O, time or chance into a core."""

SHELL_BANS = {
    "time.time": "ports.Clock",
    "time.monotonic": "ports.Clock",
    "time.time_ns": "ports.Clock",
    "time.monotonic_ns": "ports.Clock",
    "datetime.now": "ports.Clock",
    "asyncio.to_thread": "ports.Disk",
    "asyncio.open_connection": "ports.Network",
    "asyncio.start_server": "ports.Network",
    "threading.Thread": "ports",
    "os.urandom": "ports.random",
    "uuid.uuid4": "ports.random",
    "open": "ports.Disk",
}
"""What only the real ports, and the command line that makes them, may call: and what to call instead."""
SHELL = ("impl/server/", "impl/http/", "impl/state/", "impl/storage/")


def python_files(folder: str = "") -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [name for name in listed.stdout.splitlines() if name.startswith(folder)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    package = name_of(path).removesuffix(".py").removesuffix("/__init__").split("/")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def rule_for(name: str) -> tuple[str, ...] | None:
    if name.startswith("harness/test_"):
        return None
    matching = [path for path in MAY_IMPORT if name == path or name.startswith(path + "/")]
    return MAY_IMPORT[max(matching, key=len)] if matching else None


def within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == other or module.startswith(other + ".") for other in allowed)


def test_nobody_imports_upwards() -> None:
    wrong = []
    for path in python_files():
        allowed = rule_for(name_of(path))
        if allowed is None:
            continue
        for line, module in imports_of(path):
            if module.split(".")[0] in OURS and not within(module, allowed):
                wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_cores_see_no_input_output_time_or_chance() -> None:
    wrong = []
    for path in python_files():
        if not name_of(path).startswith(CORES):
            continue
        for line, module in imports_of(path):
            if module.split(".")[0] in CORE_BANS:
                wrong.append(f"{name_of(path)}:{line} imports {module}")
        tree = ast.parse(path.read_text())
        wrong += [f"{name_of(path)}:{line} calls the module random" for line in random_calls(tree)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{name_of(path)}:{node.lineno} awaits")
            if isinstance(node, ast.For | ast.comprehension) and is_a_set(node.iter):
                wrong.append(f"{name_of(path)}:{node.iter.lineno} iterates over a set")
    assert not wrong, "\n".join(wrong)


def random_calls(tree: ast.AST) -> Iterator[int]:
    """Lines where functions of the module `random` are called (and not of a variable of that name)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and "random" in variables_of(node):
            continue
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called.startswith("random.") and called != "random.Random":
            yield getattr(node, "lineno", 0)
        yield from random_calls(node)


def variables_of(function: ast.FunctionDef) -> set[str]:
    """Its parameters, and the names that it assigns to."""
    named = {argument.arg for argument in function.args.args}
    names = (node for node in ast.walk(function) if isinstance(node, ast.Name))
    return named | {name.id for name in names if isinstance(name.ctx, ast.Store)}


def is_a_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("set", "frozenset")
    return isinstance(node, ast.Set | ast.SetComp)


def test_the_shell_reaches_the_world_only_through_the_ports() -> None:
    wrong = []
    for path in python_files():
        if not name_of(path).startswith(SHELL):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        wrong += [
            f"{name_of(path)}:{call.lineno} calls {called}: use {SHELL_BANS[called]}"
            for call in calls
            if (called := ast.unparse(call.func)) in SHELL_BANS
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "HACK"])
def test_nothing_is_left_for_later(word: str) -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in python_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word in line
    ]
    assert not found, "\n".join(found)


def test_the_rules_have_teeth() -> None:
    assert not within("harness.run", MAY_IMPORT["checkers"])
    assert within("harness.history.Op", MAY_IMPORT["checkers"])
    assert rule_for("harness/run.py") == ("harness",)
    assert rule_for("harness/plugin.py") == OURS
    assert rule_for("harness/test_promises.py") is None
    assert is_a_set(ast.parse("set(x)", mode="eval").body)
    assert list(random_calls(ast.parse("def f():\n    return random.choice(x)"))) == [2]
    assert not list(random_calls(ast.parse("def f(random):\n    return random.choice(x)")))
    assert not list(random_calls(ast.parse("def f():\n    random = Random(1)\n    return random.choice(x)")))

"""Break what decides on a turn, one small change at a time, and see that its tests fail: `make mutants`.

Each module below is changed in a copy of the tree, in all the ways that cosmic-ray knows, and the tests beside it run
for each change, in a process forked from one that has loaded the libraries. Prints the changes that no test noticed,
and ends with 1 if fewer than nine of ten were. Modules as arguments leave out the others.
"""

from __future__ import annotations

import argparse
import compileall
import difflib
import gc
import multiprocessing
import os
import py_compile
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/chat_sessions")
MODULES = {
    "core/turn.py": ("tests/core/test_turn_value.py", "tests/core/test_turn.py", "tests/core/test_tellings.py"),
    "core/delivery.py": ("tests/core/test_delivery.py", "tests/core/test_tellings.py"),
    "session/recovery.py": ("tests/session/test_recovery.py",),
    "session/turn_queue.py": (
        "tests/session/test_turn_places.py",
        "tests/session/test_turn_queue.py",
        "tests/session/test_waiting_readers.py",
    ),
}
ENOUGH = 0.9
# Seconds for the tests of one change; one that makes them wait for ever is noticed.
LONGEST = 60
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "pytest_socket")
PRELOADED = ["pytest", "hypothesis.strategies", "pydantic", "httpx", "httpx_sse", "stamina", "h11", "asyncio"]
# `|` joins types in these modules, and never numbers.
LEFT_OUT = "core/ReplaceBinaryOperator_BitOr_"


def main() -> None:
    """Change each module in turn, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="module", help=", ".join(MODULES))
    parser.add_argument("--every", type=int, default=1, help="make one of so many changes, for a sample")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(MODULES):
        parser.error(f"no such module here: {', '.join(sorted(unknown))}")
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HYPOTHESIS_PROFILE": "quick"}
    multiprocessing.set_forkserver_preload(PRELOADED)
    shares = [share_noticed(module, given.every) for module in given.modules or MODULES]
    sys.exit(0 if min(shares) >= ENOUGH else 1)


def share_noticed(module: str, every: int) -> float:
    """Make the changes to one module, and print those that no test noticed; return the share of the others."""
    source = (ROOT / PACKAGE / module).read_text()
    survivors: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        compileall.compile_dir(tree, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        if not passes(tree, MODULES[module]):
            sys.exit(f"the tests of {module} fail without a change")
        for operator, changed in islice(changes(source), 0, None, every):
            (tree / PACKAGE / module).write_text(changed)
            count += 1
            if passes(tree, MODULES[module]):
                survivors.append(f"{operator}: {described(source, changed)}")
                print(f"  {survivors[-1]}", file=sys.stderr, flush=True)
            if count % 50 == 0:
                print(f"  {module}: {count} changes, {len(survivors)} not noticed", file=sys.stderr, flush=True)
    share = 1 - len(survivors) / count
    print(f"{module}: {count} changes, {count - len(survivors)} noticed ({share:.1%}); not noticed:", flush=True)
    print("".join(f"  {one}\n" for one in survivors), flush=True)
    return share


def changes(source: str) -> Iterator[tuple[str, str]]:
    """Each change that can be made to the source: its name, and the changed source."""
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if name.startswith(LEFT_OUT) or operator.arguments():
            continue
        number = 0
        while (changed := mutate_code(source, operator(), number)) is not None:
            if is_python(changed):
                yield name.removeprefix("core/"), changed
            number += 1


def is_python(source: str) -> bool:
    """Whether this can be compiled: the tool takes the `*` of a signature for a product."""
    try:
        compile(source, "changed", "exec")
    except SyntaxError:
        return False
    return True


def passes(tree: Path, tests: tuple[str, ...]) -> bool:
    """Whether these tests pass in the tree."""
    process = multiprocessing.get_context("forkserver").Process(target=run_tests, args=(tree, tests))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def run_tests(tree: Path, tests: tuple[str, ...]) -> None:
    """Run these tests in the tree, in a process of its own that ends with pytest's status."""
    os.chdir(tree)
    # What was loaded before is no garbage, and need not be looked at.
    gc.freeze()
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(tree / "src"), str(tree)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    plugins = [argument for name in PLUGINS for argument in ("-p", name)]
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *plugins, *tests]))


def described(source: str, changed: str) -> str:
    """The line that was changed, before and after."""
    before, after = source.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    tag, first, last, start, end = next(block for block in blocks if block[0] != "equal")
    said = [" ".join(line.strip() for line in lines) for lines in (before[first:last], after[start:end])]
    return f"line {first + 1} ({tag}): {said[0]}  ->  {said[1]}"


if __name__ == "__main__":
    main()

"""Break the code that decides what happened to a turn, one small change at a time, and see the tests fail: `make mutants`.

`python scripts/mutants.py --python .venv/bin/python` changes a copy of each module below with cosmic-ray, runs the tests that
stand beside it, and prints the changes that no test noticed. Ends with 1 if fewer than nine of ten were noticed. Names
of modules as arguments leave out the others.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkResult

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/chat_sessions")
MODULES = {
    "core/turn.py": ("tests/core/test_turn.py", "tests/core/test_delivery.py", "tests/core/test_tellings.py"),
    "core/delivery.py": ("tests/core/test_delivery.py", "tests/core/test_tellings.py"),
    "session/recovery.py": ("tests/session/test_recovery.py",),
    "session/turn_queue.py": ("tests/session/test_turn_queue.py", "tests/session/test_turn_places.py"),
}
ENOUGH = 0.9
# Seconds for the tests of one change; a change that makes them wait for ever is noticed.
LONGEST = 60
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "pytest_socket")
# `|` joins types here, and never numbers.
CONFIGURATION = """
[cosmic-ray]
module-path = "{module}"
timeout = {longest}.0
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""


def main() -> None:
    """Change each module in turn, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=", ".join(MODULES))
    parser.add_argument("--python", type=Path, required=True, help="of the environment that the tests run in")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venvs/mutants.run", help="for the copies and results")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(MODULES):
        parser.error(f"no such module here: {', '.join(sorted(unknown))}")
    enough = [is_enough(module, given.python.absolute(), given.folder) for module in given.modules or MODULES]
    sys.exit(0 if all(enough) else 1)


def is_enough(module: str, python: Path, folder: Path) -> bool:
    """Change one module; whether the tests noticed enough."""
    tree = folder / Path(module).stem
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    tests = f"-m pytest -q -x -p no:cacheprovider {' '.join(f'-p {name}' for name in PLUGINS)} {' '.join(MODULES[module])}"
    variables = f"PYTHONPATH={tree / 'src'}:{tree} PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HYPOTHESIS_PROFILE=quick"
    command = f"env {variables} {python} {tests}"
    run(shlex.split(command), tree)
    (tree / "mutants.toml").write_text(
        CONFIGURATION.format(module=PACKAGE / module, longest=LONGEST, command=command)
    )
    tools = Path(sys.executable).parent
    run([tools / "cosmic-ray", "init", "mutants.toml", "mutants.sqlite"], tree)
    run([tools / "cr-filter-operators", "mutants.sqlite", "mutants.toml"], tree)
    run([tools / "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite"], tree)
    return told(module, tree)


def run(command: list[str | Path] | list[str], folder: Path) -> None:
    """Run a command, and end with what it said if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}")


def told(module: str, tree: Path) -> bool:
    """Print what the tests did not notice; whether they noticed enough."""
    with use_db(tree / "mutants.sqlite", WorkDB.Mode.open) as database:
        specs = {item.job_id: item.mutations[0] for item in database.work_items}
        results: list[tuple[MutationSpec, WorkResult]] = [
            (specs[job], result) for job, result in database.results if result.worker_outcome.value != "skipped"
        ]
    lines = (ROOT / PACKAGE / module).read_text().splitlines()
    survivors = sorted((spec.start_pos, spec.operator_name, result.diff) for spec, result in results if not result.is_killed)
    share = 1 - len(survivors) / max(1, len(results))
    print(f"{module}: {len(results)} changes, {len(results) - len(survivors)} noticed ({share:.1%})", flush=True)
    for (line, _), operator, diff in survivors:
        changed = [text[1:].strip() for text in (diff or "").splitlines() if text.startswith("+") and text[1:2] != "+"]
        print(f"  {line:4} {operator.removeprefix('core/')}: {lines[line - 1].strip()} -> {' '.join(changed)}")
    return share >= ENOUGH


if __name__ == "__main__":
    main()

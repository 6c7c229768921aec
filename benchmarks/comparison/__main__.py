"""Runs every fault on every client, and writes `docs/comparison.md`."""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.cases import CASES
from benchmarks.comparison.clients import CLIENTS, versions
from benchmarks.comparison.page import PAGE, RESULTS, Results, insert, render, tables
from benchmarks.comparison.runs import ComparisonError, Deadlines, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.comparison",
        description=f"{__doc__} With --client or --case it only prints.",
    )
    parser.add_argument("--client", help="only clients whose name holds this")
    parser.add_argument("--case", help="only cases whose name holds this")
    parser.add_argument("--jobs", type=int, default=8, help="clients at a time (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    arguments = parser.parse_args(argv)
    clients = [client for client in CLIENTS if (arguments.client or "") in client.name]
    cases = [case for case in CASES if (arguments.case or "") in case.name]
    if not clients or not cases:
        names = ", ".join(client.name for client in CLIENTS)
        parser.error(f"nothing has such a name; the clients are: {names}; the cases are those of the page")
    if arguments.jobs < 1:
        parser.error("--jobs is 1 or more")
    if arguments.json is not None and not arguments.json.parent.is_dir():
        parser.error(f"--json: there is no folder {arguments.json.parent}")
    if missing := [client for client in clients if not client.is_installed]:
        packages = " ".join(sorted({package for client in missing for package in client.packages}))
        parser.error(f"not all of these are installed: {packages}; --client leaves some out")

    writes = arguments.client is None and arguments.case is None
    # Before the run: whether there is a place for its results.
    page = insert(PAGE.read_text(encoding="utf-8"), "") if writes else ""
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    table = run(clients, cases=cases, jobs=arguments.jobs, told=tell)
    found = {"Python": platform.python_version()}
    for client in clients:
        found |= versions(client)
    results = Results(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        seconds=round(time.monotonic() - began),
        versions=found,
        deadlines=Deadlines(),
        table=table,
    )
    if arguments.json is not None:
        results.save(arguments.json)
    if writes:
        PAGE.write_text(insert(page, render(results)), encoding="utf-8")
        results.save()
        print(f"wrote {PAGE} and {RESULTS}", file=sys.stderr)
    print(tables(table))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    except ComparisonError as error:
        sys.exit(str(error))

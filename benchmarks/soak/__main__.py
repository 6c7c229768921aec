"""Ask a server for an hour, kill it now and then, and compare what the clients were told with what it holds.

    python -m benchmarks.soak --minutes 60                          SQLite, one process
    python -m benchmarks.soak --minutes 60 --workers 2              PostgreSQL (CHAT_SESSIONS_POSTGRES_URL), two workers

Ends with 1 when an answer is lost, doubled or another one than was shown, when a prompt was sent twice, when an error
was untrue, or when a session is stuck.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.server.postgresql import VARIABLE, new_database

from benchmarks.soak.clients import WAYS, Client, Told
from benchmarks.soak.server import INDEX, KEY, Server
from chat_sessions import LlamaCloudChat, Timeouts, Turn

_PROBLEMS = ("lost", "doubled", "changed", "untrue errors", "stuck")
_SAMPLES = 12


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1, help="more than one: on PostgreSQL")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two turns of a client, at the most")
    parser.add_argument("--kill-every", type=float, default=40.0, help="seconds between two kills, about")
    given = parser.parse_args()
    if given.workers > 1 and not os.environ.get(VARIABLE):
        parser.error(f"set {VARIABLE} to a PostgreSQL, such as postgresql://me@127.0.0.1/db")
    with _store(given.workers) as store:
        server = Server(store, given.workers)
        server.start()
        try:
            found = asyncio.run(
                _soak(server, given.minutes * 60, given.clients, given.pause, given.kill_every, given.workers > 1)
            )
        finally:
            is_well = server.stop()
    sys.exit(0 if is_well and not any(found[name] for name in _PROBLEMS) else 1)


@contextmanager
def _store(workers: int) -> Generator[str]:
    if workers > 1:
        with new_database() as url:
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/soak.db"


async def _soak(
    server: Server, seconds: float, clients: int, pause: float, kill_every: float, has_workers: bool
) -> Counter[str]:
    # A sync turn takes a thread for as long as it lasts, and what it waits for may be another one.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4 * clients))
    end = time.monotonic() + seconds
    told: list[Told] = []
    chats = [_chat(server.url) for _ in range(2)]
    shared = chats[0].create().session_id
    made = [
        Client(chats[number % 2], f"c{number}", [chats[0].create().session_id for _ in range(3)] + [shared], told)
        for number in range(clients)
    ]
    asking = [asyncio.create_task(one.run(lambda: time.monotonic() > end, pause)) for one in made]
    kills = asyncio.create_task(_kill_on(server, end, kill_every, has_workers))
    samples = asyncio.create_task(_sample(server, end, told, seconds / _SAMPLES))
    await asyncio.gather(*asking, kills)
    await samples
    found = await _compare(chats[0], made, told, shared)
    print(f"\n{len(told):,} turns in {seconds / 60:.0f} minutes, {server.starts} starts, {kills.result()} kills")
    for name, count in sorted(Counter(one.kind for one in told).items()):
        print(f"  {name:16}{count:>8,}")
    for name in _PROBLEMS:
        print(f"  {name:16}{found[name]:>8,}")
    errors: Counter[str] = sum((one.errors for one in made), Counter())
    for said, count in errors.most_common(12):
        print(f"  {count} x {said[:230]}")
    for chat in chats:
        await chat.aio.close()
        chat.close()
    return found


def _chat(url: str) -> LlamaCloudChat:
    return LlamaCloudChat(
        base_url=url, api_key=KEY, index_ids=[INDEX], timeouts=Timeouts(first_event=30, idle=30, recovery=60)
    )


async def _kill_on(server: Server, end: float, every: float, has_workers: bool) -> int:
    """Kill a worker, or all of the server, again and again; or end it as a deployment does."""
    kills = 0
    while (wait := random.uniform(0.5, 1.5) * every) + time.monotonic() < end:
        await asyncio.sleep(wait)
        kills += 1
        if has_workers and random.random() < 0.7:
            server.kill_worker()
            continue
        await asyncio.to_thread(server.kill if random.random() < 0.7 else server.stop)
        await asyncio.sleep(random.uniform(0, 1))
        await asyncio.to_thread(server.start)
    return kills


async def _sample(server: Server, end: float, told: Sequence[Told], every: float) -> None:
    """Print, now and then, what both sides hold."""
    print(f"{'minute':>7}{'turns':>8}{'client MiB':>12}{'files':>7}{'threads':>9}{'server MiB':>12}")
    began = time.monotonic()
    while time.monotonic() + every < end + 1:
        await asyncio.sleep(every)
        print(f"{(time.monotonic() - began) / 60:>7.1f}{len(told):>8,}{_held(server)}", flush=True)


def _held(server: Server) -> str:
    own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    files = len(list(Path("/proc/self/fd").iterdir()))
    try:
        served = f"{server.memory():.0f}"
    except OSError:  # it is being killed
        served = "-"
    return f"{own:>12.0f}{files:>7}{threading.active_count():>9}{served:>12}"


async def _compare(chat: LlamaCloudChat, clients: Sequence[Client], told: Sequence[Told], shared: str) -> Counter[str]:
    """Count what differs between what the clients were told and what the sessions hold."""
    found: Counter[str] = Counter()
    stored: dict[tuple[str, str], list[Turn]] = {}
    sessions = sorted({one.session_id for one in told} | {shared})
    for session_id in sessions:
        # Turns that a client left may still run: the session takes the next when they have ended.
        last = await clients[0].ask(session_id, "last", WAYS[1])
        turns = await chat.aio.session(session_id).turns()
        found["stuck"] += last.kind != "answered" or any(not turn.is_complete for turn in turns)
        for turn in turns:
            stored.setdefault((session_id, turn.prompt or ""), []).append(turn)
    for one in told:
        problem = _problem(one, stored.get((one.session_id, one.prompt), []))
        if problem is not None:
            found[problem] += 1
            if found[problem] <= 5:
                print(f"{problem}: {one}\n  stored: {stored.get((one.session_id, one.prompt))}", flush=True)
    return found


def _problem(one: Told, same: list[Turn]) -> str | None:
    if len(same) > 1:
        return "doubled"
    if one.kind == "not taken":
        return "untrue errors" if same else None
    if not same:
        return "lost" if one.kind in ("answered", "broken") or one.text else None
    # A tool between two segments is shown as a blank line by the frameworks.
    shown, whole = "".join(one.text.split()), "".join(same[0].text.split())
    if one.kind == "answered":
        return None if shown == whole and same[0].error is None else "changed"
    return None if whole.startswith(shown) else "changed"


if __name__ == "__main__":
    main()

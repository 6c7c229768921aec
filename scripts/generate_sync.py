"""Writes the sync twin of each async module: `async_client.py` is the source, `client.py` beside it is generated.

    python scripts/generate_sync.py            write what is out of date
    python scripts/generate_sync.py --check    change nothing; fail if something is out of date, or a rule is not used

A twin is its source with `async` and `await` taken out and these words replaced, in the prose too. What differs in
other ways (how a thread and a task wait, how a socket is closed) is written by hand, in modules whose functions
differ by name only: `async_sleep` and `sleep`, or in the twins of `BY_HAND`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "src" / "chat_sessions"
# Its twin closes a socket that another thread may read.
BY_HAND = {SOURCES / "openhands/live/async_websocket.py"}
NOTICE = "# Generated from {source} by scripts/generate_sync.py: edit that file, then run `make format`.\n"

# Whole words, the first rule that fits. `Async*` and `async_*` names lose their prefix.
RULES: dict[str, str] = {
    r"async (def|with|for) ": r"\1 ",
    r"await ": "",
    r"Awaitable\[(\w+)\]": r"\1",
    r"\bAsyncByteStream\b": "SyncByteStream",
    r"\bhandle_async_request\b": "handle_request",
    r"\basyncio_network\b": "network",
    r"Async(?=[A-Z])": "",
    r"(?<!\w)async_(?=\w)": "",
    r"__a(enter|exit|iter|next)__": r"__\1__",
    r"\banext\(": "next(",
    r"\baclose\b": "close",
    r"\ba(?=(?:read|send|iter_\w+)\b)": "",
}
used: Counter[str] = Counter()


def twin(source: Path) -> str:
    """The text of a source's sync twin."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES.items():
        text, count = re.subn(pattern, replacement, text)
        used[pattern] += count
    return formatted(NOTICE.format(source=source.name) + text, source.with_name(twin_name(source)))


def twin_name(source: Path) -> str:
    """The file name of a source's twin."""
    return source.name.removeprefix("async_")


def formatted(text: str, path: Path) -> str:
    """The text as the project's formatter writes it."""
    for arguments in (["check", "--fix-only", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(path), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> int:
    """Write or check every twin; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    stale: list[Path] = []
    sources = sorted(set(SOURCES.rglob("async_*.py")) - BY_HAND)
    targets = [source.with_name(twin_name(source)) for source in sources]
    generated = [path for path in SOURCES.rglob("*.py") if path.read_text("utf-8").startswith(NOTICE[:17])]
    without_source = sorted(set(generated) - set(targets))
    for source, target in zip(sources, targets, strict=True):
        now = target.read_text(encoding="utf-8") if target.exists() else ""
        if now != (text := twin(source)):
            stale.append(target)
            if not is_check:
                target.write_text(text, encoding="utf-8")
    problems = [f"{path} has no source any more: remove it" for path in without_source]
    problems += [f"rule {pattern!r} is used by nothing" for pattern in RULES if not used[pattern]]
    if is_check:
        problems += [f"{path} is out of date or was edited: run `make format`" for path in stale]
    print(*problems, sep="\n", file=sys.stderr) if problems else None
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

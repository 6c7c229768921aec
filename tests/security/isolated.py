"""Runs every command over a folder in a network of its own, and prints what was sent: `unshare -rn python -m …`.

The kernel counts what has no way out, whatever library wanted to send it: a hook in Python would see Python alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.server.agents.openai_endpoint import DONE, chunk, endpoint

_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


def sent() -> int:
    """How many packets were to leave this machine since the network was made."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    newer = re.findall(r"Ip6OutNoRoutes\s+(\d+)", Path("/proc/net/snmp6").read_text())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + sum(map(int, newer))


def main() -> None:
    """Print the exit codes of the commands, and what was sent by them and by a connection made on purpose."""
    folder = sys.argv[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))
    before = sent()
    found: dict[str, Any] = {}
    question = "What is the condition grade of the bridge?"
    with endpoint(chunk("It is 2.4 [1]."), chunk(finish="stop"), DONE) as at:
        model = ("--llm", "small", "--llm-base-url", at.url)
        commands = {
            "ask": ("ask", question, "-i", folder, "--json"),
            "ask --llm": ("ask", question, "-i", folder, *model),
            "chat": ("chat", "-i", folder),
            "demo": ("demo", folder, "-q", question),
            "sessions": ("sessions", "list", "--local"),
            "doctor": ("doctor", "--local", "-i", folder),
        }
        for name, words in commands.items():
            done = subprocess.run(
                [sys.executable, "-m", "chat_sessions", *words], input=f"{question}\n", capture_output=True, text=True
            )
            found[name] = [done.returncode, "2.4" in done.stdout, done.stderr[-500:]]
    found["serve"] = _serving("serve", folder, "--port", "0")
    found["ui"] = _serving("ui", folder, "--port", "0", "--no-open")
    commands_sent = sent() - before
    with socket.socket() as away:
        away.connect_ex(("192.0.2.1", 80))
    print(json.dumps({"commands": found, "sent": commands_sent, "on purpose": sent() - before - commands_sent}))


def _serving(*words: str) -> list[Any]:
    """Run a command that serves, open what it serves, and interrupt it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chat_sessions", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said, opened = "", False
    for line in process.stdout:
        said += line
        page = re.search(r"http://127\.0\.0\.1:\d+/\S*token\S*", said)
        if page and "Ctrl-C" in said and not opened:
            with httpx.Client(follow_redirects=True, timeout=60) as browser:
                opened = browser.get(page[0]).status_code == 200
            process.send_signal(signal.SIGINT)
    return [process.wait(), opened, said[-500:]]


if __name__ == "__main__":
    os.environ.pop("CHAT_SESSIONS_CACHE", None)
    main()

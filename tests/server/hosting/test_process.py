"""The server in the foreground: signals, and what becomes of running turns."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server import serve
from chat_sessions.server.hosting.listener import url_of
from tests.server.scripted import ANSWER, Api, PaperIndex, ScriptedAgent, types


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_beyond_this_machine_a_key_is_needed(address: str) -> None:
    with pytest.raises(ConfigurationError, match="can be reached from other machines"):
        serve(indexes={"idx-docs": PaperIndex()}, host=address)


@pytest.mark.parametrize(
    ("address", "port", "said"),
    [
        ("192.0.2.1", 0, "cannot listen on 192.0.2.1 port 0"),
        ("not a host", 0, "the host 'not a host' is not known"),
    ],
)
def test_an_address_that_is_not_this_machines_is_an_error(address: str, port: int, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        serve(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(), host=address, port=port, api_key="key")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": 3}, "host is the address or the name of this machine, not an int"),
        ({"api_key": 3}, "api_key is a str or a SecretStr, not an int$"),
        ({"indexes": 3}, "indexes=3: name an index"),
    ],
)
def test_an_argument_of_another_kind_is_an_error_that_names_it(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        serve(**{"indexes": {"idx-docs": PaperIndex()}, "workers": 1, **options})


def test_serve_needs_no_callback_for_when_it_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def end_it() -> None:
        while not _listens(f"http://127.0.0.1:{port}"):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end_it)
    ending.start()
    serve(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(), port=port)
    ending.join()


def test_a_callback_that_fails_ends_the_server_with_its_error() -> None:
    def fail(_url: str, _key: str) -> None:
        raise OSError("the pipe is closed")

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="the pipe is closed"):
        serve(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(), port=0, on_listening=fail)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


_INTERRUPTED = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from chat_sessions.server import serve
from tests.server.scripted import Api, PaperIndex
from tests.server.hosting.test_thread import Interrupted

def ask(url, key):
    api = Api(url, key)
    threading.Thread(target=lambda: api.ask(api.create()), daemon=True).start()

serve(indexes={"idx-docs": PaperIndex()}, agent=Interrupted(), port=0, on_listening=ask)
"""


def test_a_keyboard_interrupt_in_the_main_thread_is_ctrl_c_and_ends_the_server() -> None:
    command = [sys.executable, "-c", _INTERRUPTED, str(Path(__file__).parents[3])]
    done = subprocess.run(command, capture_output=True, timeout=50, check=False)
    assert done.returncode == -signal.SIGINT


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_serve_ends_on_a_signal_and_hands_back_the_signals(sent: int, address: str) -> None:
    found: list[tuple[str, str]] = []

    def listening(url: str, key: str) -> None:
        found.append((url, key))
        os.kill(os.getpid(), sent)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    serve(
        indexes={"idx-docs": PaperIndex()},
        agent=ScriptedAgent(*ANSWER),
        host=address,
        port=0,
        on_listening=listening,
    )
    assert found[0][0].startswith(f"http://{address}:")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


_SERVED = """
import sys
sys.path.insert(0, sys.argv[1])
from chat_sessions.server import serve
from chat_sessions.core.events import TextDelta
from tests.server.scripted import PaperIndex, ScriptedAgent
import asyncio, os

class Slow:
    async def run(self, turn):
        yield TextDelta(content="a")
        while not os.path.exists(sys.argv[2]):
            await asyncio.sleep(0.01)
        yield TextDelta(content="b")

serve(
    indexes={"idx-docs": PaperIndex()}, agent=Slow(), api_key="key", port=0, drain=float(sys.argv[3]),
    on_listening=lambda url, key: print(url, flush=True),
)
print("served", flush=True)
"""


@pytest.mark.parametrize(("drain", "expected"), [("20", ["text_delta", "text", "stop"]), ("0", ["text", "stop"])])
def test_serve_gives_a_running_turn_the_drain_to_end(tmp_path: Path, drain: str, expected: list[str]) -> None:
    go = tmp_path / "go"
    command = [sys.executable, "-c", _SERVED, str(Path(__file__).parents[3]), str(go), drain]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        api = Api(url, "key")
        with api.http, api.stream(api.create()) as stream:
            stream.event()
            process.send_signal(signal.SIGTERM)
            if drain == "20":
                # The turn may go on only when the server is on its way out, and takes no more connections.
                while _listens(url):
                    pass
                go.touch()
            assert types(stream.rest()) == expected
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (out, err, process.returncode) == ("served\n", "", 0)


def _listens(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200
    except httpx.ConnectError:
        return False


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    assert url_of("::1", 80) == "http://[::1]:80"

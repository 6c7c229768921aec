"""Parent and child of a fork do not read each other's answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chat_sessions import LlamaCloudChat
from tests.llama_cloud.test_client import SUMMARY
from tests.wire_server import Connection, Request, WireServer

FORKING = """
import os, sys
from chat_sessions import LlamaCloudChat
chat = LlamaCloudChat(api_key="k", base_url=sys.argv[1])
chat.get_summary("ses-parent")
children = []
for name in ("ses-one", "ses-two"):
    child = os.fork()
    if not child:
        os._exit(0 if all(chat.get_summary(name).session_id == name for _ in range(20)) else 1)
    children.append(child)
assert all(chat.get_summary("ses-parent").session_id == "ses-parent" for _ in range(20))
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""

# Forks while another thread makes the first SSL context, which it may end only once the fork has begun.
FORKING_MEANWHILE = """
import os, ssl, sys, threading
from chat_sessions.http.connection.route import Route
begun, forks, made = threading.Event(), threading.Event(), []
make = ssl.create_default_context

def slowly(*args, **options):
    begun.set()
    forks.wait()
    made.append(make(*args, **options))
    return made[0]

ssl.create_default_context = slowly
thread = threading.Thread(target=Route("http://127.0.0.1:9").ssl_context)
thread.start()
begun.wait()
os.register_at_fork(before=forks.set)
child = os.fork()
if not child:
    os._exit(0 if made else 1)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

# Forks while another thread is at its first async request, in the midst of an import.
FORKING_AT_THE_FIRST_REQUEST = """
import asyncio, os, signal, sys, threading
from chat_sessions import LlamaCloudChat
chat = LlamaCloudChat(api_key="k", base_url=sys.argv[1])
begun, forks = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "anyio._backends._asyncio":
            begun.set()
            forks.wait()

def ask(name):
    assert asyncio.run(chat.aio.get_summary(name)).session_id == name

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=ask, args=["ses-parent"])
thread.start()
begun.wait()
os.register_at_fork(before=forks.set)
child = os.fork()
if not child:
    # A child that waits for an import without end is ended.
    signal.alarm(20)
    ask("ses-child")
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def echo(request: Request, connection: Connection) -> None:
    session_id = request.target.split("/")[4]
    connection.respond(200, {**SUMMARY, "session_id": session_id})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_client_that_was_made_before_a_fork_serves_parent_and_children(wire: WireServer) -> None:
    wire.on("GET", "/summary", echo)
    run = subprocess.run([sys.executable, "-c", FORKING, wire.url], capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_certificates_that_another_thread_loads() -> None:
    # Newer Pythons warn of any fork beside a thread.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING_MEANWHILE]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_what_another_threads_first_async_request_imports(wire: WireServer) -> None:
    wire.on("GET", "/summary", echo)
    # Newer Pythons warn of any fork beside a thread.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING_AT_THE_FIRST_REQUEST, wire.url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_sync_client_imports_nothing_for_an_event_loop(wire: WireServer) -> None:
    wire.on("GET", "/summary", echo)
    program = """
import sys
from chat_sessions import LlamaCloudChat
LlamaCloudChat(api_key="k", base_url=sys.argv[1]).get_summary("ses-1")
sys.exit("anyio._backends._asyncio" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program, wire.url], capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stderr) == (0, "")


def test_in_another_process_a_client_opens_connections_of_its_own(
    wire: WireServer, sync_chat: LlamaCloudChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    def note(request: Request, connection: Connection) -> None:
        ports.append(connection.client_port)
        echo(request, connection)

    wire.on("GET", "/summary", note)
    sync_chat.get_summary("ses-1")
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        sync_chat.get_summary("ses-1")
    assert len(set(ports)) == 2

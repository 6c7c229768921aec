"""What the hosting uses although it is not public. Each of these tests fails when it changes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import uvicorn
from starlette.types import Receive, Scope, Send

from chat_sessions.server.hosting._compat import abort_connections


async def test_uvicorn_tells_which_connections_it_holds() -> None:
    asked = asyncio.Event()
    left = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    server = uvicorn.Server(uvicorn.Config(endless, lifespan="off", log_config=None, ws="none"))
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asked.wait()
    abort_connections(server)
    assert await reader.read() == b""
    await left.wait()
    writer.close()
    server.should_exit = True
    await serving


_AT_EXIT = """
import threading
from concurrent.futures import ThreadPoolExecutor
from chat_sessions.server.hosting._compat import call_at_exit

executor = ThreadPoolExecutor(2)
executor.submit(int).result()

def work():
    started = threading.Thread(target=lambda: print("a thread"))
    started.start()
    started.join()
    print(executor.submit(lambda: "an executor").result())

call_at_exit(work)
"""


def test_python_calls_a_function_at_exit_while_threads_and_executors_work() -> None:
    assert hasattr(threading, "_register_atexit")
    done = subprocess.run([sys.executable, "-c", _AT_EXIT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a thread\nan executor\n", "")

"""Under real ASGI servers, mounted or not, every route of the API and of the page is behind its key."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.server.api import mounted
from tests.server.scripted import IDS

ROOT = Path(__file__).parents[3]
UVICORN = ("uvicorn", "--log-level", "error", "--fd")
GUNICORN = ("gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker", "--log-level", "error", "--bind")
PROXIED = ("uvicorn", "--root-path", "/proxied", *UVICORN[1:])


class Served(NamedTuple):
    """An application that a server of another process serves: `api` is where it has the API."""

    client: httpx.Client
    api: str
    root: str


PLACES = {
    "uvicorn, mounted in Starlette": (UVICORN, "in_starlette", "/chat"),
    "uvicorn, mounted in FastAPI, with a root path": (PROXIED, "in_fastapi", "/team/api"),
    "gunicorn, mounted in FastAPI": (GUNICORN, "in_fastapi", "/team/api"),
}


@pytest.fixture(scope="module", params=PLACES)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    (server, *options), app, api = PLACES[request.param]
    if find_spec(server) is None:
        pytest.skip("gunicorn is not installed: it needs a newer uvicorn than the lowest, and does not run on Windows")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        options.append(f"fd://{fd}" if server == "gunicorn" else str(fd))
        process = subprocess.Popen(
            [sys.executable, "-m", server, *options, f"tests.server.api.mounted:{app}"], cwd=ROOT, pass_fds=[fd]
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield Served(client, api, "/proxied" if "--root-path" in options else "")
    finally:
        process.terminate()
        process.wait()


def test_every_route_of_the_api_asks_for_the_key_however_its_path_is_written(served: Served) -> None:
    client, api, _ = served
    document = client.get(f"{api}/openapi.json").json()
    asked = [(path, method) for path, methods in document["paths"].items() for method in methods]
    guarded = [(path, method) for path, method in asked if path.startswith("/api/")]
    assert len(guarded) >= 8
    for path, method in [*guarded, ("/api/nothing", "get"), ("/api/v1/chat", "put"), ("/api/v1/chat/", "post")]:
        for written in (path, path.replace("/api/", "/api//"), path.replace("/api/", "/%61pi/")):
            response = client.request(method, api + written, json={"index_ids": IDS, "prompt": "How many?"})
            assert response.status_code == 401, (method, written)


def test_with_the_key_a_turn_is_answered_and_a_link_leads_to_its_image(served: Served) -> None:
    client, api, root = served
    headers = {"Authorization": f"Bearer {mounted.KEY}"}
    session_id = client.post(f"{api}/api/v1/chat", headers=headers).json()["session_id"]
    turn = {"index_ids": IDS, "prompt": "How many?"}
    stream = client.post(f"{api}/api/v1/chat/{session_id}/messages/stream", json=turn, headers=headers)
    assert '"type":"stop"' in stream.text.replace(" ", "")
    source = {"source_id": "dfl-paper"}
    answer = client.get(f"{api}/api/v1/beta/attachments/pages/1.png", params=source, headers=headers)
    # A proxy takes its own prefix off.
    url = answer.json()["url"].replace(f"{root}{api}/attachments", f"{api}/attachments")
    assert client.get(url).content == b"picture"
    assert client.get(url.partition("?")[0]).status_code == 403


def test_every_route_of_the_page_asks_for_its_token_under_its_own_name(served: Served) -> None:
    asked = [(path, method) for path, methods in mounted.page.openapi()["paths"].items() for method in methods]
    assert len(asked) >= 10
    for path, method in [*asked, ("/static/htmx.min.js", "get"), ("/nothing", "get")]:
        own = {"Host": mounted.HOST, "Sec-Fetch-Site": "same-origin"}
        codes = [served.client.request(method, f"/page{path}", headers=headers).status_code for headers in ({}, own)]
        assert codes == [421, 401], (method, path)

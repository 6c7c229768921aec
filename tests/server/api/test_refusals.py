from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api.app import create_app
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits
from tests.server.scripted import ANSWER, Gate, LocalApi, PaperIndex, ScriptedAgent

Start = Callable[..., LocalApi]

STREAM = "/api/v1/chat/ses-x/messages/stream"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {key}"},
        {"Authorization": "{key}"},
        {"Authorization": "Bearer {key}x"},
        {"Authorization": b"Bearer k\xc3\xa4y"},
    ],
)
def test_a_request_without_the_key_is_refused(api: LocalApi, headers: dict[str, Any]) -> None:
    key = api.server.api_key
    sent = {name: value.format(key=key) if isinstance(value, str) else value for name, value in headers.items()}
    for path in ("/api/v1/chat", "/api/v1/indexes", "/api/v1/beta/attachments/x", "/api/v1/unknown"):
        response = httpx.get(api.server.url + path, headers=sent, trust_env=False, timeout=60)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "API key" in response.json()["detail"]
        assert key not in response.text


def test_the_scheme_of_the_key_may_be_written_in_any_case(api: LocalApi) -> None:
    headers = {"Authorization": f"bearer  {api.server.api_key}"}
    assert httpx.get(f"{api.server.url}/api/v1/chat", headers=headers, trust_env=False, timeout=60).status_code == 200


def test_the_key_can_be_given(start: Start) -> None:
    assert start(api_key="my-own").server.api_key == "my-own"


def test_each_server_makes_a_key_of_its_own(start: Start) -> None:
    assert start().server.api_key != start().server.api_key


def test_health_and_the_document_need_no_key(api: LocalApi) -> None:
    assert httpx.get(f"{api.server.url}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
    assert httpx.get(f"{api.server.url}/openapi.json", trust_env=False, timeout=60).json()["openapi"] == "3.1.0"


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert {"loc", "msg", "type"} <= detail[0].keys() <= {"loc", "msg", "type", "input"}
    return dict(detail[0])


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({"index_ids": ["idx-docs"]}, ["body", "prompt"], "missing"),
        ({"prompt": "hi"}, ["body", "index_ids"], "missing"),
        ({"index_ids": ["idx-docs"], "prompt": ""}, ["body", "prompt"], "string_too_short"),
        ({"index_ids": ["idx-docs"], "prompt": "x" * 1001}, ["body", "prompt"], "string_too_long"),
        ({"index_ids": ["idx-docs"], "prompt": 7}, ["body", "prompt"], "string_type"),
        ({"index_ids": [], "prompt": "hi"}, ["body", "index_ids"], "too_short"),
        ({"index_ids": [f"idx-{n}" for n in range(11)], "prompt": "hi"}, ["body", "index_ids"], "too_long"),
        ({"index_ids": ["a", 1], "prompt": "hi"}, ["body", "index_ids", 1], "string_type"),
        ({"index_ids": ["a"], "prompt": "hi", "require_all_indexes": 1}, ["body", "require_all_indexes"], "bool_type"),
        ([], ["body"], "model_attributes_type"),
    ],
)
def test_a_message_that_breaks_the_documented_limits_is_refused(
    api: LocalApi, body: object, loc: list[object], kind: str
) -> None:
    found = problem(api.http.post(STREAM, content=json.dumps(body).encode()))
    assert (found["loc"], found["type"]) == (loc, kind)


def test_null_is_no_message(api: LocalApi) -> None:
    found = problem(api.http.post(STREAM, content=b"null"))
    # Older versions of FastAPI do not distinguish null from no body.
    assert (found["loc"], found["type"] in ("missing", "model_attributes_type")) == (["body"], True)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "missing"),
        (b"  ", "missing"),
        (b"{", "json_invalid"),
        (b"\xff", "json_invalid"),
        (b'"\\ud83d"', "json_invalid"),
    ],
)
def test_a_body_that_is_no_json_is_refused(api: LocalApi, content: bytes, kind: str) -> None:
    assert problem(api.http.post(STREAM, content=content))["type"] == kind


@pytest.mark.parametrize("content", [b'{"index_ids": ["idx-docs"], "prompt": "hi"}', b"\xff\xfe"])
def test_a_body_that_says_it_is_something_else_is_refused(api: LocalApi, content: bytes) -> None:
    """The service, which is made with FastAPI, does the same."""
    found = problem(api.http.post(STREAM, content=content, headers={"Content-Type": "text/plain"}))
    assert (found["loc"], found["input"]) == (["body"], content.decode("utf-8", "replace"))


def test_a_body_that_is_no_json_is_refused_with_the_reason(api: LocalApi) -> None:
    assert problem(api.http.post(STREAM, content=b"{"))["msg"].startswith("JSON decode error: EOF while parsing")


@pytest.mark.parametrize(
    ("number", "echoed"), [("NaN", "NaN"), ("1e999", "Infinity"), ("-1e999", "-Infinity"), ("[NaN]", ["NaN"])]
)
def test_a_number_that_json_has_not_is_refused_and_echoed_by_its_name(
    api: LocalApi, number: str, echoed: object
) -> None:
    found = problem(api.http.post(STREAM, content=f'{{"index_ids": ["idx-docs"], "prompt": {number}}}'.encode()))
    assert (found["loc"], found["type"], found["input"]) == (["body", "prompt"], "string_type", echoed)


def test_a_prompt_of_a_thousand_characters_is_taken(api: LocalApi) -> None:
    assert api.ask(api.create(), "ä\U0001f600" * 500)[-1]["is_error"] is False


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"index_ids": [f"idx-{n}" for n in range(11)]}, ["body", "index_ids"]),
        ({"shared_access": "write"}, ["body", "shared_access"]),
    ],
)
def test_a_session_that_breaks_the_documented_limits_is_refused(api: LocalApi, body: object, loc: list[object]) -> None:
    assert problem(api.http.post("/api/v1/chat", json=body))["loc"] == loc


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("page_size=0", "page_size"),
        ("page_size=many", "page_size"),
        ("page_token=abc", "page_token"),
        ("page_token=ffffffffffffffff", "page_token"),
        ("project_id=mine", "project_id"),
        ("organization_id=mine", "organization_id"),
    ],
)
def test_a_query_that_cannot_be_right_is_refused(api: LocalApi, query: str, loc: str) -> None:
    assert problem(api.http.get(f"/api/v1/chat?{query}"))["loc"] == ["query", loc]


def test_project_and_organization_are_accepted_everywhere(api: LocalApi) -> None:
    scope = {"project_id": "5f1a4d0e-9a52-4a4b-8c1d-3f0f6f3e9b11", "organization_id": ""}
    session_id = api.http.post("/api/v1/chat", params=scope).json()["session_id"]
    base = f"/api/v1/chat/{session_id}"
    assert api.http.get("/api/v1/chat", params=scope).status_code == 200
    assert api.http.get(base, params=scope).status_code == 200
    assert api.http.get(f"{base}/summary", params=scope).status_code == 200
    assert api.http.post(f"{base}/title", params=scope, json={"first_message": "a"}).status_code == 200
    message = {"index_ids": ["idx-docs"], "prompt": "hi"}
    assert api.http.post(f"{base}/messages/stream", params=scope, json=message).status_code == 200
    assert api.http.delete(base, params=scope).status_code == 204


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused(start: Start, chunked: bool) -> None:
    api = start(limits=Limits(body_bytes=100))

    def pieces() -> Iterator[bytes]:
        yield from [b" " * 60, b" " * 60]

    response = api.http.post("/api/v1/chat", content=pieces() if chunked else b" " * 120)
    assert (response.status_code, response.json()) == (413, {"detail": "the body is larger than 100 bytes"})


def test_an_unknown_path_or_method_is_refused_as_json(api: LocalApi) -> None:
    assert api.http.get("/api/v1/nothing").json() == {"detail": "Not Found"}
    assert api.http.get("/api/v1/chat/").status_code == 404
    response = api.http.put("/api/v1/chat")
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_the_indexes_are_listed_in_the_order_given(start: Start) -> None:
    api = start(indexes={"idx-b": PaperIndex("idx-b"), "idx-a": PaperIndex("idx-a")})
    listed = api.http.get("/api/v1/indexes").json()["items"]
    assert [(index["index_id"], index["name"]) for index in listed] == [("idx-b", "paper"), ("idx-a", "paper")]


def test_the_list_of_indexes_names_the_files_that_could_not_be_read(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Dogs are allowed.")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    with pytest.warns(UserWarning, match="b.pdf: left out"):
        api = start(indexes={"idx-docs": tmp_path})
    assert api.http.get("/api/v1/indexes").json()["items"] == [
        {
            "index_id": "idx-docs",
            "name": tmp_path.name,
            "documents": 1,
            "left_out": [{"file_name": "b.pdf", "reason": "it is damaged or not a PDF file"}],
            "notes": [],
        }
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"indexes": {}}, "there is no index to serve"),
        ({"api_key": ""}, "the api_key is empty"),
        ({"api_key": "schlüssel"}, "no HTTP header can carry"),
        ({"api_key": " padded "}, "no HTTP header can carry"),
        ({"attachment_lifetime": 0}, "attachment_lifetime=0: use a number above 0"),
        ({"attachment_lifetime": "3"}, "attachment_lifetime='3': use a number above 0"),
        ({"attachment_lifetime": float("nan")}, "attachment_lifetime=nan: use a number above 0"),
        ({"drain": "3"}, "drain='3': use a number from 0 on"),
        ({"drain": -1}, "drain=-1: use a number from 0 on"),
        ({"drain": True}, "drain=True: use a number from 0 on"),
        ({"indexes": 3}, "indexes=3: name an index"),
        ({"api_key": b"secret"}, "api_key is a str or a SecretStr, not a bytes$"),
        ({"api_key": 3}, "api_key is a str or a SecretStr, not an int$"),
        ({"store": 3}, "store is a URL such as 'sqlite:///chat.db', not an int"),
        ({"index_store": 3}, "index_store is the path of a folder, or ':memory:', not an int"),
        ({"limits": 3}, "limits is a Limits, not an int"),
        ({"behaviour": "queue"}, "behaviour is a Behaviour, not a str"),
    ],
)
def test_an_app_that_cannot_serve_is_not_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        create_app(**{"indexes": {"idx-docs": PaperIndex()}, **options})


async def test_an_app_without_its_lifespan_says_what_is_missing() -> None:
    app = create_app(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(*ANSWER))
    headers = {"Authorization": f"Bearer {app.state.api_key}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app", headers=headers) as client:
        response = await client.get("/api/v1/chat")
    assert response.status_code == 503
    assert "lifespan" in response.json()["detail"]


async def test_an_app_serves_within_its_lifespan_and_not_after_it() -> None:
    app: Starlette = create_app(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(*ANSWER))
    headers = {"Authorization": f"Bearer {app.state.api_key}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app", headers=headers) as client:
        async with app.router.lifespan_context(app):
            session_id = (await client.post("/api/v1/chat")).json()["session_id"]
            assert (await client.get(f"/api/v1/chat/{session_id}")).status_code == 200
            await app.state.close_turns()
            message = {"index_ids": ["idx-docs"], "prompt": "hi"}
            response = await client.post(f"/api/v1/chat/{session_id}/messages/stream", json=message)
            assert (response.status_code, response.json()) == (503, {"detail": "the server is shutting down"})
        assert (await client.get("/api/v1/chat")).status_code == 503
        await app.state.close_turns()


def test_a_failure_of_the_servers_own_is_a_500_without_details(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(PaperIndex):
        def attachments(self, source_id: str) -> list[str] | None:
            raise RuntimeError("private")

    api = start(indexes={"idx-docs": Failing()})
    response = api.http.get("/api/v1/beta/attachments", params={"source_id": "dfl-paper"})
    assert (response.status_code, response.json()) == (500, {"detail": "internal server error"})
    assert "GET /api/v1/beta/attachments failed" in caplog.text


def test_the_document_describes_every_route_and_every_schema_it_names(api: LocalApi) -> None:
    document = api.http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/v1/chat",
        "/api/v1/chat/{session_id}",
        "/api/v1/chat/{session_id}/summary",
        "/api/v1/chat/{session_id}/title",
        "/api/v1/chat/{session_id}/messages/stream",
        "/api/v1/indexes",
        "/api/v1/beta/attachments",
        "/api/v1/beta/attachments/{attachment_name}",
        "/attachments/{source_id}/{attachment_name}",
        "/health",
    }
    prefix = "#/components/schemas/"
    named = {part.partition('"')[0] for part in json.dumps(document).split(f'"{prefix}')[1:]}
    assert named <= document["components"]["schemas"].keys()
    stream = document["paths"]["/api/v1/chat/{session_id}/messages/stream"]["post"]
    assert set(stream["responses"]) == {"200", "401", "404", "409", "413", "422", "503"}
    assert document["paths"]["/api/v1/chat"]["post"]["requestBody"].get("required", False) is False


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/chat/ses-1", {"GET", "HEAD", "DELETE"}),
        ("/api/v1/chat/ses-1/messages/stream", {"POST"}),
        ("/api/v1/beta/attachments/a/b.jpg", {"GET", "HEAD"}),
        ("/health", {"GET", "HEAD"}),
        ("/openapi.json", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(
    api: LocalApi, path: str, allowed: set[str]
) -> None:
    response = api.http.request("BREW", path)
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert set(response.headers["allow"].split(", ")) == allowed


def test_whatever_can_be_got_can_be_asked_for_its_head(api: LocalApi) -> None:
    session_id = api.create()
    for path in ("/api/v1/chat", f"/api/v1/chat/{session_id}", f"/api/v1/chat/{session_id}/summary", "/health"):
        got, head = api.http.get(path), api.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_a_message_that_was_queued_when_its_client_left_gets_no_answer() -> None:
    gate = Gate()
    agent = ScriptedAgent(gate)
    app = create_app(
        indexes={"idx-docs": PaperIndex()},
        agent=agent,
        api_key="key",
        behaviour=Behaviour(concurrent_turns="queue"),
    )
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://app", headers={"Authorization": "Bearer key"})
    message = {"index_ids": ["idx-docs"], "prompt": "hi"}
    async with client, app.router.lifespan_context(app):
        path = f"/api/v1/chat/{(await client.post('/api/v1/chat')).json()['session_id']}/messages/stream"
        first = asyncio.create_task(client.post(path, json=message))
        await asyncio.to_thread(gate.reached.wait)
        incoming: list[dict[str, Any]] = [
            {"type": "http.request", "body": json.dumps(message).encode(), "more_body": False},
            {"type": "http.disconnect"},
        ]
        sent: list[Any] = []
        was_read = asyncio.Event()

        async def receive() -> dict[str, Any]:
            was_read.set()
            return incoming.pop(0)

        async def send(part: Any) -> None:
            sent.append(part)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"authorization", b"Bearer key")],
            "query_string": b"",
        }
        second = asyncio.create_task(app(scope, receive, send))
        await was_read.wait()
        gate.open()
        await asyncio.gather(first, second)
    assert sent[0]["status"] == 204
    assert len(agent.turns) == 1


_IMPORTED = """
import sys
sys.modules[sys.argv[1]] = None
try:
    from chat_sessions.server import create_app
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (
            "fastapi",
            "ConfigurationError: the local server needs fastapi; install it with: pip install 'chat-sessions[server]'",
        ),
        ("chat_sessions.server.turns.turns", "ModuleNotFoundError: import of chat_sessions.server.turns.turns halted"),
    ],
)
def test_a_missing_extra_is_named_and_a_bug_is_not_taken_for_one(missing: str, said: str) -> None:
    command = [sys.executable, "-c", _IMPORTED, missing]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(said)

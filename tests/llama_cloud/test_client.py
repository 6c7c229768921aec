"""Each endpoint, sync and async, as the platform's document has it."""

from __future__ import annotations

import pickle
from pathlib import Path

import httpx
import pytest

from chat_sessions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncLlamaCloudChat,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    ImageAttachment,
    LlamaCloudChat,
    NotFoundError,
    ProtocolError,
    Stop,
    Text,
    Timeouts,
    Usage,
    UserInput,
)
from tests.faces import AnyChat, do, entered, every
from tests.wire_server import Connection, Handler, Request, WireServer

SUMMARY = {
    "session_id": "ses-1",
    "last_updated_at": "2026-04-22T12:34:41.342245",
    "generated_title": "Findings",
    "index_ids": ["idx-1"],
    "job_metadata": {"total_input_tokens": 3, "turns": 2, "is_error": False},
    "shared_access": "query",
    "new_field": 1,
}


STOP = Stop(usage=Usage(), is_error=False)


def answer(status: int, body: object = None, **headers: str) -> Handler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def handle(_: Request, connection: Connection) -> None:
        connection.respond(status, body, headers=named)

    return handle


def break_off(_: Request, connection: Connection) -> None:
    connection.reset()


async def test_create_sends_the_indexes_and_the_sharing_and_gives_back_a_summary(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/api/v1/chat", answer(201, SUMMARY))
    summary = await do(chat.create(index_ids=["idx-1"], shared_access="query"))
    assert (summary.session_id, summary.generated_title, summary.index_ids) == ("ses-1", "Findings", ["idx-1"])
    assert summary.job_metadata is not None
    assert (summary.job_metadata.input_tokens, summary.job_metadata.output_tokens) == (3, None)
    assert summary.model_dump()["new_field"] == 1
    (request,) = wire.requests
    assert request.json == {"index_ids": ["idx-1"], "shared_access": "query"}
    assert request.headers["authorization"] == "Bearer key-1"
    assert request.headers["user-agent"].startswith("chat-sessions/")


async def test_create_without_indexes_leaves_the_session_unbound(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/api/v1/chat", answer(201, {**SUMMARY, "index_ids": None, "job_metadata": None}))
    assert (await do(chat.create())).index_ids is None
    assert wire.requests[0].json == {}


async def test_list_fetches_each_page_when_it_is_needed(chat: AnyChat, wire: WireServer) -> None:
    def page(ids: str, token: str) -> Handler:
        return answer(200, {"items": [{**SUMMARY, "session_id": name} for name in ids], "next_page_token": token})

    wire.on("GET", "/api/v1/chat", page("ab", "t+/="), page("c", ""))
    assert wire.requests == []
    assert [summary.session_id for summary in await every(chat.list(page_size=2))] == ["a", "b", "c"]
    assert [r.target.partition("?")[2] for r in wire.requests] == ["page_size=2", "page_size=2&page_token=t%2B%2F%3D"]


async def test_a_list_can_be_left_before_its_second_page(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/api/v1/chat", answer(200, {"items": [SUMMARY], "next_page_token": "more"}))
    if isinstance(chat, LlamaCloudChat):
        assert next(chat.list()).session_id == "ses-1"
    else:
        assert (await anext(chat.list())).session_id == "ses-1"
    assert len(wire.requests) == 1


async def test_a_list_that_turns_in_a_circle_is_an_error(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/api/v1/chat", answer(200, {"items": [], "next_page_token": "again"}))
    with pytest.raises(ProtocolError, match="the same page token twice"):
        await every(chat.list())


@pytest.mark.parametrize("size", [0, -1, 1.5, "x", True])
async def test_what_is_no_page_size_is_refused_before_any_request(chat: AnyChat, wire: WireServer, size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"page_size must be 1 or more; got {size!r}"):
        await every(chat.list(page_size=size))
    assert wire.requests == []


async def test_retrieve_gives_the_session_with_typed_events(chat: AnyChat, wire: WireServer) -> None:
    events = [{"type": "user_input", "content": "q"}, {"type": "text", "content": "a"}]
    wire.on("GET", "/api/v1/chat/ses-1", answer(200, {**SUMMARY, "events": events}))
    session = await do(chat.retrieve("ses-1"))
    assert session.events == [UserInput(content="q"), Text(content="a")]


async def test_get_summary_asks_for_the_summary(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/api/v1/chat/ses-1/summary", answer(200, SUMMARY))
    assert (await do(chat.get_summary("ses-1"))).shared_access == "query"


async def test_set_title_says_that_the_title_was_requested(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/ses-1/title", answer(200, {**SUMMARY, "generated_title": "New"}))
    titled = await do(chat.set_title("ses-1", first_message="hello"))
    assert (titled.generated_title, titled.title_origin) == ("New", "requested")
    assert wire.requests[0].json == {"first_message": "hello"}


@pytest.mark.parametrize("status", [404, 405])
async def test_set_title_falls_back_to_the_automatic_title_where_the_route_is_gone(
    chat: AnyChat, wire: WireServer, status: int
) -> None:
    wire.on("POST", "/ses-1/title", answer(status, {"detail": "Not Found"}))
    wire.on("GET", "/ses-1/summary", answer(200, SUMMARY))
    titled = await do(chat.set_title("ses-1", first_message="hello"))
    assert (titled.generated_title, titled.title_origin) == ("Findings", "automatic")
    assert titled.model_dump()["new_field"] == 1


async def test_set_title_of_a_session_that_is_not_there_is_not_found(chat: AnyChat, wire: WireServer) -> None:
    with pytest.raises(NotFoundError):
        await do(chat.set_title("ses-9", first_message="hello"))


async def test_set_title_does_not_hide_other_errors(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/ses-1/title", answer(401, {"detail": "no"}))
    with pytest.raises(AuthenticationError):
        await do(chat.set_title("ses-1", first_message="hello"))


async def test_delete_takes_a_204(chat: AnyChat, wire: WireServer) -> None:
    wire.on("DELETE", "/ses-1", answer(204))
    await do(chat.delete("ses-1"))
    assert [request.method for request in wire.requests] == ["DELETE"]


async def test_delete_of_a_session_that_is_not_there_is_not_found(chat: AnyChat, wire: WireServer) -> None:
    with pytest.raises(NotFoundError):
        await do(chat.delete("ses-9"))


@pytest.mark.usefixtures("no_waiting")
async def test_a_delete_whose_first_answer_was_lost_is_done_when_the_second_says_not_found(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("DELETE", "/ses-1", answer(502), answer(404, {"detail": "Not Found"}))
    await do(chat.delete("ses-1"))
    assert len(wire.requests) == 2


async def test_attachment_url_names_the_attachment_in_one_path_segment(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "page_7.jpg", answer(200, {"url": "https://s3/x", "expires_at": "2026-04-22T12:34:41Z"}))
    link = await do(chat.attachment_url(ImageAttachment(attachment_name="screenshots/page_7.jpg", source_id="dfl-1")))
    assert link.url == "https://s3/x"
    assert wire.requests[0].target == "/api/v1/beta/attachments/screenshots%2Fpage_7.jpg?source_id=dfl-1"


async def test_project_and_organisation_go_with_each_request(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    with LlamaCloudChat(api_key="k", base_url=wire.url, project_id="p-1", organization_id="o-1") as chat:
        chat.get_summary("ses-1")
        assert repr(chat) == f"LlamaCloudChat(base_url='{wire.url}', project_id='p-1', organization_id='o-1')"
    assert wire.requests[0].target.endswith("/summary?project_id=p-1&organization_id=o-1")


async def test_headers_of_the_user_go_with_each_request(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    with LlamaCloudChat(api_key="k", base_url=wire.url, headers={"X-Team": "blue"}) as chat:
        chat.get_summary("ses-1")
    assert wire.requests[0].headers["x-team"] == "blue"


async def test_a_client_of_the_users_own_is_used_and_left_open(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    with httpx.Client(headers={"X-Mine": "1"}) as mine:
        with LlamaCloudChat(api_key="k", base_url=wire.url, http_client=mine) as chat:
            chat.get_summary("ses-1")
        assert not mine.is_closed
    async with httpx.AsyncClient(headers={"X-Mine": "1"}) as mine:
        await LlamaCloudChat(api_key="k", base_url=wire.url, async_http_client=mine).aio.get_summary("ses-1")
        async with AsyncLlamaCloudChat(api_key="k", base_url=wire.url, http_client=mine) as chat:
            await chat.get_summary("ses-1")
        assert not mine.is_closed
    assert [request.headers["x-mine"] for request in wire.requests] == ["1", "1", "1"]


async def test_our_own_client_sends_the_headers_that_a_client_of_the_user_would(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    wire.on("POST", "/messages/stream", answer(409, {"detail": "busy"}))
    with httpx.Client() as mine:
        for given in (None, mine):
            with LlamaCloudChat(api_key="k", base_url=wire.url, headers={"X-Team": "b"}, http_client=given) as chat:
                chat.get_summary("ses-1")
                with pytest.raises(ConflictError):
                    chat.stream("ses-1", "q", index_ids=["i"], baseline=False, wait_if_busy=False).open()
    summary, turn, *others = [request.headers for request in wire.requests]
    assert [summary, turn] == others
    assert (summary["accept"], turn["accept"]) == ("application/json", "text/event-stream")


async def test_a_closed_client_makes_new_connections(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    async with entered(chat):
        await do(chat.get_summary("ses-1"))
    await do(chat.close())
    assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"
    await do(chat.close())


async def test_an_unreachable_service_is_a_connection_error_that_names_it() -> None:
    with LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:1", max_retries=0) as chat:
        with pytest.raises(
            APIConnectionError, match=r"GET /api/v1/chat/ses-1/summary: cannot reach http://127.0.0.1:1"
        ):
            chat.get_summary("ses-1")
        with pytest.raises(APIConnectionError, match="cannot reach"):
            await chat.aio.get_summary("ses-1")


async def test_a_silent_service_is_a_timeout(wire: WireServer) -> None:
    wire.on("GET", "/summary", lambda _, connection: connection.wait_until_closed())
    timeouts = Timeouts(first_event=0.05)
    with LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=timeouts, max_retries=0) as chat:
        with pytest.raises(APITimeoutError, match="did not answer in time"):
            chat.get_summary("ses-1")
        with pytest.raises(APITimeoutError, match="did not answer in time"):
            await chat.aio.get_summary("ses-1")


async def test_an_answer_that_is_no_summary_is_an_error_that_quotes_it(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, {"session_id": 7}))
    with pytest.raises(ProtocolError, match=r"not a SessionSummary \(session_id: .*\): '\{"):
        await do(chat.get_summary("ses-1"))
    wire.on("GET", "/summary", answer(200, b"<html>" + b"x" * 5000))
    with pytest.raises(ProtocolError, match=r"\(body: .*<html>"):
        await do(chat.get_summary("ses-1"))


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/elsewhere", "mailto:x", "http://a\x01b", "http:login.html"])
async def test_a_redirect_is_not_followed_and_takes_no_key_anywhere(
    chat: AnyChat, wire: WireServer, location: str
) -> None:
    wire.on("GET", "/summary", answer(307, None, location=location))
    wire.on("POST", "/messages/stream", answer(302, None, location=location))
    with pytest.raises(APIStatusError, match="redirects are not followed"):
        await do(chat.get_summary("ses-1"))
    with pytest.raises(APIStatusError, match="redirects are not followed"):
        await do(chat.session("ses-1", index_ids=["i"], baseline=False).ask("q"))
    assert len(wire.requests) == 2


async def test_an_answer_that_nothing_has_changed_is_no_redirect(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", lambda _, connection: connection.send(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
    with pytest.raises(APIStatusError, match="304: the request was refused"):
        await do(chat.get_summary("ses-1"))


async def test_a_content_type_that_comes_twice_is_one(chat: AnyChat, wire: WireServer) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream("text/event-stream\r\nContent-Type: text/event-stream")
        connection.events(Text(content="ok"), Stop(usage=Usage(), is_error=False))
        connection.end_stream()

    wire.on("POST", "/messages/stream", stream)
    assert (await do(chat.session("ses-1", index_ids=["i"], baseline=False).ask("q"))).text == "ok"


@pytest.mark.parametrize("session_id", ["", ".", "..", "a\nb"])
async def test_what_is_no_session_id_is_refused_before_any_request(
    chat: AnyChat, wire: WireServer, session_id: str
) -> None:
    with pytest.raises(ConfigurationError):
        await do(chat.retrieve(session_id))
    with pytest.raises(ConfigurationError):
        chat.stream(session_id, "q")
    assert wire.requests == []


async def test_an_id_with_a_slash_stays_one_path_segment(chat: AnyChat, wire: WireServer) -> None:
    with pytest.raises(NotFoundError):
        await do(chat.retrieve("../../keys?x=1#y"))
    assert wire.requests[0].target == "/api/v1/chat/..%2F..%2Fkeys%3Fx%3D1%23y"


async def test_a_pickled_client_holds_no_key_and_takes_it_from_the_environment_again(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    chat = LlamaCloudChat(api_key="secret-key", base_url=wire.url, headers={"X-Other": "secret-too"}, index_ids=["i"])
    for original in (chat, chat.aio):
        data = pickle.dumps(original)
        assert b"secret" not in data
        copy = pickle.loads(data)
        assert (copy.base_url, copy.index_ids, copy.service) == (wire.url, ("i",), "llama_cloud")
        with pytest.raises(ConfigurationError, match="pickled"):
            await do(copy.get_summary("ses-1"))
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "again")
    with pickle.loads(pickle.dumps(chat)) as copy:
        copy.get_summary("ses-1")
    assert wire.requests[-1].headers["authorization"] == "Bearer again"


# Nobody closes the clients that these make, so they keep no connection.
def _own_client() -> httpx.Client:
    return httpx.Client(headers={"X-Own": "yes"}, limits=httpx.Limits(max_keepalive_connections=0))


def _own_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"X-Own": "yes"}, limits=httpx.Limits(max_keepalive_connections=0))


async def test_a_pickle_keeps_the_function_that_makes_an_http_client_and_is_refused_with_a_client_itself(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "k")
    wire.on("GET", "/summary", answer(200, SUMMARY))
    chat = LlamaCloudChat(base_url=wire.url, http_client=_own_client, async_http_client=_own_async_client)
    twin = AsyncLlamaCloudChat(base_url=wire.url, http_client=_own_async_client)
    again, again_twin = pickle.loads(pickle.dumps((chat, twin)))
    for each in (again, again.aio, again_twin):
        await do(each.get_summary("ses-1"))
        assert wire.requests[-1].headers["x-own"] == "yes"
    with httpx.Client() as mine, pytest.raises(ConfigurationError, match="with an http_client cannot be pickled"):
        pickle.dumps(LlamaCloudChat(base_url=wire.url, http_client=mine))
    async with httpx.AsyncClient() as mine:
        for refused in (
            LlamaCloudChat(base_url=wire.url, async_http_client=mine),
            AsyncLlamaCloudChat(base_url=wire.url, http_client=mine),
        ):
            with pytest.raises(ConfigurationError, match="with an http_client cannot be pickled"):
                pickle.dumps(refused)


def test_one_client_serves_event_loops_one_after_the_other(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    import asyncio

    wire.on("GET", "/summary", answer(200, SUMMARY))
    for _ in range(3):
        assert asyncio.run(sync_chat.aio.get_summary("ses-1")).session_id == "ses-1"
    assert sync_chat.aio is sync_chat.aio


async def test_half_of_a_surrogate_pair_in_a_history_does_not_hide_it(chat: AnyChat, wire: WireServer) -> None:
    body = (
        b'{"session_id":"ses-1","last_updated_at":"2026-04-22T12:34:41Z",'
        b'"events":[{"type":"text","content":"a\\ud83d"}]}'
    )
    wire.on("GET", "/chat/ses-1", answer(200, body))
    assert (await do(chat.retrieve("ses-1"))).events == [Text(content="a\ufffd")]


async def test_an_answer_that_is_nested_too_deep_is_quoted_shortened(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/chat/ses-1", answer(404, b"[" * 30_000))
    with pytest.raises(NotFoundError, match=r"\(\[\[\["):
        await do(chat.retrieve("ses-1"))
    deep = b"[" * 700 + b"]" * 700
    wire.on("GET", "/chat/ses-1", answer(200, b'{"events":[{"type":"new","a":' + deep + b"}]}"))
    with pytest.raises(ProtocolError, match="not a Session"):
        await do(chat.retrieve("ses-1"))


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb"])
async def test_what_is_no_attachment_name_is_refused_before_any_request(
    chat: AnyChat, wire: WireServer, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used as the attachment name"):
        await do(chat.attachment_url(ImageAttachment(attachment_name=name, source_id="dfl-1")))
    assert wire.requests == []

"""A turn that is refused, fails, or is answered with something else raises an error that says so."""

from __future__ import annotations

import pytest

from chat_sessions import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    Event,
    InternalServerError,
    LlamaCloudChat,
    ProtocolError,
    RateLimitError,
    Stop,
    Text,
    TextDelta,
    TurnFailed,
    UnprocessableEntityError,
    Usage,
    UserInput,
)
from tests.faces import AnyChat, do, entered, every
from tests.session.streams.service import (
    HELLO,
    STOP,
    both,
    client,
    gather_into,
    history_of,
    in_one_read,
    refuse,
    service,
    stream_of,
)
from tests.wire_server import Connection, Handler, Request, WireServer

__all__ = ["service"]


@pytest.mark.parametrize(
    "first", [refuse(500), stream_of(TextDelta(content="a"), then=lambda c: c.chunk(b"data: {\n\n"))]
)
async def test_the_causes_of_an_error_come_to_an_end(wire: WireServer, first: Handler) -> None:
    wire.on("POST", "/messages/stream", first)
    with client(wire, recovery=0.6) as chat:
        for one in both(chat):
            with pytest.raises((InternalServerError, ProtocolError)) as caught:
                await do(one.stream("ses-1", "q", index_ids=["idx-1"]).result())
            seen: list[BaseException] = []
            ahead: list[BaseException | None] = [caught.value]
            while ahead:
                if (error := ahead.pop()) is not None:
                    assert error not in seen
                    seen.append(error)
                    ahead += [error.__cause__, None if error.__context__ is error.__cause__ else error.__context__]


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (409, ConflictError), (422, UnprocessableEntityError)]
)
async def test_a_refused_turn_raises_when_the_stream_is_entered_and_is_posted_once(
    chat: AnyChat, wire: WireServer, status: int, error: type[Exception]
) -> None:
    wire.on("POST", "/messages/stream", refuse(status))
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    with pytest.raises(error, match="why"):
        await do(stream.open())
    assert stream.is_closed
    with pytest.raises(ConfigurationError, match="no result"):
        await do(stream.result())
    assert len(wire.posts()) == 1


async def test_an_error_page_of_any_size_is_not_read_whole(chat: AnyChat, wire: WireServer) -> None:
    page = b"<html>" + b"x" * 200_000
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(403, page, headers={"Content-Type": "text/html"}))
    with pytest.raises(Exception, match="answered 403") as caught:
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())
    assert len(str(caught.value)) < 1000


async def test_an_error_whose_body_breaks_off_is_still_that_error(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 403 X\r\nContent-Length: 1000\r\n\r\n{")
        connection.reset()

    wire.on("POST", "/messages/stream", handle)
    with pytest.raises(Exception, match="answered 403"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())


@pytest.mark.parametrize("content_type", ["text/html", "application/json", ""])
async def test_an_answer_that_is_no_event_stream_is_an_error_that_quotes_it(
    chat: AnyChat, wire: WireServer, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(200, b"<html>Sign in", headers=headers))
    with pytest.raises(ProtocolError, match=f"{content_type or 'no content type'} instead of an event stream.*Sign in"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())


async def test_an_answer_that_is_no_event_stream_does_not_mean_that_the_prompt_is_not_in_the_session(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(200, {"ok": True}))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="Hello")))
    session = chat.session("ses-1", index_ids=["idx-1"])
    with pytest.raises(ProtocolError, match="The prompt may have arrived: read the session before sending it again"):
        await do(session.ask("q"))
    assert [turn.text for turn in await do(session.turns())] == ["Hello"]


async def test_a_stop_with_an_error_is_given_and_then_raised_with_the_turn(chat: AnyChat, wire: WireServer) -> None:
    failed = Stop(usage=Usage(), is_error=True, error="quota exceeded")
    wire.on("POST", "/messages/stream", stream_of(TextDelta(content="Hel"), failed))
    seen: list[Event] = []
    with pytest.raises(TurnFailed, match="ses-1: quota exceeded") as caught:
        await gather_into(seen, chat.stream("ses-1", "q", index_ids=["idx-1"]))
    assert seen == [TextDelta(content="Hel"), failed]
    assert (caught.value.turn.text, caught.value.turn.error, caught.value.session_id) == (
        "Hel",
        "quota exceeded",
        "ses-1",
    )


@pytest.mark.parametrize("budget", [0.0, 0.05])
async def test_an_event_that_cannot_be_read_is_a_protocol_error_if_the_session_shows_no_end(
    wire: WireServer, budget: float
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(b"data: {nope\n\n")
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    with client(wire, recovery=budget) as made:
        for chat in both(made):
            stream = chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)
            with pytest.raises(ProtocolError, match="nope"):
                await every(stream)
            assert stream.is_closed


async def test_an_event_over_the_limit_is_an_error_and_not_fetched_from_the_session_instead(wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(b"data: " + b"x" * 600)
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    with LlamaCloudChat(api_key="k", base_url=wire.url, max_event_bytes=500) as made:
        for chat in both(made):
            with pytest.raises(ProtocolError, match="more than 500 bytes"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert not [request for request in wire.requests if request.method == "GET"]


async def test_an_event_that_cannot_be_read_is_made_good_from_the_session(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="Hel"))
        connection.chunk(b"data: {nope\n\n")
        connection.events(TextDelta(content="never read"))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    shown = await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert "".join(event.content for event in shown if isinstance(event, TextDelta)) == "Hello"
    assert len(wire.posts()) == 1


async def test_events_that_come_together_are_shown_up_to_the_one_that_cannot_be_read(
    chat: AnyChat, wire: WireServer
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        pieces = [TextDelta(content="H"), TextDelta(content="el")]
        connection.chunk(in_one_read(*pieces, b"{nope", TextDelta(content="never read"), STOP))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    shown = await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert [event.content for event in shown if isinstance(event, TextDelta)] == ["H", "el", "lo"]
    assert len(wire.posts()) == 1


@pytest.mark.usefixtures("no_waiting")
async def test_a_turn_refused_for_now_is_posted_again_because_it_was_not_taken(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="1"), stream_of(*HELLO))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert (await do(stream.result())).text == "Hello"
    assert len(wire.posts()) == 2


async def test_a_turn_refused_for_long_is_left_to_the_caller(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="3600"))
    with pytest.raises(RateLimitError):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 1


async def test_a_turn_to_a_service_that_is_not_there_was_not_sent() -> None:
    with LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:1", max_retries=0) as made:
        for chat in both(made):
            with pytest.raises(APIConnectionError, match=r"cannot reach .*: nothing was sent; check base_url"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())

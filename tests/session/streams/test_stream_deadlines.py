"""The deadlines of a turn count events, and not bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from chat_sessions import Event, LlamaCloudChat, TextDelta, Timeouts, TurnOutcomeUnknown, TurnStalled, UserInput
from chat_sessions.core.events import dump_event
from tests.faces import do, every
from tests.session.streams.service import HELLO, SUMMARY, both, client, cut, history_of, in_one_read, service, stream_of
from tests.wire_server import Connection, Handler, Request, WireServer

__all__ = ["service"]


def stall(*events: Event) -> Handler:
    return stream_of(*events, then=Connection.wait_until_closed)


def stall_with_pings(*events: Event) -> Handler:
    def ping(connection: Connection) -> None:
        # As many comments as the client will take: each moves a byte deadline on, none an event deadline.
        while True:
            connection.chunk(b": ping\n\n")

    return stream_of(*events, then=ping)


@pytest.mark.parametrize("handler", [stall, stall_with_pings])
async def test_no_event_within_the_idle_deadline_is_a_stalled_turn(
    wire: WireServer, handler: Callable[..., Handler]
) -> None:
    wire.on("POST", "/messages/stream", handler(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, idle=0.1, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"no event within 0.1 s \(timeouts.idle\)") as caught:
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            assert caught.value.turn.text == "Hel"


@pytest.mark.parametrize("handler", [stall, stall_with_pings])
async def test_no_first_event_in_time_is_a_stalled_turn(wire: WireServer, handler: Callable[..., Handler]) -> None:
    wire.on("POST", "/messages/stream", handler())
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, first_event=0.1, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"timeouts.first_event"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_no_answer_at_all_to_a_prompt_that_the_session_does_not_show_is_an_unknown_outcome(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", lambda _, connection: connection.wait_until_closed())
    with client(wire, first_event=0.1, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match=r"timeouts\.first_event"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_turn_may_not_take_longer_than_its_total_deadline(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stall(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, total=0.5, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"longer than 0.5 s \(timeouts.total\)"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_service_that_never_pauses_does_not_outrun_the_total_deadline(wire: WireServer) -> None:
    some = in_one_read(*[TextDelta(content="on ")] * 300)

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        for _number in range(1_000):
            connection.chunk(some)
        connection.reset()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, total=0.5, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"longer than 0.5 s \(timeouts.total\)"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_stalled_turn_that_has_ended_meanwhile_is_given_whole(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stall(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
    with client(wire, idle=0.1) as made:
        for chat in both(made):
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_no_deadline_at_all_is_possible(wire: WireServer) -> None:
    with client(wire, connect=None, first_event=None, idle=None, total=None, recovery=None) as made:
        for chat in both(made):
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"
            assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"
            wire.on("POST", "/messages/stream", stream_of(then=cut), stream_of(*HELLO))
            late = history_of(UserInput(content="q"))
            wire.on("GET", "/ses-1", late, history_of(UserInput(content="q"), *HELLO[2:]))
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_transport_without_a_socket_keeps_the_deadlines_at_the_next_bytes(wire: WireServer) -> None:
    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'data: {"type": "text_delta", "content": "Hel"}\n\n'
            while True:
                yield b": ping\n\n"

        async def __aiter__(self):  # type: ignore[no-untyped-def]
            for chunk in self:
                yield chunk

    def transport(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={**SUMMARY, "events": [dump_event(UserInput(content="q"))]})
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    timeouts = Timeouts(idle=0.05, recovery=0.6)
    mock = httpx.MockTransport(transport)
    async with httpx.AsyncClient(transport=mock) as async_mine:
        with httpx.Client(transport=mock) as mine:
            made = LlamaCloudChat(api_key="k", http_client=mine, async_http_client=async_mine, timeouts=timeouts)
            for chat in both(made):
                with pytest.raises(TurnStalled):
                    await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))

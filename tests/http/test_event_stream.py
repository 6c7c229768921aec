"""Events come out of the bytes at once, whole and once, however the bytes are cut."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import cast

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import Event, Text, TextDelta, parse_event_json
from chat_sessions.http.event_stream import EventDecoder

CAP = 16 * 1024 * 1024


def line(content: str) -> str:
    return "data: " + json.dumps({"type": "text", "content": content}, ensure_ascii=False)


def read(chunks: Iterable[bytes], cap: int = CAP) -> list[Event]:
    return list(events_in(chunks, cap))


def events_in(chunks: Iterable[bytes], cap: int = CAP) -> Iterator[Event]:
    decoder = EventDecoder(cap)
    for chunk in chunks:
        decoder.feed(chunk)
        while (event := decoder.next_event()) is not None:
            yield event


def contents(events: list[Event]) -> list[str]:
    assert all(isinstance(event, Text) for event in events)
    return [event.content for event in events if isinstance(event, Text)]


STREAM = "\n".join(
    [
        ": ping - 2026-11-21",
        "",
        "event: message",
        "id: 7",
        line("größe 😀"),
        "",
        ": ping",
        "",
        "retry: 10",
        "",
        line("a\u2028b\x85c"),
        "",
        'data: {"type": "text",',
        'data:"content": "two lines"}',
        "",
        "data",
        "",
        "data: [DONE]",
        "",
        "unknown: field",
        line("last"),
        "",
        "",
    ]
)
EXPECTED = ["größe 😀", "a\u2028b\x85c", "two lines", "last"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_cut_between_two_bytes_gives_the_same_events(end: str) -> None:
    data = STREAM.replace("\n", end).encode()
    for cut in range(len(data) + 1):
        assert contents(read([data[:cut], data[cut:]])) == EXPECTED
    assert contents(read([data[i : i + 1] for i in range(len(data))])) == EXPECTED


@given(st.data())
def test_any_way_to_cut_the_bytes_gives_the_same_events(data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    stream = STREAM.replace("\n", end).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert contents(read(chunks)) == EXPECTED


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", "\r\n\n", "\n\r"])
@pytest.mark.parametrize("split", [0, 1, 2])
def test_an_event_is_out_before_the_next_bytes_are_asked_for(end: str, split: int) -> None:
    asked: list[int] = []

    def source() -> Iterator[bytes]:
        data = (line("now") + end).encode()
        cut = len(data) - split if split else len(data)
        yield data[:cut]
        if split:
            yield data[cut:]
        asked.append(1)
        yield (line("later") + end).encode()

    events = events_in(source())
    first = next(events)
    assert (contents([first]), asked) == (["now"], [])
    # A last CR may still get its LF: it must not count as a second line end.
    assert contents(list(events)) == ["later"]


def test_an_event_that_the_end_of_the_stream_cuts_is_none() -> None:
    assert contents(read([(line("whole") + "\n\n" + line("cut")).encode()])) == ["whole"]
    assert contents(read([(line("whole") + "\n\n" + line("cut") + "\n").encode()])) == ["whole"]


@pytest.mark.parametrize("bom", [[b"\xef\xbb\xbf"], [b"\xef", b"\xbb", b"\xbf"]])
def test_a_leading_byte_order_mark_is_dropped(bom: list[bytes]) -> None:
    assert contents(read([*bom, (line("a") + "\n\n").encode()])) == ["a"]


def test_bytes_that_are_no_utf_8_become_replacement_characters() -> None:
    assert contents(read([b'data: {"type":"text","content":"a\xffb"}\n\n'])) == ["a\ufffdb"]


def test_a_data_line_of_five_megabytes_is_one_event() -> None:
    content = "x" * 5_000_000
    data = (line(content) + "\n\n").encode()
    chunks = [data[i : i + 65536] for i in range(0, len(data), 65536)]
    assert contents(read(chunks)) == [content]


@pytest.mark.parametrize("end", [b"", b"\n\n"])
def test_an_event_over_the_cap_is_an_error_that_names_the_cap(end: bytes) -> None:
    with pytest.raises(ProtocolError, match="more than 1,000 bytes; max_event_bytes="):
        read([b"data: " + b"x" * 600, b"x" * 600 + end], cap=1000)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_the_cap_means_the_same_however_the_stream_is_cut(end: str, before: int) -> None:
    event = line("a" * 20)
    data = (end * before + (event + end * 2) * 2 + end * before).encode()
    cuts = [[data[:at], data[at:]] for at in range(len(data))] + [[data[i : i + 1] for i in range(len(data))]]
    for chunks in cuts:
        assert contents(read(chunks, cap=len(event))) == ["a" * 20] * 2
        with pytest.raises(ProtocolError, match="max_event_bytes="):
            read(chunks, cap=len(event) - 1)


def test_many_small_events_and_comments_do_not_add_up_to_the_cap() -> None:
    event = (line("a") + "\n").encode()
    assert len(read([event, b"\n"] * 100, cap=100)) == 100
    assert read([b": ping\n\n"] * 1000, cap=100) == []
    assert len(read([(event + b"\n") * 100], cap=100)) == 100


def test_a_broken_event_is_an_error_after_the_events_before_it() -> None:
    events = events_in([(line("ok") + "\n\ndata: {broken\n\n").encode()])
    assert contents([next(events)]) == ["ok"]
    with pytest.raises(ProtocolError, match=r"not JSON: '\{broken'"):
        next(events)


def test_the_event_name_is_a_hint_only() -> None:
    assert read([b'event: message\ndata: {"type":"text_delta","content":"a"}\n\n']) == [TextDelta(content="a")]


def test_what_came_before_an_event_over_the_cap_is_given_first() -> None:
    events = events_in([(line("ok") + "\n\n").encode() + b"data: " + b"x" * 600], cap=500)
    assert contents([next(events)]) == ["ok"]
    with pytest.raises(ProtocolError, match="more than 500 bytes"):
        next(events)


def test_a_line_that_comes_in_many_pieces_counts_once_towards_the_cap() -> None:
    event = (line("a") + "\n\n").encode()
    assert len(read([event[i : i + 1] for i in range(len(event))] * 3, cap=len(event) - 1)) == 3


class _Response:
    """What httpx-sse reads of a response."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self._chunks = chunks

    def iter_text(self) -> Iterator[str]:
        yield from (chunk.decode() for chunk in self._chunks)


@given(st.data())
def test_httpx_sse_reads_the_same_events(data: st.DataObject) -> None:
    pieces = [
        "data: ",
        "data:",
        "data",
        "event: message",
        "id: 7",
        "retry: 3",
        ": ping",
        "x: y",
        line("a"),
        "{}",
        "\n",
        "\n\n",
    ]
    text = data.draw(st.lists(st.sampled_from([*pieces, "\n"]), max_size=30).map("".join)) + "\n"
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[a:b].encode() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    peers = EventSource(cast("httpx.Response", _Response(chunks))).iter_sse()
    assert _outcomes(events_in(chunks)) == _outcomes(parse_event_json(sse.data) for sse in peers if sse.data.strip())


def _outcomes(events: Iterator[Event]) -> list[object]:
    """The events, and the text of the error that ended them."""
    found: list[object] = []
    try:
        found.extend(events)
    except ProtocolError as error:
        found.append(re.sub(r"^.*?: b?", "", str(error)))
    return found

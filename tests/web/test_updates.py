"""What a page is sent of a running turn: everything once, and no more updates than an eye can follow."""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest

from chat_sessions import Stop, Text, TextDelta, Turn, Usage, replay
from chat_sessions.core import errors
from chat_sessions.session import AsyncChatSession
from chat_sessions.web.live.feed import Pace
from chat_sessions.web.live.session import shown
from chat_sessions.web.live.turn import LiveTurn
from chat_sessions.web.render.markdown import open_headings, render_markdown, stable_end
from chat_sessions.web.render.remedies import remedy_for
from chat_sessions.web.render.views import TurnView
from tests.server.scripted import Gate

STOP = Stop(usage=Usage(), is_error=False)


class Time:
    """A clock that stands still but for the waits, which it counts."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


async def test_the_first_update_goes_at_once_and_the_next_wait_for_their_time() -> None:
    time = Time()
    pace = Pace(10, clock=time, sleep=time.sleep)
    for _ in range(4):
        await pace.wait()
    assert time.waits == pytest.approx([0.1, 0.1, 0.1])
    time.now += 5
    await pace.wait()
    assert len(time.waits) == 3


@pytest.mark.parametrize(
    ("text", "stable"),
    [
        ("one\n\ntwo", "one\n\n"),
        ("one\ntwo", ""),
        ("one\n\n", ""),
        ("```\na\n\nb\n\nc", ""),
        ("```\na\n\n```\n\nb\n", "```\na\n\n```\n\n"),
        ("- a\n\n  more of a\n\nb\n", "- a\n\n  more of a\n\n"),
        ("a page\x0cor two\n\nb\u2028\x85\x1cc\n\nd", "a page\x0cor two\n\nb\u2028\x85\x1cc\n\n"),
        ("one\n\x0c\ntwo\n\u2003\nthree", ""),
        ("one\r\n\r\ntwo\r\rthree", "one\r\n\r\ntwo\r\r"),
        ("```code``` in words\n\nb", "```code``` in words\n\n"),
    ],
)
def test_a_block_is_stable_once_another_began_after_a_blank_line(text: str, stable: str) -> None:
    assert text[: stable_end(text)] == stable


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_blocks_that_were_stable_on_the_way_render_like_the_whole(line_end: str) -> None:
    text = (
        "# Title\n\nSome *text*\n\x0c\nwith\u2028odd\n\u2003\nlines.\n\n```code``` in words\n\n"
        "```\ncode\n\nmore\n```\n\n| a |\n|---|\n| 1 |\n\nEnd"
    ).replace("\n", line_end)
    html, start = "", 0
    for length in range(len(text) + 1):
        end = stable_end(text[:length], start)
        html, start = html + render_markdown(text[start:end], above=open_headings(text[:start])), end
    assert text[start:] == "End"
    assert html + render_markdown("End") == render_markdown(text)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("# A\n\n### B\n\n## C\n\n### D", "3 4 4 5"),
        ("#### A\n\n###### B\n\n# C", "3 4 3"),
        ("# A\n\n## B\n\n### C\n\n#### D\n\n##### E", "3 4 5 6 6"),
        ("Title\n===\n\n> ### Quoted\n\nB\n---", "3 4 4"),
    ],
)
def test_headings_of_an_answer_skip_no_level_wherever_it_is_cut(text: str, levels: str) -> None:
    assert re.findall(r"<h(\d)", render_markdown(text)) == levels.split()
    for cut in (match.end() for match in re.finditer(r"\n\n", text)):
        before, after = text[:cut], text[cut:]
        html = render_markdown(before) + render_markdown(after, above=open_headings(before))
        assert re.findall(r"<h(\d)", html) == levels.split()


async def test_headings_that_come_piece_by_piece_skip_no_level() -> None:
    from tests.web.telling import followed

    text = "# A\n\none two\n\n### B\n\nthree\n\n## C\n\nfour\n\n### D\n\nfive"
    pieces = [TextDelta(content=piece) for piece in re.split(r"(?<=\s)", text)]
    gates = [Gate() for _ in pieces]
    closed = iter(gates)
    shown: set[tuple[str, str]] = set()

    def on_update(message: str) -> None:
        shown.update(re.findall(r"<h(\d)[^>]*>([A-D])<", message))
        next(closed, Gate()).open()

    events = [event for pair in zip(pieces, gates, strict=True) for event in pair]
    updates, _ = await asyncio.wait_for(followed([*events, STOP], on_update, pace=10_000), 50)
    assert updates >= len(pieces)
    assert shown == {("3", "A"), ("4", "B"), ("4", "C"), ("5", "D")}


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<img src=x onerror=alert(1)>",
        "![x](https://evil.example/x.png)",
        '<hx-partial hx-target="body"><b>x</b></hx-partial>',
        '[x](https://a.example "\\" onclick=alert(1) \\"")',
        "<svg/onload=alert(1)>",
    ],
)
def test_markdown_brings_no_script_no_image_and_no_attribute(text: str) -> None:
    html = render_markdown(text)
    for sign in ("<script", "<img", "<svg", "<hx-", 'href="javascript', 'href="data', '" onclick'):
        assert sign not in html


def live(prompt: str, *, after: int, error: Exception | None = None) -> LiveTurn:
    turn = LiveTurn(prompt, after=after)
    turn.error = error
    return turn


def told(prompt: str) -> Turn:
    return Turn(prompt, (Text(content="yes"), STOP))


def test_a_turn_sent_from_here_takes_its_place_in_the_history() -> None:
    again = live("b", after=1)
    items = shown([told("b"), told("b")], [again])
    assert [item.live for item in items] == [None, again]
    assert shown([told("a")], [again])[1].live is again


def test_a_turn_that_was_refused_is_not_taken_for_one_of_the_same_words() -> None:
    refused = live("a", after=0, error=errors.RateLimitError("slow", status_code=429))
    assert [item.live for item in shown([told("a")], [refused])] == [None, refused]


async def run_into(error: Exception, prompt: str, *, after: int) -> LiveTurn:
    """A turn that has ended with this error, as it does when its session cannot be asked."""

    async def not_busy() -> bool:
        return False

    class Refusing:
        def stream(self, _prompt: str) -> None:
            raise error

    turn = LiveTurn(prompt, after=after)
    await turn.run(cast("AsyncChatSession", Refusing()), nullcontext, lambda: None, not_busy)
    return turn


async def test_a_turn_that_did_not_land_stays_where_it_was_sent_when_the_same_is_asked_again() -> None:
    failed = await run_into(errors.APIConnectionError("nothing was sent"), "b", after=1)
    again = live("b", after=1)
    items = shown([told("a"), told("b"), told("c")], [failed, again])
    assert [(item.number, item.turn.prompt, item.live) for item in items] == [
        (0, "a", None),
        (1, "b", failed),
        (2, "b", again),
        (3, "c", None),
    ]


@pytest.mark.parametrize("kind", [errors.TurnInterrupted, errors.TurnStalled, errors.TurnOutcomeUnknown])
async def test_the_history_tells_what_became_of_a_turn_once_it_has_its_end(kind: type[errors.TurnError]) -> None:
    broken = await run_into(kind("read it later", turn=Turn("a"), session_id="s"), "a", after=0)
    assert [item.live for item in shown([told("a")], [broken])] == [None]
    assert [item.live for item in shown([Turn("a", (Text(content="ye"),))], [broken])] == [broken]


async def test_a_turn_whose_stream_could_not_be_read_is_the_one_in_the_history() -> None:
    unread = await run_into(errors.ProtocolError("no JSON"), "a", after=0)
    assert [item.live for item in shown([told("a")], [unread])] == [None]


def test_every_error_has_a_remedy() -> None:
    for error in (errors.TurnOutcomeUnknown("x", turn=Turn(), session_id="s"), errors.APITimeoutError("x")):
        assert remedy_for(error) != "Try again."


def test_a_turn_without_an_index_is_not_to_be_sent_again_in_its_session() -> None:
    unknown = Stop(usage=Usage(), is_error=True, error="no such index", skipped_index_ids=["idx-gone"])
    overloaded = Stop(usage=Usage(), is_error=True, error="overloaded")
    for stop, remedy in (unknown, "start a new one"), (overloaded, "Send the message again"):
        (turn,) = replay([stop])
        stored = TurnView.of(0, turn)
        assert remedy in stored.remedy
        # While it is live, the same is shown: the text of the error gives the advice as well.
        assert TurnView.of(0, turn, error=errors.failed_turn(turn, "s")) == stored
        assert remedy in remedy_for(errors.TurnFailed("x", turn=turn, session_id="s"))


async def test_a_turn_of_10_000_deltas_is_a_handful_of_updates() -> None:
    from tests.web.telling import followed

    deltas = [TextDelta(content=f"word {n} " + ("\n\n" if n % 50 == 49 else "")) for n in range(10_000)]
    updates, answer = await asyncio.wait_for(followed([*deltas, STOP]), 50)
    assert updates < 200
    assert "word 9999" in answer


def test_all_script_together_is_small() -> None:
    import chat_sessions.web

    scripts = list((Path(chat_sessions.web.__file__).parent / "static").glob("*.js"))
    assert sum(script.stat().st_size for script in scripts) < 60_000

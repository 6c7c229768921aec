"""A schedule played against the client, and what must be true of each turn then."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from chat_sessions import (
    APIConnectionError,
    APIStatusError,
    AsyncTurnStream,
    ChatSessionsError,
    ConflictError,
    InternalServerError,
    LlamaCloudChat,
    ProtocolError,
    RateLimitError,
    Turn,
    TurnError,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
)
from chat_sessions.core.events import Event
from chat_sessions.session.turn_queue import LONGEST_WAIT
from chat_sessions.testing import (
    ErrorWith200,
    Fault,
    HtmlPage,
    HugeEvent,
    NoLastBlankLine,
    NotJson,
    Redirect,
    Refuse,
    TrailAfterStop,
    WrongContentType,
)
from tests.faces import AnyChat, AnySession, AnyStream, do, entered, said, thought
from tests.simulation.clock import Hang, VirtualClock, VirtualLoop, virtual_time
from tests.simulation.network import Network
from tests.simulation.schedule import Asking, Schedule
from tests.simulation.service import ServedTurn, Service

__all__ = ["PROMISES", "Broken", "Outcome", "Tally", "check", "play"]

PROMISES = (
    "duplicate prompts",
    "lost finals",
    "silent truncations",
    "shown twice or never",
    "untrue beginnings",
    "untrue ends",
    "untrue errors",
    "late errors",
    "hangs",
    "leaks",
    "parity",
)
Face = Literal["sync", "async"]
_worlds = count(1)
# What a turn may take beyond its deadlines, in seconds: waits between tries, and connections refused.
_SLACK = 45.0


class Broken(AssertionError):
    """A promise that was not kept."""

    def __init__(self, promise: str, says: str) -> None:
        super().__init__(f"{promise}: {says}")
        self.promise = promise


@dataclass
class Outcome:
    """What became of one turn, on both sides."""

    asking: Asking
    turn: Turn
    shown: list[Event]
    error: BaseException | None
    left: bool
    posts: int
    landed: list[ServedTurn]
    earlier_of_the_same_words: bool
    is_counted: bool
    began: float
    ended: float
    last_event: float
    session_was_busy: bool

    @property
    def name(self) -> str:
        """What the caller was told."""
        if self.left:
            return "left early"
        return "whole" if self.error is None else type(self.error).__name__


@dataclass
class Tally:
    """Counts over many schedules."""

    schedules: int = 0
    turns: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    broken: Counter[str] = field(default_factory=Counter[str])


def play(schedule: Schedule, face: Face) -> list[Outcome]:
    """Plays the schedule through the sync or the async client, in virtual time. Raises `Broken`."""
    clock = VirtualClock()
    service = Service(schedule.behaviour, lambda number: schedule.speeches[number % len(schedule.speeches)])
    network = Network(clock, service)
    outcomes: list[Outcome] = []

    async def run() -> None:
        with network.client() as http:
            async with network.async_client() as async_http:
                client = LlamaCloudChat(
                    api_key="k",
                    base_url=f"http://world-{next(_worlds)}",
                    index_ids=["idx-1"],
                    timeouts=schedule.timeouts,
                    max_event_bytes=60_000,
                    http_client=http,
                    async_http_client=async_http,
                )
                chat: AnyChat = client if face == "sync" else client.aio
                session = chat.session()
                await do(session.create())
                for asking in schedule.askings:
                    outcomes.append(await _ask(network, chat, session, asking, face))
                    _check(outcomes[-1], schedule)
                    if network.busy:
                        raise Broken("leaks", f"{len(network.busy)} connections are held after {outcomes[-1].name}")
                    clock.advance(asking.pause)
                # The event loop itself closes the async generators that httpx leaves behind, in its next steps.
                await asyncio.sleep(0.001)
                if len(tasks := asyncio.all_tasks()) > 1:
                    raise Broken("leaks", f"tasks are left: {tasks}")
        if [one for one in network.connections if not one.is_closed]:
            raise Broken("leaks", "connections are open after the client was closed")

    with virtual_time(clock), asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        # The waits between two tries have a jitter.
        state = random.getstate()
        random.seed(1)
        try:
            runner.run(run())
        except Hang:
            raise Broken("hangs", "somebody waits without a deadline") from None
        finally:
            random.setstate(state)
    return outcomes


async def _ask(network: Network, chat: AnyChat, session: AnySession, asking: Asking, face: Face) -> Outcome:
    service, clock, session_id = network.service, network.clock, session.id or ""
    if asking.recount and asking.counted:
        network.faults.clear()
        await do(session.turns())
    held = service.sessions[session_id]
    counter = session._count()
    is_counted = counter._value == len(held) and not counter.in_doubt
    if asking.written_before:
        service.write(session_id, "Somebody else's words", clock.now, is_ours=False)
    before = list(held)
    refused_before = service.busy_refusals
    network.faults.clear()
    network.faults.script(*asking.faults, *asking.history)
    network.unreachable = asking.unreachable
    began = last_event = clock.now
    was_busy = service.busy_until(session_id, clock.now) > clock.now
    shown: list[Event] = []
    error: BaseException | None = None
    left = False
    stream: AnyStream = (
        session.stream(asking.prompt) if asking.counted else chat.stream(session_id, asking.prompt, index_ids=["idx-1"])
    )

    async def read() -> None:
        nonlocal left, last_event
        async with entered(stream):
            while len(shown) != asking.leave_after and (event := await _next(stream)) is not None:
                shown.append(event)
                last_event = clock.now
        left = len(shown) == asking.leave_after

    try:
        async with asyncio.timeout(asking.give_up if face == "async" else None):
            await read()
    except TimeoutError:
        left = True
    except (ChatSessionsError, ExceptionGroup) as raised:
        error = raised
    # What a busy session refuses is sent again when its turn has ended.
    posts = len(network.faults.prompts) - (service.busy_refusals - refused_before)
    network.faults.clear()
    network.unreachable = network.refused = 0
    if not stream.is_closed:
        raise Broken("leaks", "the stream is open")
    return Outcome(
        asking=asking,
        turn=stream.turn,
        shown=shown,
        error=error,
        left=left,
        posts=posts,
        landed=[turn for turn in held if turn not in before],
        earlier_of_the_same_words=any(turn.prompt == asking.prompt for turn in before),
        is_counted=is_counted,
        began=began,
        ended=clock.now,
        last_event=last_event,
        session_was_busy=was_busy,
    )


async def _next(stream: AnyStream) -> Event | None:
    return await anext(stream, None) if isinstance(stream, AsyncTurnStream) else next(stream, None)


def _check(outcome: Outcome, schedule: Schedule) -> None:
    """Raises `Broken` for what the client did or said that it must not."""
    for _ in _problems(outcome, schedule):
        pass


def _problems(outcome: Outcome, schedule: Schedule) -> Iterator[None]:
    asking, turn, error, landed = outcome.asking, outcome.turn, outcome.error, outcome.landed
    faults = [fault for together in asking.faults for fault in together]
    told = f"{outcome.name} {error or ''} for {asking}"

    # Once, but for refusals that were answered.
    refused = sum(isinstance(together[-1], Refuse) and together[-1].status in (409, 429) for together in asking.faults)
    if outcome.posts > 1 + refused or len(landed) > 1:
        raise Broken("duplicate prompts", f"{outcome.posts} posts, {len(landed)} landed: {told}")
    yield
    whole = landed[0].turn if landed else None
    text = said(outcome.shown)
    thinking = thought(outcome.shown)
    if (not outcome.left and text != turn.text) or not turn.text.startswith(text):
        raise Broken("shown twice or never", f"shown {text!r}, told {turn.text!r}: {told}")
    if not outcome.left and thinking != turn.thinking:
        raise Broken("shown twice or never", f"shown {thinking!r}, told {turn.thinking!r}: {told}")
    if not (whole.text if whole else "").startswith(turn.text):
        raise Broken("untrue beginnings", f"{turn.text!r} of {whole and whole.text!r}: {told}")
    if not (whole.thinking if whole else "").startswith(turn.thinking):
        raise Broken("untrue beginnings", f"{turn.thinking!r} of {whole and whole.thinking!r}: {told}")
    if turn.is_complete and not outcome.left:
        if whole is None or (turn.text, turn.thinking) != (whole.text, whole.thinking):
            raise Broken("lost finals", f"{turn.text!r} instead of {whole and whole.text!r}: {told}")
        if [(run.call_id, run.status) for run in turn.tool_runs] != [
            (run.call_id, run.status) for run in whole.tool_runs
        ]:
            raise Broken("lost finals", f"{turn.tool_runs} instead of {whole.tool_runs}: {told}")
        if outcome.ended < landed[0].ended:
            raise Broken("untrue ends", told)
    yield
    if outcome.left:
        return
    if error is None:
        if not turn.is_complete or turn.error is not None:
            raise Broken("silent truncations", told)
        return
    if isinstance(error, TurnError) and error.turn != turn:
        raise Broken("untrue errors", f"the error holds another turn: {told}")
    _check_error(outcome, schedule, faults, told)
    yield
    timeouts = schedule.timeouts
    patience = max(timeouts.first_event or 0, timeouts.idle or 0) + (timeouts.recovery or 0) + _SLACK
    if outcome.session_was_busy or any(isinstance(fault, Refuse) and fault.status == 409 for fault in faults):
        # The end of the earlier turn is waited for.
        patience += timeouts.total or LONGEST_WAIT
    if outcome.ended - outcome.last_event > patience:
        raise Broken("late errors", f"{outcome.ended - outcome.last_event:.1f} s of silence: {told}")


def _check_error(outcome: Outcome, schedule: Schedule, faults: list[Fault], told: str) -> None:
    error, landed = outcome.error, outcome.landed

    def met(*kinds: type[Fault]) -> bool:
        return any(isinstance(fault, kinds) for fault in faults)

    def answered(*statuses: int) -> bool:
        return any(isinstance(fault, Refuse | HtmlPage) and fault.status in statuses for fault in faults)

    match error:
        case TurnFailed():
            is_true = bool(landed) and landed[0].turn.error == outcome.turn.error and outcome.turn.is_complete
        case TurnInterrupted() | TurnStalled():
            is_true = bool(landed)
        case TurnOutcomeUnknown():
            is_true = True
        case InternalServerError():
            # A gateway's word is none of the service's.
            is_true = answered(500, 502, 504) and (not landed or error.status_code in (502, 504))
        case ConflictError():
            is_true = not landed and (answered(409) or outcome.session_was_busy)
        case RateLimitError():
            is_true = not landed and answered(429)
        case APIStatusError():
            is_true = not landed and (answered(404, 403) or met(Redirect))
        case APIConnectionError():
            is_true = not landed and outcome.posts == sum(
                isinstance(fault, Refuse) and fault.status in (409, 429) for fault in faults[: outcome.posts]
            )
        case ProtocolError():
            is_glued = met(NoLastBlankLine) and met(TrailAfterStop)
            is_true = is_glued or met(HtmlPage, ErrorWith200, WrongContentType, HugeEvent, NotJson)
        case _:
            is_true = False
    if not is_true:
        raise Broken("untrue errors", told)
    if isinstance(error, TurnInterrupted | TurnStalled | TurnOutcomeUnknown) and _could_be_known(outcome, schedule):
        raise Broken("lost finals", f"the session showed the end of the turn: {told}")


def _could_be_known(outcome: Outcome, schedule: Schedule) -> bool:
    """Whether the session, read in time, showed the end of this very turn."""
    recovery = schedule.timeouts.recovery or 0
    if not outcome.landed or recovery < 10 or outcome.asking.history or outcome.asking.written_before:
        return False
    if not outcome.is_counted and outcome.earlier_of_the_same_words:
        return False
    if not outcome.is_counted and not outcome.turn.text.strip() and not outcome.turn.tool_runs:
        return False
    if schedule.behaviour.history_timing == "after_stop" and outcome.session_was_busy:
        # Turns then change their places in the history.
        return False
    # The last look may be 3 s before the deadline, and a restart refuses two of them.
    return outcome.landed[0].ended < outcome.ended - 8


def check(schedule: Schedule, tally: Tally | None = None) -> None:
    """Plays a schedule through both clients. Raises `Broken` for a promise that was not kept, the same on both."""
    sync, asynchronous = play(schedule, "sync"), play(schedule, "async")
    if tally is not None:
        tally.schedules += 1
        for outcome in (*sync, *asynchronous):
            tally.turns += 1
            tally.outcomes[outcome.name] += 1
    if any(asking.give_up is not None for asking in schedule.askings):
        return
    for one, other in zip(sync, asynchronous, strict=True):
        for what in ("name", "shown", "turn", "posts"):
            if getattr(one, what) != getattr(other, what):
                raise Broken("parity", f"{what}: sync {getattr(one, what)}, async {getattr(other, what)}: {one.asking}")
        if not math.isclose(one.ended, other.ended, abs_tol=0.01):
            raise Broken("parity", f"sync took {one.ended - one.began}, async {other.ended - other.began}")

"""`chat-sessions doctor`: find out what keeps answers from streaming to this machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from chat_sessions.cli import options
from chat_sessions.cli.errors import ExitCode, exit_code, handle_errors
from chat_sessions.cli.show.json import dump
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.config_file import config_path
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import (
    APIConnectionError,
    AuthenticationError,
    ChatSessionsError,
    NotFoundError,
    ProtocolError,
    TurnError,
)

__all__ = ["EXTRAS", "Check", "doctor", "judge_flow"]

EXTRAS = {
    "llama-index": "llama-index-core",
    "langchain": "langchain-core",
    "openhands": "websockets",
    "server": "starlette",
    "cli": "typer",
    "web": "nh3",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_QUESTION = "What does this need?"
_AGENT_QUESTION = "Answer with the word ready, and use no tool."
# In a shorter turn, buffered events look no different from streamed ones.
_TELLING_SECONDS = 0.5
_BUFFERED = (
    "something on the way holds events back until the turn ends: turn off response buffering and compression "
    "for this address (in nginx: proxy_buffering off), or bypass the proxy with NO_PROXY"
)
_WHOLE = (
    'the model does not stream (its settings may say "stream": false), or something on the way holds the '
    "websocket's frames back: bypass the proxy with NO_PROXY"
)


@dataclass(frozen=True)
class Check:
    """One line of the report: what was checked, the finding, and what to do about a problem."""

    name: str
    status: Literal["ok", "warn", "fail"]
    finding: str
    remedy: str = ""
    code: ExitCode = ExitCode.OK


@handle_errors
@options.takes(*options.SERVICE, "llm", "agent", "tool", "workspace", "conversation")
def doctor(
    where: Where,
    index: options.Indexes = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Check the set-up, and whether answers stream.

    Checks the key, the address, the time to the first event, and whether events arrive one by one or are held
    back on the way; says how to fix what is wrong.
    """
    terminal = Terminal(quiet=True)
    where = replace(where, indexes=index or ()).configured()
    shown: list[Check] = []
    with closing(_checks(where, terminal)) as checks:
        for check in checks:
            shown.append(check)
            if not as_json:
                _show(check, terminal)
            if check.status == "fail":
                break
    if as_json:
        names = ("name", "status", "finding", "remedy")
        terminal.json(dump([{name: getattr(check, name) for name in names} for check in shown]))
    return shown[-1].code


def judge_flow(*, first: float, last: float, events: int, worked: float | None, remedy: str = _BUFFERED) -> Check:
    """Judge whether events streamed, by the times of the first and the last in seconds after the question.

    `worked` is the duration that the service reports. A proxy that holds events back releases them all at the end, so
    they arrive together although the service worked for longer.
    """
    spread = last - first
    length = max(last, worked or 0.0)
    if length < _TELLING_SECONDS:
        finding = f"{events} events within {length:.2f} s: too quick to tell whether anything buffers"
        return Check("streaming", "ok", finding)
    if events > 1 and spread < 0.1 * length:
        finding = f"{events} events came within {spread:.2f} s, at the end of a turn of {length:.1f} s"
        return Check("streaming", "warn", finding, remedy)
    return Check("streaming", "ok", f"{events} events came one by one, over {spread:.1f} s")


def _checks(where: Where, terminal: Terminal) -> Generator[Check]:
    """Run the checks in order. Nothing after a failure is worth checking."""
    yield from _installed()
    if settings := where.config.values:
        yield Check("config", "ok", f"{config_path()} sets {', '.join(settings)}")
    name = "options"
    try:
        where.check(asks=False)
        name = "service"
        if not where.is_openhands and where.is_local:
            yield Check("key", "ok", "the local server needs none")
        can_ask = where.agent.has_agent if where.is_openhands else bool(where.indexes)
        with open_service(where, terminal, documents=can_ask) as service:
            if not service.is_local:
                yield _key(where, service)
                yield _host(service)
            yield from _reach(service, where)
            if can_ask or service.is_local:
                yield from _ask(service)
            else:
                yield _not_asked(service)
    except ChatSessionsError as error:
        yield _failed(name, error)


def _installed() -> Iterator[Check]:
    yield Check(
        "package",
        "ok",
        f"chat-sessions {version('chat-sessions')}, Python {platform.python_version()}, "
        f"httpx {version('httpx')}, {platform.system()}",
    )
    found: list[str] = []
    missing: list[str] = []
    for extra, package in EXTRAS.items():
        try:
            found.append(f"{extra} ({package} {version(package)})")
        except PackageNotFoundError:
            missing.append(extra)
    if missing:
        remedy = f"if you need them: pip install 'chat-sessions[{','.join(missing)}]'"
        yield Check("extras", "warn", f"not installed: {', '.join(missing)}", remedy)
    else:
        yield Check("extras", "ok", ", ".join(found))


def _key(where: Where, service: Service) -> Check:
    source = where.key_name
    if source is None:
        return Check("key", "ok", "none; a server on your own machine may need none")
    key = where.api_key or os.environ.get(source, "")
    if service.is_llama_cloud and not key.strip().startswith("llx-"):
        remedy = "LlamaCloud's keys do; copy yours again from its settings"
        return Check("key", "warn", f"from {source}; it does not begin with llx-", remedy)
    return Check("key", "ok", f"from {source}")


def _host(service: Service) -> Check:
    finding = service.name
    parts = urlsplit(service.client.base_url)
    proxy = getproxies().get(parts.scheme)
    host = parts.hostname or ""
    if proxy and not proxy_bypass(host):
        # The proxy's whole address may contain a password.
        finding += f", through the proxy {urlsplit(proxy).hostname or 'of the environment'}"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return Check("host", "warn", finding, "the key travels unencrypted: use an https address")
    return Check("host", "ok", finding)


def _reach(service: Service, where: Where) -> Iterator[Check]:
    """Check that the service answers, and what an OpenHands server says about itself."""
    try:
        about = service.openhands.server_info() if service.openhands is not None else None
        started = time.perf_counter()
        next(service.client.list(page_size=1), None)
    except ChatSessionsError as error:
        yield _failed("reachable", error, _remedy(error, service))
        return
    key = "" if service.is_local else ", and takes the key"
    yield Check("reachable", "ok", f"answers in {time.perf_counter() - started:.2f} s{key}")
    if about is None:
        return
    finding = f"OpenHands Agent Server {about.get('version') or 'of an unknown release'}"
    usable = about.get("usable_tools")
    names = [str(name) for name in usable] if isinstance(usable, list) else None
    missing = [
        tool for tool in where.agent.tool or () if names is not None and tool.isidentifier() and tool not in names
    ]
    if missing:
        finding += f"; it has no tool {', '.join(missing)}"
        yield Check("server", "warn", finding, f"its tools are: {', '.join(names or ())}")
    else:
        yield Check("server", "ok", finding)


def _remedy(error: ChatSessionsError, service: Service) -> str:
    match error:
        case AuthenticationError() if service.is_llama_cloud:
            return "copy the key again; a key belongs to one region: try the other with --region"
        case AuthenticationError():
            return "copy the key again"
        case NotFoundError():
            wanted = "Chat API" if service.openhands is None else "OpenHands Agent Server"
            return f"there is no {wanted} at this address: check --base-url"
        case APIConnectionError() | ProtocolError():
            return "check the address, the network, the firewall, and HTTPS_PROXY"
        case _:
            return ""


def _ask(service: Service) -> Iterator[Check]:
    """Ask one question in a new session, and judge when its events arrived."""
    is_agent = service.openhands is not None
    session = service.client.session()
    try:
        session.create()
        stream = session.stream(_AGENT_QUESTION if is_agent else _QUESTION)
        started = time.perf_counter()
        with service.turn(stream):
            arrivals = [time.perf_counter() - started for _ in stream]
        usage = stream.turn.usage
        worked = usage.duration_ms / 1000 if usage and usage.duration_ms else None
        yield Check("first event", "ok", f"{arrivals[0]:.2f} s after the question")
        remedy = _WHOLE if is_agent else _BUFFERED
        yield judge_flow(first=arrivals[0], last=arrivals[-1], events=len(arrivals), worked=worked, remedy=remedy)
        if stream.turn.skipped_index_ids:
            skipped = one_line(", ".join(stream.turn.skipped_index_ids), 200)
            yield Check("index", "warn", f"could not be queried: {skipped}", "check the ids and their project")
    except TurnError as error:
        model = "check the model: its name, its key, and its address as seen from the server"
        yield _failed("answer", error, model if is_agent else "check the index ids, their project, and the plan")
    except ChatSessionsError as error:
        yield _failed("answer", error)
    finally:
        if session.id is not None:
            with suppress(ChatSessionsError):
                session.delete()


def _not_asked(service: Service) -> Check:
    needed, remedy = ("an agent", "give --llm or --agent, or set LLM_MODEL")
    if service.openhands is None:
        needed, remedy = ("an index", "give --index ID")
    return Check(
        "streaming",
        "warn",
        f"not checked: it takes a question, and a question takes {needed}",
        f"{remedy}; one question is asked in a session that is deleted again",
    )


def _failed(name: str, error: ChatSessionsError, remedy: str = "") -> Check:
    return Check(name, "fail", one_line(str(error), 400), remedy, exit_code(error))


def _show(check: Check, terminal: Terminal) -> None:
    style = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
    terminal.labelled(f"{check.status:<6}{check.name:<12}", style, check.finding)
    if check.remedy:
        terminal.labelled(" " * 18, "", check.remedy, wrap=False)

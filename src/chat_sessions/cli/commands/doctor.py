"""Finds out what stands between this machine and an answer that streams."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import JsonValue

from chat_sessions.cli.errors import ExitCode, exit_code
from chat_sessions.cli.show.json import dump
from chat_sessions.cli.show.terminal import Terminal, one_line
from chat_sessions.cli.where.openhands import has_agent
from chat_sessions.cli.where.service import Service, Where, key_name, open_service, service_name
from chat_sessions.core.errors import (
    APIConnectionError,
    AuthenticationError,
    ChatSessionsError,
    NotFoundError,
    TurnError,
)
from chat_sessions.llama_cloud.settings import REGIONS

__all__ = ["Check", "doctor", "judge_flow"]

_QUESTION = "What does this need?"
_AGENT_QUESTION = "Answer with the word ready, and use no tool."
_EXTRAS = {
    "llama-index": "llama-index-core",
    "langchain": "langchain-core",
    "openhands": "websockets",
    "server": "starlette",
    "cli": "typer",
}
# A turn that took less is over before a proxy's buffer could be told from its absence.
_TELLING_SECONDS = 0.5
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it is, and what to do if it is not well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    finding: str
    remedy: str = ""
    code: ExitCode = ExitCode.OK


def doctor(where: Where, indexes: Sequence[str], terminal: Terminal, *, as_json: bool) -> ExitCode:
    """Run the checks in order, each shown as it ends; the first failure ends them and gives the exit code."""
    shown: list[Check] = []
    code = ExitCode.OK
    for check in _checks(where, indexes, terminal):
        shown.append(check)
        if not as_json:
            _show(check, terminal)
        if check.status == "fail":
            code = check.code
            break
    if as_json:
        terminal.json(dump([{k: v for k, v in asdict(check).items() if k != "code"} for check in shown]))
    return code


_BUFFERED = (
    "something on the way holds events back until the turn ends: turn response buffering and compression off "
    "for this address (in nginx: proxy_buffering off), or go round the proxy with NO_PROXY"
)
_WHOLE = (
    'the model does not stream (its settings may say "stream": false), or something on the way holds the '
    "websocket's frames back: go round the proxy with NO_PROXY"
)


def judge_flow(*, first: float, last: float, events: int, worked: float | None, remedy: str = _BUFFERED) -> Check:
    """Whether events came one by one, from when they came, in seconds since the question left.

    `worked` is how long the service says the turn took. A proxy that holds events back lets them all go
    at the end, so they come within a moment although the service worked for longer.
    """
    spread = last - first
    length = max(last, worked or 0.0)
    counted = f"{events} events"
    if length < _TELLING_SECONDS:
        return Check("streaming", "ok", f"{counted} within {length:.2f} s: too quick to tell whether anything buffers")
    if events > 1 and spread < 0.1 * length:
        return Check(
            "streaming",
            "warn",
            f"{counted} came within {spread:.2f} s, at the end of a turn of {length:.1f} s",
            remedy,
        )
    return Check("streaming", "ok", f"{counted} came one by one, over {spread:.1f} s")


def _checks(where: Where, indexes: Sequence[str], terminal: Terminal) -> Iterator[Check]:
    yield from _installed()
    if where.backend is not None:
        try:
            where.check(indexes)
        except ChatSessionsError as error:
            yield Check("options", "fail", one_line(str(error), 400), code=exit_code(error))
            return
        if where.is_openhands:
            yield from _agent_checks(where, terminal)
            return
    try:
        local = where.is_local(indexes)
    except ChatSessionsError as error:
        yield Check("service", "fail", one_line(str(error), 400), code=exit_code(error))
        return
    with ExitStack() as stack:
        try:
            if local:
                yield Check("key", "ok", "the local server needs none")
            else:
                yield _key(where)
                url = _base_url(where)
                yield _host(service_name(url), url)
            service = stack.enter_context(
                open_service(where, terminal=terminal, indexes=indexes, documents=bool(indexes))
            )
        except ChatSessionsError as error:
            yield Check("service", "fail", one_line(str(error), 400), code=exit_code(error))
            return
        yield _reach(service)
        if not local and not indexes:
            yield Check(
                "streaming",
                "warn",
                "not looked at: it takes a question, and a question takes an index",
                "give --index ID; one question is asked in a session of its own, which is deleted again",
            )
            return
        yield from _ask(service)


def _installed() -> Iterator[Check]:
    yield Check(
        "package",
        "ok",
        f"chat-sessions {version('chat-sessions')}, Python {platform.python_version()}, "
        f"httpx {version('httpx')}, {platform.system()}",
    )
    found: list[str] = []
    missing: list[str] = []
    for extra, package in _EXTRAS.items():
        try:
            found.append(f"{extra} ({package} {version(package)})")
        except PackageNotFoundError:
            missing.append(extra)
    if missing:
        extras = ",".join(missing)
        remedy = f"where you need it: pip install 'chat-sessions[{extras}]'"
        yield Check("extras", "warn", f"not installed: {', '.join(missing)}", remedy)
    else:
        yield Check("extras", "ok", ", ".join(found))


def _agent_checks(where: Where, terminal: Terminal) -> Iterator[Check]:
    """The checks of an OpenHands Agent Server."""
    with ExitStack() as stack:
        try:
            service = stack.enter_context(open_service(where, terminal=terminal, documents=False))
        except ChatSessionsError as error:
            yield Check("service", "fail", one_line(str(error), 400), code=exit_code(error))
            return
        client = service.openhands
        assert client is not None  # noqa: S101 - it was asked for
        source = "--api-key" if where.api_key else "OPENHANDS_API_KEY"
        has_key = bool(where.api_key or os.environ.get("OPENHANDS_API_KEY", "").strip())
        yield Check("key", "ok", f"from {source}" if has_key else "none; a server on one's own machine may want none")
        yield _host(service.name, client.base_url)
        try:
            about = client.server_info()
        except NotFoundError as error:
            yield _failed("reachable", error, "there is no OpenHands Agent Server at this address: check --base-url")
            return
        except ChatSessionsError as error:
            yield _failed("reachable", error, "check the address, the network, the firewall, and HTTPS_PROXY")
            return
        reached = _reach(service)
        yield reached
        if reached.status == "fail":
            return
        yield _server(about, where.agent.tool)
        if not has_agent(where.agent):
            yield Check(
                "streaming",
                "warn",
                "not looked at: it takes a question, and a question takes an agent",
                "give --llm or --agent, or set LLM_MODEL; one question is asked in a session that is deleted again",
            )
            return
        yield from _ask(service)


def _server(about: Mapping[str, JsonValue], tools: Sequence[str]) -> Check:
    """The server's release, and whether it has the tools that were named."""
    finding = f"OpenHands Agent Server {about.get('version') or 'of an unknown release'}"
    usable = about.get("usable_tools")
    missing = [tool for tool in tools if isinstance(usable, list) and tool.isidentifier() and tool not in usable]
    if missing and isinstance(usable, list):
        names = ", ".join(str(name) for name in usable)
        return Check("server", "warn", f"{finding}; it has no tool {', '.join(missing)}", f"it has these: {names}")
    return Check("server", "ok", finding)


def _key(where: Where) -> Check:
    source = key_name(where.api_key) or "nowhere"
    key = where.api_key or os.environ.get(source, "")
    if _base_url(where) in REGIONS.values() and not key.strip().startswith("llx-"):
        remedy = "LlamaCloud's keys do; copy yours again from its settings"
        return Check("key", "warn", f"from {source}; it does not begin with llx-", remedy)
    return Check("key", "ok", f"from {source}")


def _base_url(where: Where) -> str:
    with where.client() as client:
        return client.base_url


def _host(finding: str, url: str) -> Check:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    host = parts.hostname or ""
    if proxy and not proxy_bypass(host):
        # Its address may hold a password.
        finding += f", through the proxy {urlsplit(proxy).hostname or 'of the environment'}"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return Check("host", "warn", finding, "the key travels unencrypted: use an https address")
    return Check("host", "ok", finding)


def _reach(service: Service) -> Check:
    started = time.perf_counter()
    try:
        next(service.client.list(page_size=1), None)
    except AuthenticationError as error:
        region = "; a key belongs to one region: try the other with --region" if service.is_llama_cloud else ""
        return _failed("reachable", error, f"copy the key again{region}")
    except NotFoundError as error:
        return _failed("reachable", error, "there is no Chat API at this address: check the base URL")
    except APIConnectionError as error:
        return _failed("reachable", error, "check the address, the network, the firewall, and HTTPS_PROXY")
    except ChatSessionsError as error:
        return _failed("reachable", error, "")
    key = "" if service.is_local else ", and takes the key"
    return Check("reachable", "ok", f"answers in {time.perf_counter() - started:.2f} s{key}")


def _failed(name: str, error: ChatSessionsError, remedy: str) -> Check:
    return Check(name, "fail", one_line(str(error), 400), remedy, exit_code(error))


def _ask(service: Service) -> Iterator[Check]:
    """One question in a session of its own; when its events came tells what the way is like."""
    session = service.client.session()
    try:
        session.create()
        stream = session.stream(_QUESTION if service.openhands is None else _AGENT_QUESTION)
        started = time.perf_counter()
        with service.turn(), stream:
            arrivals = [time.perf_counter() - started for _ in stream]
        usage = stream.turn.usage
        worked = usage.duration_ms / 1000 if usage and usage.duration_ms else None
        yield Check("first event", "ok", f"{arrivals[0]:.2f} s after the question")
        remedy = _BUFFERED if service.openhands is None else _WHOLE
        yield judge_flow(first=arrivals[0], last=arrivals[-1], events=len(arrivals), worked=worked, remedy=remedy)
        if stream.turn.skipped_index_ids:
            skipped = one_line(", ".join(stream.turn.skipped_index_ids), 200)
            yield Check("index", "warn", f"could not be queried: {skipped}", "check the ids and their project")
    except TurnError as error:
        remedy = "check the index ids, their project, and the plan"
        if service.openhands is not None:
            remedy = "check the model: its name, its key, and its address as the server's machine reaches it"
        yield _failed("answer", error, remedy)
    except ChatSessionsError as error:
        yield _failed("answer", error, "")
    finally:
        if session.id is not None:
            with suppress(ChatSessionsError):
                session.delete()


def _show(check: Check, terminal: Terminal) -> None:
    style = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
    terminal.labelled(f"{check.status:<6}{check.name:<12}", style, check.finding)
    if check.remedy:
        terminal.labelled(" " * 18, "", check.remedy)

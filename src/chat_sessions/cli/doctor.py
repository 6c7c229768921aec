"""Finds out what stands between this machine and an answer that streams."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from chat_sessions.cli.exits import ExitCode, exit_code
from chat_sessions.cli.reports import dump
from chat_sessions.cli.service import Service, Where, key_name, open_service, service_name
from chat_sessions.cli.terminal import Terminal, one_line
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
_EXTRAS = {
    "llama-index": "llama-index-core",
    "langchain": "langchain-core",
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


def judge_flow(*, first: float, last: float, events: int, worked: float | None) -> Check:
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
            "something on the way holds events back until the turn ends: turn response buffering and compression off "
            "for this address (in nginx: proxy_buffering off), or go round the proxy with NO_PROXY",
        )
    return Check("streaming", "ok", f"{counted} came one by one, over {spread:.1f} s")


def _checks(where: Where, indexes: Sequence[str], terminal: Terminal) -> Iterator[Check]:
    yield from _installed()
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
                yield _host(where)
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


def _host(where: Where) -> Check:
    url = _base_url(where)
    parts = urlsplit(url)
    finding = service_name(url)
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
        stream = session.stream(_QUESTION)
        started = time.perf_counter()
        with service.turn(), stream:
            arrivals = [time.perf_counter() - started for _ in stream]
        usage = stream.turn.usage
        worked = usage.duration_ms / 1000 if usage and usage.duration_ms else None
        yield Check("first event", "ok", f"{arrivals[0]:.2f} s after the question")
        yield judge_flow(first=arrivals[0], last=arrivals[-1], events=len(arrivals), worked=worked)
        if stream.turn.skipped_index_ids:
            skipped = one_line(", ".join(stream.turn.skipped_index_ids), 200)
            yield Check("index", "warn", f"could not be queried: {skipped}", "check the ids and their project")
    except TurnError as error:
        yield _failed("answer", error, "check the index ids, their project, and the plan")
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

"""Where the agent server is, and the agent that its conversations get."""

from __future__ import annotations

import copy
import os
import ssl
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import NoneType
from typing import Any, Self

import httpx
from pydantic import JsonValue, SecretStr

from chat_sessions.core.arguments import checked_indexes
from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.http.calls import Call
from chat_sessions.http.connection.route import Route, route_of
from chat_sessions.http.secrets import Concealed, as_secret, has_secret, secrets_in
from chat_sessions.http.settings import (
    USER_AGENT,
    check_kind,
    check_limits,
    check_strings,
    checked_headers,
    checked_key,
    checked_url,
)
from chat_sessions.openhands.wire import refusal
from chat_sessions.session.deadlines import Timeouts

__all__ = ["DEFAULT_TIMEOUTS", "Settings", "check_id", "check_indexes", "llm_settings"]

# A tool of an agent may be silent for minutes (a build, a test run), and so may a model that does not stream.
DEFAULT_TIMEOUTS = Timeouts(idle=600.0)
_DEFAULT_WORKSPACE = "workspace/project"
# Creating a conversation takes no profile, so it is made with a model and then switched to the profile's. 1.18.1
# forwards deltas only if this first model streams.
_UNTIL_SWITCHED: Mapping[str, JsonValue] = {"usage_id": "agent", "model": "openai/not-yet-chosen", "stream": True}

# What a pickle keeps of a create's body and of a model, unless a name in it is that of a secret. Anything else may
# hold one under a name of its own.
_PLAIN = (
    "agent_profile_id",
    "autotitle",
    "confirmation_policy",
    "max_iterations",
    "security_analyzer",
    "stuck_detection",
    "tags",
    "workspace",
)
_PLAIN_OF_LLM = frozenset(("model", "stream", "usage_id"))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a client but its connections. Keys are in no repr and no pickle."""

    route: Route
    api_key: SecretStr | None = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    # The body of a create, without the conversation's id. It may hold the model's key.
    conversation: Mapping[str, JsonValue] = field(repr=False)
    llm: Mapping[str, JsonValue] | None = field(repr=False)
    # The model that the server keeps under this name, instead of `llm`.
    llm_profile: str | None
    timeouts: Timeouts
    max_retries: int
    max_event_bytes: int
    # What this was unpickled without.
    left_out: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        *,
        base_url: str | None,
        api_key: str | SecretStr | None,
        llm: Mapping[str, JsonValue] | str | None,
        agent: Mapping[str, JsonValue] | str | None,
        tools: Sequence[str | Mapping[str, JsonValue]] | None,
        workspace: Mapping[str, JsonValue] | str | os.PathLike[str] | None,
        conversation: Mapping[str, JsonValue] | None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool | str | os.PathLike[str] = True,
        proxy: str | None = None,
        trust_env: bool = True,
        http2: bool = False,
        timeouts: Timeouts | None,
        max_retries: int,
        max_event_bytes: int,
    ) -> Self:
        """Return the settings that these arguments and the environment make. Raises `ConfigurationError`.

        Tracebacks may show the arguments, so pass secret ones concealed.
        """
        check_strings(base_url=base_url, api_key=api_key)
        check_limits(timeouts, max_retries, max_event_bytes)
        check_kind("llm", llm, (str, Mapping, NoneType), "the name of a model, or its settings")
        check_kind("agent", agent, (str, Mapping, NoneType), "the name or the id of a profile, or settings")
        check_kind("tools", tools, (str, Sequence, NoneType), "a list of names or settings")
        check_kind("workspace", workspace, (str, os.PathLike, Mapping, NoneType), "a folder's path, or settings")
        check_kind("conversation", conversation, (Mapping, NoneType), "settings, by their names")
        profile = _llm_profile(llm)
        model = llm_settings(llm) if profile is None else None
        return cls(
            route=route_of(_base_url(base_url), verify=verify, proxy=proxy, trust_env=trust_env, http2=http2),
            api_key=_key(api_key),
            headers=checked_headers(headers or {}),
            conversation=Concealed(
                {
                    "workspace": _workspace(workspace),
                    **_agent(agent, model if profile is None else dict(_UNTIL_SWITCHED), tools),
                    **copy.deepcopy(dict(conversation or {})),
                }
            ),
            llm=model,
            llm_profile=profile,
            timeouts=timeouts or DEFAULT_TIMEOUTS,
            max_retries=max_retries,
            max_event_bytes=max_event_bytes,
        )

    def __getstate__(self) -> dict[str, object]:
        # What may hold a key stays in this process; what needs it says so.
        names = ("route", "timeouts", "max_retries", "max_event_bytes")
        kept = {name: value for name, value in self.conversation.items() if name in _PLAIN and not has_secret(value)}
        llm, tools = _plain_llm(self.llm, self.llm_profile), self._tool_names()
        left_out = [name for name in self.conversation if name not in kept]
        if tools is not None:
            left_out.remove("agent")
        if llm is None and self.llm is not None:
            left_out.append("llm")
        state: dict[str, object] = {name: getattr(self, name) for name in names}
        state |= {"conversation": kept, "llm": llm, "tools": tools, "left_out": (*self.left_out, *left_out)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # An older pickle has neither the conversation nor the agent.
        kept, llm, tools = state.get("conversation", {}), state.pop("llm", None), state.pop("tools", None)
        profile = _llm_profile(llm)
        model = llm_settings(llm) if profile is None else None
        agent = _agent(kept.get("agent_profile_id"), model if profile is None else dict(_UNTIL_SWITCHED), tools)
        state |= {"api_key": _key(None), "headers": (), "llm": model, "llm_profile": profile}
        state["conversation"] = Concealed({"workspace": _workspace(None), **agent, **kept})
        for name, value in ({"left_out": ()} | state).items():
            object.__setattr__(self, name, value)

    def _tool_names(self) -> list[str] | None:
        """The names of the agent's tools; None without an agent, or for one of which more was set."""
        llm = self.llm if self.llm_profile is None else _UNTIL_SWITCHED
        agent = self.conversation.get("agent")
        tools = agent.get("tools") if isinstance(agent, dict) else None
        if llm is None or not isinstance(tools, list):
            return None
        names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
        named = [name for name in names if isinstance(name, str)]
        return named if agent == _agent(None, dict(llm), named)["agent"] else None

    @property
    def params(self) -> dict[str, str]:
        """The query parameters of every request: none."""
        return {}

    @property
    def socket_url(self) -> str:
        """The address of the server's websockets, without a path."""
        return "ws" + self.route.base_url.removeprefix("http")

    def socket_options(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the way to the server as `websockets.connect` takes it, with these headers besides its own.

        Raises `ConfigurationError` for a proxy or certificates that cannot be used.
        """
        proxy = self.route.proxy_address()
        if proxy is not None and proxy.startswith("socks") and find_spec("python_socks") is None:
            raise ConfigurationError("a websocket through a SOCKS proxy needs python-socks: pip install python-socks")
        return {
            "proxy": proxy,
            "ssl": self.route.ssl_context() if self.route.base_url.startswith("https:") else None,
            "additional_headers": {**headers, **{name.lower(): value for name, value in self.headers}},
            "user_agent_header": USER_AGENT,
        }

    @property
    def titles_itself(self) -> bool:
        """Whether conversations made with these settings get a title by themselves."""
        return self.conversation.get("autotitle") is not False

    def request_headers(self) -> dict[str, str]:
        """The headers that go with each request, the key included; their `repr` shows their names alone."""
        headers = Concealed({"User-Agent": USER_AGENT, "Accept": "application/json", **dict(self.headers)})
        if self.api_key is not None:
            headers["X-Session-API-Key"] = self.api_key.get_secret_value()
        return headers

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """What no error may repeat: the server's key, and what the agent's settings hold under a secret's name."""
        found = secrets_in([{"headers": dict(self.headers)}, dict(self.conversation), dict(self.llm or {})])
        return tuple(found) if self.api_key is None else (self.api_key, *found)

    def secrets_of(self, call: Call) -> tuple[SecretStr, ...]:
        """What no error of this call may repeat: the server sends back the parts of a body that it refuses."""
        return (*self.secrets, *secrets_in(dict(call.body or {})))

    def refusal(self, call: Call, status_code: int, headers: httpx.Headers, content: bytes) -> APIStatusError:
        """Return the error for an answer that is not a success; `content` is the beginning of its body."""
        return refusal(call, status_code, headers, content, secrets=self.secrets_of(call))

    def new_conversation(self) -> dict[str, JsonValue]:
        """The body of a create, with an id of its own. Raises `ConfigurationError` if no agent is known."""
        others = [name for name in self.left_out if name != "llm"]
        if others or (self.left_out and self.llm is None):
            advice = "make a client with them again" if others else "make a client with llm= again, or set LLM_MODEL"
            raise ConfigurationError(
                "no agent to create a conversation with: this client was unpickled without "
                f"{', '.join(self.left_out)}, as a pickle holds nothing that may be a key: {advice}"
            )
        body = Concealed(self.conversation)
        if not any(name in body for name in ("agent", "agent_settings", "agent_profile_id")):
            raise ConfigurationError(
                "no agent to create a conversation with: pass llm= (a model name, or its settings), agent= (its "
                "settings, or the name or id of a profile on the server), or set LLM_MODEL"
            )
        body.setdefault("conversation_id", str(uuid.uuid4()))
        return body


def llm_settings(llm: Mapping[str, JsonValue] | str | None) -> dict[str, JsonValue] | None:
    """The settings of a model: those given, a name with the environment's key, or the environment's alone.

    `LLM_MODEL`, `LLM_API_KEY` and `LLM_BASE_URL` are the names of the OpenHands SDK's examples. A model
    streams unless `stream` is False; the server's own default is not to stream.
    """
    given: dict[str, JsonValue]
    if isinstance(llm, Mapping):
        given = Concealed(copy.deepcopy(dict(llm)))
        if "profile" in given:
            raise ConfigurationError("an LLM profile cannot be used here: give the model's name or its settings")
        if not isinstance(given.get("model"), str):
            raise ConfigurationError('llm has no "model", e.g. {"model": "openai/gpt-5", "api_key": "..."}')
    else:
        model = llm or os.environ.get("LLM_MODEL", "").strip()
        if not model:
            return None
        given = Concealed({"model": model})
        for name in ("api_key", "base_url"):
            if value := os.environ.get(f"LLM_{name.upper()}", "").strip():
                given[name] = value
    return Concealed({"usage_id": "agent", "stream": True, **given})


def _llm_profile(llm: Mapping[str, JsonValue] | str | None) -> str | None:
    """The name in `{"profile": name}`, or None for any other way to give a model."""
    if not isinstance(llm, Mapping) or "profile" not in llm:
        return None
    name = llm["profile"]
    if not isinstance(name, str) or not name or len(llm) > 1:
        raise ConfigurationError(
            'an LLM profile is {"profile": "its name"} and nothing else: the rest is on the server'
        )
    return name


def _plain_llm(llm: Mapping[str, JsonValue] | None, profile: str | None) -> dict[str, JsonValue] | str | None:
    """What a pickle keeps of a model, as `resolve` takes it; None if that is nothing."""
    if profile is not None:
        return {"profile": profile}
    if llm is None:
        return None
    # A key that this environment gives comes from the environment there.
    if llm == llm_settings(str(llm["model"])):
        return str(llm["model"])
    return dict(llm) if llm.keys() <= _PLAIN_OF_LLM else None


def check_id(session_id: object) -> str:
    """Return the session id in the form in which the server writes it. Raises `ConfigurationError`."""
    if isinstance(session_id, str | uuid.UUID):
        with suppress(ValueError):
            return str(uuid.UUID(str(session_id)))
    raise ConfigurationError(f"{session_id!r} is not the id of an OpenHands conversation, which is a UUID")


def check_indexes(index_ids: Sequence[str] | None) -> None:
    """Raise `ConfigurationError` for indexes: an agent server has none."""
    if checked_indexes(index_ids):
        raise ConfigurationError("an OpenHands agent server has no indexes: leave index_ids out")


def _key(given: str | SecretStr | None) -> SecretStr | None:
    """The server's key; None for a server that asks for none, as one on this machine may."""
    key = as_secret(given) or SecretStr(os.environ.get("OPENHANDS_API_KEY", "").strip())
    return checked_key(key) if key else None


def _agent(
    agent: Mapping[str, JsonValue] | str | None,
    llm: dict[str, JsonValue] | None,
    tools: Sequence[str | Mapping[str, JsonValue]] | None,
) -> dict[str, JsonValue]:
    """The part of a create that says who answers."""
    for tool in tools or ():
        check_kind("each of tools", tool, (str, Mapping), "a name, or settings")
    named: list[JsonValue] = [
        {"name": tool} if isinstance(tool, str) else Concealed(copy.deepcopy(dict(tool))) for tool in tools or ()
    ]
    if isinstance(tools, str):
        raise ConfigurationError(f"tools must be a list of names or settings; got the string {tools!r}")
    if isinstance(agent, str):
        if tools is not None:
            raise ConfigurationError("a profile on the server has its own tools: pass agent= or tools=, not both")
        return {"agent_profile_id": agent}
    if agent is None:
        return {} if llm is None else {"agent": {"kind": "Agent", "llm": llm, "tools": named}}
    given = Concealed(copy.deepcopy(dict(agent)))
    if llm is not None:
        given.setdefault("llm", llm)
    if tools is not None:
        given["tools"] = named
    return {"agent": {"kind": "Agent", **given}}


def _workspace(given: Mapping[str, JsonValue] | str | os.PathLike[str] | None) -> dict[str, JsonValue]:
    if isinstance(given, Mapping):
        return {"kind": "LocalWorkspace", **copy.deepcopy(dict(given))}
    return {"kind": "LocalWorkspace", "working_dir": os.fspath(given) if given else _DEFAULT_WORKSPACE}


def _base_url(given: str | None) -> str:
    value = (given or os.environ.get("OPENHANDS_BASE_URL", "")).strip()
    if not value:
        raise ConfigurationError(
            "no server: pass base_url=, or set OPENHANDS_BASE_URL, e.g. http://127.0.0.1:8000 for one on this machine"
        )
    return checked_url(value, suffix="/api", name="base_url" if given else "OPENHANDS_BASE_URL")

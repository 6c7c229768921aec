"""Which service a command talks to: LlamaCloud where there is a key, else a server in this process, or OpenHands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from chat_sessions.cli.exits import UnknownName
from chat_sessions.cli.folders import Folders, data_folder
from chat_sessions.cli.openhands import AgentOptions, end_run, has_agent, open_client
from chat_sessions.cli.store_lock import StoreLock
from chat_sessions.cli.terminal import Terminal
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import REGIONS, Region
from chat_sessions.session import ChatSession, Timeouts

if TYPE_CHECKING:
    from chat_sessions.openhands import OpenHandsChat
    from chat_sessions.server import Index

__all__ = ["SAMPLE", "Service", "Where", "key_name", "local_store", "open_documents", "open_service", "service_name"]

_KEYS = ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY")
_BACKENDS = ("llama-cloud", "openhands")
_TIMEOUT = 60.0

SAMPLE = Path(__file__).with_name("sample.md")
"""A document to ask where no other is needed."""


@dataclass(frozen=True)
class Where:
    """What the options say about the service; `local` is None where they leave it open.

    `timeout` is for how long, in seconds, an event is waited for, and a turn looked up whose stream broke; None
    is the backend's own. `agent` is for OpenHands alone.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    region: str | None = None
    local: bool | None = None
    timeout: float | None = None
    backend: str | None = None
    agent: AgentOptions = field(default_factory=AgentOptions)

    @property
    def is_openhands(self) -> bool:
        """Whether an OpenHands Agent Server is meant. Raises `ConfigurationError` for a backend that is none."""
        if self.backend not in (None, *_BACKENDS):
            raise ConfigurationError(f"--backend {self.backend}: the backends are {' and '.join(_BACKENDS)}")
        return self.backend == "openhands"

    @property
    def prompt_limit(self) -> int | None:
        """How many characters a question may have; None where that is the model's affair."""
        return None if self.is_openhands else 1000

    def check(self, indexes: Sequence[str] = (), session_id: str | None = None, *, require_all: bool = False) -> None:
        """Raise `ConfigurationError` for options of one backend that are given to the other."""
        given = self.agent.given
        if not self.is_openhands:
            if given:
                raise ConfigurationError(f"{given[0]} describes an OpenHands agent: add --backend openhands")
            return
        if indexes or require_all:
            raise ConfigurationError(
                f"an OpenHands agent server has no indexes: leave {'--index' if indexes else '--require-all'} out; its "
                "agent reads the files in its workspace (--workspace)"
            )
        if self.region or self.local is not None:
            which = "--region" if self.region else "--local" if self.local else "--cloud"
            raise ConfigurationError(f"{which} is about LlamaCloud, and goes without --backend openhands")
        if session_id is not None and given:
            raise ConfigurationError(
                f"{given[0]} describes the agent of a new session, and session {session_id} has its own: leave it out"
            )

    def is_local(self, indexes: Sequence[str] = ()) -> bool:
        """Whether a server in this process is meant. Raises `ConfigurationError` for contradictions, and for no key."""
        named = self.api_key or self.base_url or self.region
        if self.local:
            if named:
                raise ConfigurationError("--local goes without --api-key, --base-url and --region: it needs none")
            return True
        hosted = self.local is False or named or os.environ.get("LLAMA_CLOUD_BASE_URL")
        folders = [name for name in indexes if Path(name).exists()]
        if not (hosted or key_name(self.api_key)):
            return True
        if folders and not hosted and len(folders) == len(indexes):
            return True
        if folders:
            raise ConfigurationError(
                f"{folders[0]} is a folder or file on this machine, and the hosted service knows index ids alone; "
                "add --local to ask your own files"
            )
        if not key_name(self.api_key):
            raise ConfigurationError(
                "no API key: set LLAMA_CLOUD_API_KEY, or give --api-key; with --local your own files are asked "
                "without one"
            )
        return False

    def client(self, indexes: Sequence[str] = ()) -> LlamaCloudChat:
        """A client of the hosted service. Raises `ConfigurationError`."""
        return LlamaCloudChat(
            api_key=self.api_key,
            base_url=self.base_url,
            region=_region(self.region),
            index_ids=list(indexes) or None,
            timeouts=self.timeouts,
        )

    def agent_client(self, terminal: Terminal) -> OpenHandsChat:
        """A client of the agent server. Raises `ConfigurationError` and `UnknownName`."""
        return open_client(
            self.agent, api_key=self.api_key, base_url=self.base_url, timeout=self.timeout, terminal=terminal
        )

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines of a turn."""
        timeout = _TIMEOUT if self.timeout is None else self.timeout
        return Timeouts(first_event=timeout, idle=timeout, recovery=timeout)


@dataclass(frozen=True)
class Service:
    """A service that is ready to be asked.

    `name` says which it is, for people. `index_ids` are those that the command named, or None.
    `turn` stands around each turn; `end_run` ends one at the service, where leaving it is not enough.
    """

    client: LlamaCloudChat | OpenHandsChat
    name: str
    is_local: bool
    index_ids: tuple[str, ...] | None = None
    turn: Callable[[], AbstractContextManager[None]] = nullcontext
    end_run: Callable[[str], None] | None = None
    prompt_limit: int | None = 1000

    def session(self, session_id: str | None) -> ChatSession:
        """The session of this id, or a new one. Raises `ConfigurationError` for a new one without an index."""
        if session_id is None and not self.index_ids and self.openhands is None:
            raise ConfigurationError("nothing to ask: name an index with --index ID, or a session with --session ID")
        return self.client.session(session_id, index_ids=self.index_ids)

    @property
    def options(self) -> str:
        """The options that lead here from where no other is given, with a space before each."""
        if self.is_local:
            return " --local" if key_name() else ""
        if self.openhands is not None:
            known = os.environ.get("OPENHANDS_BASE_URL", "").strip().rstrip("/") == self.client.base_url
            return " --backend openhands" + ("" if known else f" --base-url {self.client.base_url}")
        return "" if self.is_llama_cloud else f" --base-url {self.client.base_url}"

    @property
    def openhands(self) -> OpenHandsChat | None:
        """The client, where it is one of an OpenHands Agent Server."""
        return None if isinstance(self.client, LlamaCloudChat) else self.client

    @property
    def is_llama_cloud(self) -> bool:
        """Whether it is LlamaCloud itself, in either region."""
        return self.client.base_url in REGIONS.values()


def _region(name: str | None) -> Region | None:
    match name:
        case None | "us" | "eu":
            return name
        case _:
            raise ConfigurationError(f"--region {name}: the regions are {' and '.join(REGIONS)}")


def key_name(given: str | None = None) -> str | None:
    """Where the API key comes from: "--api-key", or the variable's name; None if there is none."""
    return "--api-key" if given else next((name for name in _KEYS if os.environ.get(name, "").strip()), None)


def service_name(base_url: str) -> str:
    """A hosted service for people: "LlamaCloud (us), https://…"."""
    region = next((name for name, url in REGIONS.items() if url == base_url), None)
    return f"LlamaCloud ({region}), {base_url}" if region else f"Chat API at {base_url}"


def local_store() -> Path:
    """The file of the local sessions."""
    return data_folder() / "sessions.db"


@contextmanager
def open_service(
    where: Where,
    *,
    terminal: Terminal,
    indexes: Sequence[str] = (),
    session_id: str | None = None,
    documents: bool = True,
) -> Generator[Service]:
    """The service that the options mean, told on stderr, and closed at the end.

    With `documents`, questions are asked: a local server gets those of `indexes` and of the session, and an agent
    server must be told of an agent for a new one. Without, it is for looking at sessions only.
    Raises `ConfigurationError`, `UnknownName`, and what the documents raise.
    """
    where.check(indexes, session_id)
    if where.is_openhands:
        if documents and session_id is None and not has_agent(where.agent):
            raise ConfigurationError(
                "no agent for a new session: name its model with --llm or LLM_MODEL, or a profile of the server with "
                "--agent"
            )
        with where.agent_client(terminal) as client:
            name = f"OpenHands Agent Server at {client.base_url}"
            terminal.note(name)
            yield Service(
                client,
                name,
                is_local=False,
                end_run=partial(end_run, client, terminal=terminal),
                prompt_limit=where.prompt_limit,
            )
        return
    if not where.is_local(indexes):
        with where.client(indexes) as client:
            name = service_name(client.base_url)
            terminal.note(name)
            yield Service(client, name, is_local=False, index_ids=client.index_ids)
        return
    from chat_sessions.local import LocalServer
    from chat_sessions.server import Behaviour

    store = local_store()
    named, paths = _paths(indexes, session_id, store) if documents else ((), {})
    if documents:
        name = "Local server over " + ", ".join(_short(path) for path in paths.values())
        if key_name():
            name += " (not LlamaCloud)"
    else:
        name = f"Local sessions in {_short(store)}"
    terminal.note(name)
    opened = open_documents(paths or {"idx-sample": SAMPLE}, terminal)
    lock = StoreLock(
        store,
        on_wait=lambda: terminal.note("Waiting for another chat-sessions to end its turn"),
        remedy="name another folder for the sessions in CHAT_SESSIONS_DATA",
    )
    # A turn that Ctrl-C left is over, and does not stand in the way of the next one.
    behaviour = Behaviour(on_disconnect="cancel", concurrent_turns="queue")
    server = LocalServer(indexes=opened, store=f"sqlite:///{store}", behaviour=behaviour)
    with lock.opening():
        server.start()
    with (
        server,
        # A proxy in the environment is for other machines.
        httpx.Client(trust_env=False) as http_client,
        LlamaCloudChat(
            api_key=server.api_key,
            base_url=server.url,
            index_ids=list(opened),
            http_client=http_client,
            timeouts=where.timeouts,
        ) as client,
    ):
        yield Service(client, name, is_local=True, index_ids=named or None, turn=lock.running)


def open_documents(paths: Mapping[str, Path], terminal: Terminal) -> dict[str, Index]:
    """The documents, read, with a warning for each file that is left out. Raises what `open_index` raises."""
    from chat_sessions.server import open_index

    opened: dict[str, Index] = {}
    for index_id, path in paths.items():
        with terminal.working(f"Reading {_short(path)}"):
            opened[index_id] = open_index(index_id, path)
        for warning in opened[index_id].warnings:
            terminal.warn(warning)
    return opened


def _paths(indexes: Sequence[str], session_id: str | None, store: Path) -> tuple[tuple[str, ...], dict[str, Path]]:
    """The index ids that were named, and the folders to serve: theirs, and those that the session asks."""
    folders = Folders(store.parent)
    paths = folders.resolve(indexes)
    named = tuple(paths)
    if session_id is not None:
        for index_id in _session_indexes(store, session_id):
            paths.setdefault(index_id, folders.path_of(index_id))
    if not paths:
        raise ConfigurationError("nothing to ask: name a folder or a file with --index, such as --index docs/")
    folders.remember(paths)
    return named, paths


def _session_indexes(store: Path, session_id: str) -> list[str]:
    """The indexes of a stored session, read without a server: which documents it needs is to be known first."""
    from chat_sessions.server.store.records import UnknownSession
    from chat_sessions.server.store.store import Store

    async def read() -> list[str]:
        opened = await Store.open(f"sqlite:///{store}")
        try:
            return (await opened.session(session_id)).index_ids or []
        finally:
            await opened.close()

    try:
        return asyncio.run(read())
    except UnknownSession:
        raise UnknownName(
            f"there is no session {session_id!r} on this machine; `chat-sessions sessions list` shows those that are"
        ) from None


def _short(path: Path) -> str:
    """The path as it is shortest to read."""
    if path.is_relative_to(Path.cwd()) and path != Path.cwd():
        return str(path.relative_to(Path.cwd()))
    # A process may have no home.
    with suppress(RuntimeError):
        if path.is_relative_to(Path.home()) and path != Path.home():
            return f"~/{path.relative_to(Path.home())}"
    return str(path)

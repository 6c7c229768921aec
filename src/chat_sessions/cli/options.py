"""The options that several commands share. Options for an agent take JSON, or @FILE for a file with JSON in it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, TypeVar

import typer

from chat_sessions.cli.completion import complete_session
from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.choice import Where

__all__ = [
    "AGENT",
    "SERVICE",
    "AsJson",
    "Continue",
    "Indexes",
    "LlmBaseUrl",
    "LlmKey",
    "LocalLlm",
    "Plain",
    "Quiet",
    "SessionArgument",
    "SessionId",
    "takes",
]

_Result = TypeVar("_Result")

Indexes = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        "-i",
        metavar="ID|FOLDER",
        help="What to ask: an index id, or a folder or file for the local server. May be given up to ten times.",
    ),
]
SessionId = Annotated[
    str | None,
    typer.Option(
        "--session",
        "-s",
        metavar="ID",
        autocompletion=complete_session,
        help="The session to continue: its id, the beginning of it, or last; default a new one.",
    ),
]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Continue the newest session: --session last.")]
SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        autocompletion=complete_session,
        help="The session's id, the beginning of it, or last for the newest.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the answer and its sources.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Print answers as they come, also on a terminal, where Markdown is rendered.")
]
LlmBaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel="Model options",
        help="Local: the OpenAI-compatible endpoint of --llm, such as http://127.0.0.1:11434/v1; default "
        "OPENAI_BASE_URL, else OpenAI.",
    ),
]
LlmKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        rich_help_panel="Model options",
        help="Local: the key of that endpoint. Other users of the machine can see it in the process list: prefer the "
        "variable OPENAI_API_KEY.",
    ),
]
LocalLlm = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="MODEL",
        rich_help_panel="Model options",
        help="The model that answers from the files; default none: passages are quoted.",
    ),
]

_OPTIONS: dict[str, Any] = {
    "timeout": Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            rich_help_panel="Service options",
            help="How long to wait for an event, and to look up a turn whose stream broke; default 60, but "
            "600 between two OpenHands events.",
        ),
    ],
    "api_key": Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            rich_help_panel="Service options",
            help="The API key. Other users of the machine can see it in the process list: prefer the variable "
            "LLAMA_CLOUD_API_KEY or OPENHANDS_API_KEY.",
        ),
    ],
    "base_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel="Service options",
            help="The service's address; default LLAMA_CLOUD_BASE_URL, else LlamaCloud; for openhands "
            "OPENHANDS_BASE_URL.",
        ),
    ],
    "region": Annotated[
        str | None,
        typer.Option(
            metavar="us|eu",
            autocompletion=lambda: ["us", "eu"],
            rich_help_panel="Service options",
            help="The region of LlamaCloud.",
        ),
    ],
    "local": Annotated[
        bool | None,
        typer.Option(
            "--local/--cloud",
            rich_help_panel="Service options",
            help="Use a server on this machine, or the hosted service; default the hosted one if there is a key. "
            "Local sessions are kept in the user's data folder, or in the folder that CHAT_SESSIONS_DATA names.",
        ),
    ],
    "backend": Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="llama-cloud|openhands",
            autocompletion=lambda: ["llama-cloud", "openhands"],
            envvar="CHAT_SESSIONS_BACKEND",
            show_envvar=True,
            rich_help_panel="Service options",
            help="The kind of service; default llama-cloud.",
        ),
    ],
    "llm": Annotated[
        str | None,
        typer.Option(
            metavar="NAME|JSON|@FILE",
            rich_help_panel="Model options",
            help="Local: the model that answers from the files; default none: passages are quoted. OpenHands: the "
            "model of a new session's agent; default LLM_MODEL, LLM_API_KEY and LLM_BASE_URL.",
        ),
    ],
    "llm_base_url": LlmBaseUrl,
    "llm_key": LlmKey,
    "agent": Annotated[
        str | None,
        typer.Option(
            metavar="NAME|JSON|@FILE",
            rich_help_panel="OpenHands options",
            help="OpenHands: a new session's agent, as a profile on the server or as settings.",
        ),
    ],
    "tool": Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|JSON|@FILE",
            rich_help_panel="OpenHands options",
            help="OpenHands: a tool of a new session's agent, such as terminal. May be given several times.",
        ),
    ],
    "workspace": Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|JSON|@FILE",
            rich_help_panel="OpenHands options",
            help="OpenHands: the folder on the server's machine that the agent works in.",
        ),
    ],
    "conversation": Annotated[
        str | None,
        typer.Option(
            metavar="JSON|@FILE",
            rich_help_panel="OpenHands options",
            help="OpenHands: more fields of a new conversation, such as '{\"max_iterations\": 50}'.",
        ),
    ],
    "confirm": Annotated[
        bool,
        typer.Option(
            "--confirm",
            rich_help_panel="OpenHands options",
            help="OpenHands: ask before each action of a new session's agent.",
        ),
    ],
}
SERVICE = ("api_key", "base_url", "region", "local", "backend")
"""The options that say which service is meant."""
AGENT = ("llm", "llm_base_url", "llm_key", "agent", "tool", "workspace", "conversation", "confirm")
"""The options for the agent or the model of a new session."""


def takes(*names: str) -> Callable[[Callable[Concatenate[Where, ...], _Result]], Callable[..., _Result]]:
    """Give a command these options, after its own; their values are its first argument, a `Where`."""

    def decorate(command: Callable[Concatenate[Where, ...], _Result]) -> Callable[..., _Result]:
        @functools.wraps(command)
        def run(**given: Any) -> _Result:
            agent = AgentOptions(**{name: given.pop(name) for name in names if name in AGENT})
            where = Where(agent=agent, **{name: given.pop(name) for name in names if name not in AGENT})
            return command(where, **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name == "confirm" else None,
                annotation=_OPTIONS[name],
            )
            for name in names
        ]
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        return run

    return decorate

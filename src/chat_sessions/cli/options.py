"""The options that several commands share. Options for an agent take JSON, or @FILE for a file with JSON in it."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Agent",
    "ApiKey",
    "AsJson",
    "Backend",
    "BaseUrl",
    "Confirm",
    "Conversation",
    "Indexes",
    "Llm",
    "LlmBaseUrl",
    "LlmKey",
    "Local",
    "LocalLlm",
    "Quiet",
    "Region",
    "SessionArgument",
    "SessionId",
    "Timeout",
    "Tool",
    "Workspace",
]

ApiKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="The API key. Other users of the machine can see it in the process list: prefer the variable "
        "LLAMA_CLOUD_API_KEY or OPENHANDS_API_KEY.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The service's address; default LLAMA_CLOUD_BASE_URL, else LlamaCloud; for openhands OPENHANDS_BASE_URL.",
    ),
]
Region = Annotated[str | None, typer.Option(metavar="us|eu", help="The region of LlamaCloud.")]
Local = Annotated[
    bool | None,
    typer.Option(
        "--local/--cloud",
        help="Use a server on this machine, or the hosted service; default the hosted one if there is a key.",
    ),
]
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
    str | None, typer.Option("--session", "-s", metavar="ID", help="The session to continue; default a new one.")
]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the answer and its sources.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help="How long to wait for an event, and to look up a turn whose stream broke; default 60; for openhands "
        "600 between two events.",
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="llama-cloud|openhands",
        envvar="CHAT_SESSIONS_BACKEND",
        show_envvar=True,
        help="The kind of service; default llama-cloud.",
    ),
]
Llm = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON|@FILE",
        help="Local: the model that answers from the files; default none: passages are quoted. OpenHands: the model of "
        "a new session's agent; default LLM_MODEL, LLM_API_KEY and LLM_BASE_URL.",
    ),
]
LlmBaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Local: the OpenAI-compatible endpoint of --llm, such as http://127.0.0.1:11434/v1; default "
        "OPENAI_BASE_URL, else OpenAI.",
    ),
]
LlmKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Local: the key of that endpoint. Other users of the machine can see it in the process list: prefer the "
        "variable OPENAI_API_KEY.",
    ),
]
LocalLlm = Annotated[
    str | None,
    typer.Option(
        "--llm", metavar="MODEL", help="The model that answers from the files; default none: passages are quoted."
    ),
]
Agent = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON|@FILE", help="OpenHands: a new session's agent, as a profile on the server or as settings."
    ),
]
Tool = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|JSON|@FILE",
        help="OpenHands: a tool of a new session's agent, such as terminal. May be given several times.",
    ),
]
Workspace = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|JSON|@FILE", help="OpenHands: the folder on the server's machine that the agent works in."
    ),
]
Conversation = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE", help="OpenHands: more fields of a new conversation, such as '{\"max_iterations\": 50}'."
    ),
]
Confirm = Annotated[bool, typer.Option("--confirm", help="OpenHands: ask before each action of a new session's agent.")]

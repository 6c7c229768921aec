"""An OpenHands Agent Server."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from chat_sessions.cli.show.actions import confirm
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.agent import settings_in, tools_in
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.events import Session
from chat_sessions.core.turn import ToolRun, replay

if TYPE_CHECKING:
    from chat_sessions.openhands import OnConfirmation, OpenHandsChat

__all__ = ["open_openhands", "waiting_runs"]


@contextmanager
def open_openhands(
    where: Where, terminal: Terminal, on_confirmation: OnConfirmation | None = None
) -> Generator[Service]:
    """Open a client of the server. When an agent waits for permission, `on_confirmation` is asked, else the terminal.

    Raises `ConfigurationError` for options that cannot be read or contradict each other, and `UnknownName` for
    a file that does not exist.
    """
    from chat_sessions.openhands import OpenHandsChat

    agent = where.agent
    conversation = agent.conversation_fields()
    if on_confirmation is None and terminal.is_interactive:
        on_confirmation = partial(confirm, terminal)
    if agent.confirm and on_confirmation is None:
        raise ConfigurationError("--confirm asks before each action, but there is no terminal to ask at")
    with OpenHandsChat(
        base_url=where.base_url,
        api_key=where.api_key,
        llm=settings_in("--llm", agent.llm),
        agent=settings_in("--agent", agent.agent),
        tools=tools_in(agent.tool),
        workspace=settings_in("--workspace", agent.workspace),
        conversation=conversation,
        on_confirmation=on_confirmation,
        timeouts=where.timeouts,
    ) as client:
        url = client.base_url
        yield Service(
            client,
            f"OpenHands Agent Server at {url}",
            where.options_to(url),
            interrupt=lambda session_id: _interrupt(client, session_id, terminal),
        )


def waiting_runs(session: Session) -> list[ToolRun]:
    """List the tool runs that wait for permission."""
    if (session.model_extra or {}).get("execution_status") != "waiting_for_confirmation":
        return []
    turns = replay(session.events)
    return [run for run in turns[-1].tool_runs if run.result is None] if turns else []


def _interrupt(client: OpenHandsChat, session_id: str, terminal: Terminal) -> bool:
    """Interrupt a session's run; returns whether it has ended, and warns if it may continue."""
    try:
        with terminal.working("Interrupting the agent"):
            client.interrupt(session_id)
    except ChatSessionsError as error:
        terminal.warn(f"the agent could not be interrupted and may continue: {error}")
        return False
    except KeyboardInterrupt:
        terminal.warn("the agent may continue until the model has answered")
        return False
    return True

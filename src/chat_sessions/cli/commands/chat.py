"""A conversation at the terminal: questions line by line, in one session."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator

from chat_sessions.cli.commands.ask import ask, check_question
from chat_sessions.cli.errors import ExitCode, exit_code
from chat_sessions.cli.show.answer import NO_FILE, cited, show_sources
from chat_sessions.cli.show.terminal import Terminal, one_line
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.session import ChatSession

__all__ = ["chat"]

_HELP = """\
/sources  the passages behind the last answer
/title    the session's title
/session  the session's id
/help     this list
/quit     end; so do /exit and Ctrl-D. Ctrl-C ends the running turn alone"""


def chat(service: Service, session: ChatSession, terminal: Terminal) -> ExitCode:
    """Read questions until /quit, /exit or the end of the input; gives the code of the last one that failed.

    Someone at a terminal is told of an error and asks on. Raises only what makes every further
    question fail too: a key that is refused, a session that does not exist.
    """
    if terminal.is_interactive:
        _edit_lines()
        terminal.note("Ask away. /help lists the commands, Ctrl-D ends.")
    conversation = _Conversation(service, session, terminal)
    for line in _lines(terminal):
        if not line.strip():
            continue
        if line.strip() in ("/quit", "/exit"):
            break
        conversation.take(line)
    if session.id is not None:
        terminal.note(f"To go on: chat-sessions chat --session {session.id}{service.options}")
    return conversation.code


class _Conversation:
    def __init__(self, service: Service, session: ChatSession, terminal: Terminal) -> None:
        self._service = service
        self._session = session
        self._terminal = terminal
        self._last: Turn | None = None
        self.code = ExitCode.OK

    def take(self, line: str) -> None:
        """A question or a command."""
        try:
            if line.startswith("/"):
                self._command(line.strip())
            else:
                self._last = ask(
                    self._service,
                    self._session.stream(check_question(line, self._service.prompt_limit)),
                    self._terminal,
                )
        except KeyboardInterrupt:
            if not self._terminal.is_interactive:
                raise
            self._terminal.note("Interrupted: this turn ends here.", "yellow")
        except ChatSessionsError as error:
            code = exit_code(error)
            if code in (ExitCode.NO_ACCESS, ExitCode.NOT_FOUND):
                raise
            self._terminal.error(str(error))
            if not self._terminal.is_interactive:
                self.code = code

    def _command(self, line: str) -> None:
        match line:
            case "/help":
                self._terminal.note(_HELP)
            case "/session":
                self._terminal.line(self._session.id or "There is no session yet: the first question makes it.")
            case "/title":
                title = self._session.summary().generated_title if self._session.id else None
                self._terminal.line(one_line(title) if title else "The session has no title yet.")
            case "/sources":
                self._sources()
            case _:
                raise ConfigurationError(f"there is no command {one_line(line, 40)!r}; /help lists those there are")

    def _sources(self) -> None:
        turn = self._last
        if turn is None and self._session.id is not None:
            turn = next(iter(self._session.turns()[::-1]), None)
        if turn is None or not turn.sources:
            self._terminal.line("There are no sources yet." if turn is None else "The last answer cites no source.")
            return
        show_sources(turn.sources, self._terminal)
        for number, source in enumerate(turn.sources, 1):
            self._terminal.line()
            place = cited([source])[0].place or NO_FILE
            self._terminal.line(f"[{number}] {place}", "bold")
            self._terminal.line(source.text.strip())


def _lines(terminal: Terminal) -> Iterator[str]:
    """The lines of stdin. Ctrl-C at the prompt drops the line that is being typed."""
    if not terminal.is_interactive:
        yield from sys.stdin
        return
    while True:
        try:
            yield input("\nyou> ")
        except EOFError:
            terminal.line()
            return
        except KeyboardInterrupt:
            terminal.line()
            terminal.note("Ctrl-D or /quit ends the conversation.")


def _edit_lines() -> None:
    # Not on Windows, whose terminal edits lines itself.
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives `input` its line editing

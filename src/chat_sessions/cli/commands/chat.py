"""`chat-sessions chat`: ask question after question in one session."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chat_sessions.cli import options
from chat_sessions.cli.commands.ask import answerable, check_question, session_name, show_turn
from chat_sessions.cli.errors import ExitCode, exit_code, handle_errors
from chat_sessions.cli.show.sources import cited, show_sources
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line, program
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ChatSessionsError, ConfigurationError
from chat_sessions.core.turn import Turn
from chat_sessions.session import ChatSession

__all__ = ["chat"]

# Also after white space, as `/quit` is. A question may begin with a path.
_COMMAND = re.compile(r"\s*/[a-zA-Z]*(?!\S)")
_HELP = {
    "/sources": "show the passages behind the last answer",
    "/title": "show the session's title",
    "/session": "show the session's id",
    "/help": "show this list",
    "\\": "at the end of a line: the question continues on the next",
    "/quit": "end the chat; so do /exit and Ctrl-D",
    "Ctrl-C": "stop the running answer, and nothing else",
}


@handle_errors
@options.takes("timeout", *options.SERVICE, *options.AGENT)
def chat(
    where: Where,
    index: options.Indexes = None,
    session: options.SessionId = None,
    continue_: options.Continue = False,
    quiet: options.Quiet = False,
    plain: options.Plain = False,
) -> ExitCode:
    """Ask question after question in one session.

    Ctrl-C stops the running answer, Ctrl-D or /quit the chat. When an OpenHands agent waits for permission to act,
    you are asked.
    """
    session = session_name(session, newest=continue_)
    terminal = Terminal(quiet=quiet, silent=quiet, plain=plain)
    where = replace(where, indexes=index or (), session_id=session).configured()
    with open_service(where, terminal) as service:
        running = _Chat(service, service.session(session), terminal, where.prompt_limit)
        running.run()
    return running.code


@dataclass
class _Chat:
    """A chat. `code` is the exit code of the last piped question that failed.

    At a terminal, an error is shown and the chat continues. Raises only errors that would make every further
    question fail too: a refused key, an unknown session.
    """

    service: Service
    session: ChatSession
    terminal: Terminal
    prompt_limit: int | None
    last: Turn | None = None
    code: ExitCode = ExitCode.OK

    def run(self) -> None:
        """Take lines until /quit, /exit or the end of input."""
        if self.terminal.is_interactive:
            _edit_lines()
            self.terminal.note("Ask away. /help lists the commands, Ctrl-D ends the chat.")
        for line in _lines(self.terminal):
            if line.strip() in ("/quit", "/exit"):
                break
            if line.strip():
                self._take(line)
        if self.session.id is not None:
            command = f"{program()} chat --session {self.session.id}{self.service.options}"
            self.terminal.note(f"To continue: {command}", wrap=False)

    def _take(self, line: str) -> None:
        """Answer a question or run a command."""
        try:
            if _COMMAND.match(line):
                self._command(line.strip())
            else:
                stream = self.session.stream(check_question(line, self.prompt_limit))
                with answerable(self.service, stream, self.terminal):
                    self.last = show_turn(self.service, stream, self.terminal)
        except KeyboardInterrupt as interrupt:
            if not self.terminal.is_interactive:
                raise
            self.terminal.note(str(interrupt) or "Interrupted", "yellow")
        except ChatSessionsError as error:
            code = exit_code(error)
            if code in (ExitCode.NO_ACCESS, ExitCode.NOT_FOUND):
                raise
            self.terminal.error(str(error))
            if not self.terminal.is_interactive:
                self.code = code

    def _command(self, line: str) -> None:
        match line:
            case "/help":
                for name, about in _HELP.items():
                    self.terminal.labelled(f"{name:<10}", "bold", about)
            case "/session":
                self.terminal.line(self.session.id or "There is no session yet: the first question creates it.")
            case "/title":
                title = self.session.summary().generated_title if self.session.id else None
                self.terminal.line(one_line(title) if title else "The session has no title yet.")
            case "/sources":
                self._sources()
            case _:
                raise ConfigurationError(f"there is no command {one_line(line, 40)!r}; /help lists the commands")

    def _sources(self) -> None:
        turn = self.last
        if turn is None and self.session.id is not None:
            turn = next(iter(self.session.turns()[::-1]), None)
        if turn is None or not turn.sources:
            self.terminal.line("There are no sources yet." if turn is None else "The last answer cites no source.")
            return
        show_sources(turn.sources, self.terminal)
        # The numbers are those of the list above, which has a page once however many of its passages are cited.
        for number, entry in enumerate(cited(turn.sources), 1):
            self.terminal.line()
            self.terminal.line(f"[{number}] {entry.place}", "bold")
            self.terminal.line("\n\n".join(entry.passages) or "(no text)")


def _lines(terminal: Terminal) -> Iterator[str]:
    """Read the lines of stdin. Ctrl-C at the prompt drops the line being typed."""
    if not terminal.is_interactive:
        yield from sys.stdin
        return
    while True:
        try:
            line = input("\nyou> ")
            while line.endswith("\\"):
                line = f"{line[:-1]}\n{input('...> ')}"
            yield line
        except EOFError:
            terminal.line()
            return
        except KeyboardInterrupt:
            terminal.line()
            terminal.note("Ctrl-D or /quit ends the chat.")


def _edit_lines() -> None:
    # Not on Windows, where the terminal edits lines itself.
    with contextlib.suppress(ImportError):
        readline = importlib.import_module("readline")  # makes `input` edit lines
        # So that pasted lines are one question; Python turns this off for its own prompt.
        readline.parse_and_bind("set enable-bracketed-paste on")

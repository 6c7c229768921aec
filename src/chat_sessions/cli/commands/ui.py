"""`chat-sessions ui`: a page on this machine for the sessions of a service."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from chat_sessions.cli import options
from chat_sessions.cli.errors import handle_errors
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.folders import Folders, data_folder
from chat_sessions.cli.where.opening import open_service
from chat_sessions.cli.where.page import PAGE_PORT, page_app
from chat_sessions.llama_cloud.settings import MOST_INDEXES

if TYPE_CHECKING:
    from chat_sessions.openhands import ConfirmationRequest

__all__ = ["ui"]


@handle_errors
@options.takes("timeout", *options.SERVICE, *options.AGENT)
def ui(
    where: Where,
    folder: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Folders or files to ask, on a local server; or ids of indexes of the hosted service.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 picks a free one.")] = PAGE_PORT,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="The address to listen on; any but 127.0.0.1 lets other machines in."),
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page in a browser.")] = False,
) -> None:
    """Open a page to look at sessions and ask in them.

    Prints the page's address, which has a token: without it, the page cannot be opened. Other machines can open it
    only if you name another --host. Ctrl-C ends it.
    """
    from chat_sessions.web import run
    from chat_sessions.web.hosting import Listener
    from chat_sessions.web.live.sessions import Confirmations

    terminal = Terminal()
    where = replace(where, indexes=folder or ()).configured()
    listener = Listener(port, host=host)
    confirmations = Confirmations()

    async def on_confirmation(request: ConfirmationRequest) -> bool | str:
        return await confirmations.ask(request.session_id, request.actions)

    if not where.indexes and not where.is_openhands and where.is_local:
        # So that existing sessions can be continued, if their documents are known.
        where = replace(where, indexes=Folders(data_folder()).known()[:MOST_INDEXES])
    documents = bool(where.indexes) and not where.is_openhands
    opened = open_service(where, terminal, documents=documents, on_confirmation=on_confirmation)
    with listener.socket, opened as service:
        app = page_app(service, listener, confirmations)

        def listening() -> None:
            terminal.line(listener.address)
            if not listener.is_private:
                terminal.warn("other machines reach this page, unencrypted: whoever has the address can use it")
            terminal.note("Ctrl-C ends the page.")
            if not no_open:
                # `open` may wait for the browser, and the browser waits for the page.
                threading.Thread(target=webbrowser.open, args=(listener.address,), daemon=True).start()

        with suppress(KeyboardInterrupt):
            run(app, listener, on_listening=listening)
        terminal.note("Stopped")

"""The command line (extra: `cli`)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run `chat-sessions` and exit with its code."""
    try:
        from chat_sessions.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "chat_sessions":
            raise
        sys.stderr.write(f"chat-sessions needs {error.name}; install it with: pip install 'chat-sessions[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    run()

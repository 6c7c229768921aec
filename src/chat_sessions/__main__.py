"""Run the command line: `python -m chat_sessions` is `chat-sessions`."""

from chat_sessions.cli import main

main()

"""`python -m chat_sessions.cli` is `chat-sessions`."""

from chat_sessions.cli import main

main()

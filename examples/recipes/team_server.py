"""A server for a team: two processes, and sessions in PostgreSQL, where one that dies loses nothing.

Set CHAT_SESSIONS_STORE to postgresql://user@host/database and CHAT_SESSIONS_SERVE_KEY to a key of your own, then run
`python -m examples.recipes.team_server`.
"""

from __future__ import annotations

import os

from chat_sessions.server import open_index, serve


def main() -> None:
    serve(
        indexes={"idx-docs": open_index("idx-docs", "examples/documents")},
        store=os.environ["CHAT_SESSIONS_STORE"],
        api_key=os.environ["CHAT_SESSIONS_SERVE_KEY"],
        port=int(os.environ.get("PORT", "8765")),
        workers=2,
        on_listening=lambda url, _key: print(f"LLAMA_CLOUD_BASE_URL={url}", flush=True),
    )


if __name__ == "__main__":
    main()

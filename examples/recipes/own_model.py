"""Answers from your own files by a model of your own: any endpoint that speaks OpenAI's API, such as Ollama's.

Run it with `ollama serve` and `python -m examples.recipes.own_model`; OPENAI_BASE_URL, OPENAI_API_KEY and MODEL say
which model it is.
"""

from __future__ import annotations

import os

from chat_sessions import LocalServer
from chat_sessions.server import LlmAgent


def main() -> None:
    url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    agent = LlmAgent.at(os.environ.get("MODEL", "qwen3:4b"), url, os.environ.get("OPENAI_API_KEY"))
    with LocalServer(indexes={"idx-docs": "examples/documents"}, agent=agent) as server, server.client() as chat:
        turn = chat.session().ask("How long is the warranty?")
        print(turn.text)
        for source in turn.sources:
            print(source.file_name, source.page)


if __name__ == "__main__":
    main()

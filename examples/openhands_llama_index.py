"""An image for an agent, what the answer cost, a fork, and a file that the agent wrote: through LlamaIndex.

It needs a server, and a model that sees images: OPENHANDS_BASE_URL, OPENHANDS_API_KEY, LLM_MODEL and LLM_API_KEY.

    python examples/openhands_llama_index.py chart.png /srv/project "What does the chart show?" \
        "Write it to /srv/project/numbers.csv."
"""

from __future__ import annotations

import sys
from pathlib import Path

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock

from chat_sessions import OpenHandsChat
from chat_sessions.llama_index import SessionChatEngine


def main(image: str, workspace: str, question: str, task: str) -> None:
    with OpenHandsChat(tools=["file_editor"], workspace=workspace) as chat:
        engine = SessionChatEngine(client=chat)
        answer = engine.chat(ChatMessage(role="user", blocks=[TextBlock(text=question), ImageBlock(path=Path(image))]))
        usage = (answer.metadata or {})["usage"]
        print("answer:", answer.response)
        print("tokens:", usage["input_tokens"] + usage["output_tokens"])
        print("cost in US dollars:", usage.get("cost"))

        # The fork knows the image; what it does is not in the first session.
        fork = SessionChatEngine.from_session(chat.fork(str(engine.session_id), title="With a file"))
        print("fork:", fork.chat(task).response)
        print("turns:", len(engine.session.turns()), len(fork.session.turns()))
        print("file:", chat.workspace(str(fork.session_id)).download("numbers.csv").decode())


if __name__ == "__main__":
    main(*sys.argv[1:])

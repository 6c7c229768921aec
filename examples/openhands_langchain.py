"""An image for an agent, what the answer cost, a fork, and a file that the agent wrote: through LangChain.

It needs a server, and a model that sees images: OPENHANDS_BASE_URL, OPENHANDS_API_KEY, LLM_MODEL and LLM_API_KEY.

    python examples/openhands_langchain.py chart.png /srv/project "What does the chart show?" \
        "Write it to /srv/project/numbers.csv."
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage

from chat_sessions import OpenHandsChat
from chat_sessions.langchain import SessionChatModel


def main(image: str, workspace: str, question: str, task: str) -> None:
    with OpenHandsChat(tools=["file_editor"], workspace=workspace) as chat:
        session_id = chat.create().session_id
        model = SessionChatModel(client=chat, session_id=session_id)
        shown = base64.b64encode(Path(image).read_bytes()).decode()
        answer = model.invoke(
            [
                HumanMessage(
                    [
                        {"type": "text", "text": question},
                        {"type": "image", "base64": shown, "mime_type": "image/png"},
                    ]
                )
            ]
        )
        print("answer:", answer.text)
        print("tokens:", answer.usage_metadata and answer.usage_metadata["total_tokens"])
        print("cost in US dollars:", answer.response_metadata["turn_usage"].get("cost"))

        # The fork knows the image; what it does is not in the first session.
        fork = chat.fork(session_id, title="With a file")
        print("fork:", SessionChatModel(client=chat, session=fork).invoke(task).text)
        print("turns:", len(chat.session(session_id).turns()), len(fork.turns()))
        print("file:", chat.workspace(str(fork.id)).download("numbers.csv").decode())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One conversation of an OpenHands Agent Server, through LlamaIndex and then through LangChain.

It needs a server, and a model for its agent: OPENHANDS_BASE_URL, OPENHANDS_API_KEY, LLM_MODEL and LLM_API_KEY.
"""

from __future__ import annotations

from chat_sessions import OpenHandsChat
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.openhands import ConfirmationRequest


def allow(request: ConfirmationRequest) -> bool | str:
    """Let the agent look, and nothing else."""
    for action in request.actions:
        print(f"[{action.name} {dict(action.arguments)}]")
        if action.name == "terminal" and not str(action.arguments.get("command", "")).startswith(("ls", "cat", "echo")):
            return "only look, please"
    return True


def main() -> None:
    with OpenHandsChat(
        tools=["terminal"], conversation={"confirmation_policy": {"kind": "AlwaysConfirm"}}, on_confirmation=allow
    ) as chat:
        engine = SessionChatEngine(client=chat)
        with engine.stream_chat("List the files of your workspace.") as response:
            for token in response.response_gen:
                print(token, end="", flush=True)
        print("\nused:", [output.tool_name for output in response.sources])

        model = SessionChatModel(client=chat, session_id=engine.session_id)
        answer = model.invoke("Which of them would you read first?")
        print("\nAnd through LangChain:", answer.text, answer.usage_metadata)

        print("title:", chat.generate_title(str(engine.session_id)).title)
        chat.delete(str(engine.session_id))


if __name__ == "__main__":
    main()

"""A hosted session as a LangGraph node: its id is in the graph's state, so a thread goes on where it was."""

from pathlib import Path
from typing import Any, NotRequired

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from chat_sessions import LocalServer
from chat_sessions.langchain import SessionChatModel, session_node

DOCUMENTS = Path(__file__).with_name("documents")


class State(MessagesState):
    session_id: NotRequired[str]


def main() -> None:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as chat:
        builder = StateGraph(State)
        builder.add_node("ask", session_node(SessionChatModel(client=chat)))
        builder.add_edge(START, "ask")
        builder.add_edge("ask", END)
        graph: Any = builder.compile(checkpointer=InMemorySaver())

        thread = {"configurable": {"thread_id": "ada"}}
        for question in ("What is the RG-4?", "How long is the warranty?"):
            print("you:", question)
            for mode, part in graph.stream({"messages": question}, thread, stream_mode=["messages", "tools"]):
                if mode == "messages":
                    print(part[0].text, end="", flush=True)
                elif part["event"] == "tool-started":
                    print(f"[{part['tool_name']} {part['input']}]")
            print("\n")

        turns = chat.session(graph.get_state(thread).values["session_id"]).turns()
        print(f"{len(turns)} turns in one session")


if __name__ == "__main__":
    main()

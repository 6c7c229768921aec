"""What is wrong with arguments and input is an error of this package, which says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import QueryBundle
from pydantic import ValidationError

import chat_sessions.langchain as for_langchain
import chat_sessions.llama_index as for_llama_index
from chat_sessions import ChatSessionsError, ConfigurationError, LlamaCloudChat, LocalServer, UnsupportedError
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionAgent, SessionChatEngine, SessionSummaryBlock
from chat_sessions.server import LlmAgent, LocalAgent
from tests.langchain.graphs.test_graph_agent import graph
from tests.llama_index.test_workflow_agent import Echo

# Wrong on purpose, so without types.
Model: Any = SessionChatModel
Engine: Any = SessionChatEngine
Server: Any = LocalServer
Agent: Any = SessionAgent
Block: Any = SessionSummaryBlock
Llm: Any = LlmAgent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCloudChat]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.md").write_text("Hello.")
    with LocalServer({"idx-a": folder}) as server:
        yield server.client()


HISTORY = [ChatMessage(role="user", content="a")]
CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "index_ids of a model": (lambda c: Model(client=c, index_ids="x"), "index_ids: Input should be a valid list"),
    "system": (lambda c: Model(client=c, system="loud"), "system: Input should be 'warn', 'prepend' or 'error'"),
    "cache": (lambda c: Model(client=c, cache=True), "cache: a session cannot be cached.* leave cache at False"),
    "index_ids of a call": (lambda c: Model(client=c).invoke("q", index_ids=3), "a list of ids, not a int"),
    "index_ids of a session": (lambda c: c.session().ask("q", index_ids=3), "a list of ids, not a int"),
    "a role": (lambda c: Model(client=c).invoke([("zzz", "hi")]), "Unexpected message type: 'zzz'. Use one of"),
    "a message": (lambda c: Model(client=c).invoke([3]), "the input is not a list of messages: Unsupported message"),
    "an input": (lambda c: Model(client=c).invoke(3), "a string or a list of messages, not int"),
    "a tool's name": (lambda c: Model(client=c).as_tool(name=3), "SessionTool: name: Input should be a valid string"),
    "a memory": (lambda c: for_langchain.SessionMemory(client=c), "SessionMemory: summary: Field required"),
    "another memory": (lambda c: for_llama_index.SessionMemory(client=c, session_id=3), "session_id: Input should be"),
    "a block": (lambda c: Block(client=c, limit=0), "limit: Input should be greater than or equal to 1"),
    "an agent's name": (lambda c: Agent(client=c, name=3), "SessionAgent: name: Input should be a valid string"),
    "another history": (lambda c: Engine(client=c).chat("q", chat_history=HISTORY), "leave chat_history out, or set"),
    "no history": (lambda c: Engine(client=c).chat("q", chat_history=["a"]), "a list of ChatMessage; there is a str"),
    "a folder alone": (lambda _: Server("docs/"), r"such as indexes=\{'idx-docs': 'docs/'\}"),
    "no index": (lambda _: Server(), "there is no index to serve; give at least one"),
    "another word": (lambda _: Server(documents="docs/"), "has no argument documents; did you mean indexes?"),
    "an id": (lambda _: Server({3: "docs/"}), "a word such as 'idx-docs', not 3"),
    "a behaviour": (lambda _: Server({"a": "docs/"}, behaviour={"finals": "never"}), "a Behaviour, not a dict"),
    "a fault": (lambda _: Server({"a": "docs/"}, faults=[3]), "3 is not a fault"),
    "a port": (lambda _: Server({"a": "docs/"}, port="80").start(), "port '80' is not between 0 and 65535"),
    "a class": (lambda _: Server({"a": "docs/"}, agent=LocalAgent), "the class LocalAgent: pass an instance of it"),
    "an object": (lambda _: Server({"a": "docs/"}, agent=object()), "^object is not an agent: pass an object with"),
    "a workflow": (lambda _: Server({"a": "docs/"}, agent=Echo()), r"llama_index\.WorkflowAgent\(it\)"),
    "a graph": (lambda _: Server({"a": "docs/"}, agent=graph()), r"langchain\.GraphAgent\(it\)"),
    "passages": (lambda _: LocalAgent(passages=0), "passages must be at least 1, not 0"),
    "an LLM": (lambda _: Llm("qwen3"), r"^str is not a LlamaIndex LLM: pass one.* LlmAgent\.at"),
    "max_tokens": (
        lambda _: LlmAgent.at("m", "http://127.0.0.1", max_tokens=0),
        "max_tokens must be at least 1, not 0",
    ),
}


@pytest.mark.parametrize(("call", "says"), CALLS.values(), ids=CALLS.keys())
def test_a_wrong_argument_is_an_error_that_says_what_to_do(
    client: LlamaCloudChat, call: Callable[[Any], object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        call(client)


UNSUPPORTED: dict[str, tuple[Callable[[Any], object], str]] = {
    "tools": (lambda c: Model(client=c).bind_tools([len]), "give your tools to an agent of your own"),
    "a schema": (lambda c: Model(client=c).with_structured_output(dict), "pass its answer to a model that has"),
    "retrieval": (lambda c: Engine(client=c).as_query_engine().retrieve(QueryBundle("q")), r"call query\(\)"),
}


@pytest.mark.parametrize(("call", "says"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_a_session_cannot_do_is_an_error_of_the_package_and_the_one_that_frameworks_look_for(
    client: LlamaCloudChat, call: Callable[[Any], object], says: str
) -> None:
    with pytest.raises(UnsupportedError, match=says) as raised:
        call(client)
    assert isinstance(raised.value, ChatSessionsError)
    assert isinstance(raised.value, NotImplementedError)


def test_an_error_about_a_field_does_not_quote_what_is_in_it(client: LlamaCloudChat) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Model(client=client, session_id=["llx-secret"])
    assert "llx-secret" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert not isinstance(raised.value, ValidationError)


def test_what_lies_in_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        LocalServer({"idx-a": tmp_path / "none"}).start()

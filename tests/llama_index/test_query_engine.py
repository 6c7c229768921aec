from __future__ import annotations

import asyncio

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import QueryEngineTool

from chat_sessions import NotFoundError
from chat_sessions.llama_index import SessionChatEngine
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import Serve


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_query_gives_a_response_with_its_passages(engine: SessionChatEngine, is_async: bool) -> None:
    queries = engine.as_query_engine()
    response = await queries.aquery("How much?") if is_async else queries.query(QueryBundle("How much?"))
    assert isinstance(response, Response)
    assert str(response) == "Revenue was 84.2."
    assert [node.metadata["file_name"] for node in response.source_nodes] == ["report.pdf"]
    assert response.metadata is not None
    assert response.metadata["usage"]["input_tokens"] == 11


@pytest.mark.parametrize("is_async", [False, True])
async def test_each_query_is_a_session_of_its_own_over_the_same_indexes(serve: Serve, is_async: bool) -> None:
    chat = serve(with_indexes=False)
    engine = SessionChatEngine(client=chat, session_id=chat.create(index_ids=["idx"]).session_id)
    queries = engine.as_query_engine()
    for _ in range(2):
        await queries.aquery("How much?") if is_async else queries.query("How much?")
    assert [summary.index_ids for summary in chat.list()] == [["idx"]] * 3
    assert engine.chat_history == []


def test_queries_may_be_turns_of_the_engines_session(engine: SessionChatEngine) -> None:
    queries = engine.as_query_engine(new_session=False)
    queries.query("One?")
    queries.query("Two?")
    assert [turn.prompt for turn in engine.session.turns()] == ["One?", "Two?"]


@proves(57)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_gives_text_and_a_response_each_call_on_its_own(serve: Serve, is_async: bool) -> None:
    chat = serve()
    tool = SessionChatEngine(client=chat).as_tool("reports", "Knows the annual reports.")
    assert isinstance(tool, QueryEngineTool)
    assert (tool.metadata.name, tool.metadata.description) == ("reports", "Knows the annual reports.")
    outputs = [await tool.acall(input="One?") if is_async else tool.call(input="One?") for _ in range(2)]
    for output in outputs:
        assert output.content == "Revenue was 84.2."
        assert isinstance(output.raw_output, Response)
    assert len(list(chat.list())) == 2
    # The way in which LlamaIndex's own agents look for passages.
    assert len(AgentChatResponse(response="", sources=outputs[:1]).source_nodes) == 1


async def test_a_tool_may_be_called_several_times_at_once(serve: Serve) -> None:
    tool = SessionChatEngine(client=serve()).as_tool("reports", "Knows the annual reports.")
    outputs = await asyncio.gather(*(tool.acall(input="How much?") for _ in range(4)))
    assert {output.content for output in outputs} == {"Revenue was 84.2."}


def test_a_query_is_traced_as_one_by_the_engines_callbacks(serve: Serve) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    engine = SessionChatEngine(client=serve(), callback_manager=CallbackManager([handler]))
    engine.as_query_engine().query("How much?")
    assert handler.get_llm_inputs_outputs()


def test_an_error_of_a_query_comes_out(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve(), session_id="ses-unknown", index_ids=["idx"])
    with pytest.raises(NotFoundError):
        engine.as_query_engine(new_session=False).query("How much?")


def test_a_query_engine_has_no_prompts_to_change(engine: SessionChatEngine) -> None:
    assert engine.as_query_engine().get_prompts() == {}

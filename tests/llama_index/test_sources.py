from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import MetadataMode, TextNode
from pydantic import JsonValue

from chat_sessions import (
    ConfigurationError,
    ImageAttachment,
    LocalServer,
    NotFoundError,
    Stop,
    ToolCall,
    ToolResult,
    Usage,
)
from chat_sessions.llama_index import PageImage, SessionChatEngine
from chat_sessions.llama_index.traces.hosted import HostedTool
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import METHODS, PASSAGE, Serve, Wired, ask
from tests.wire_server import Connection, Request

STOP = Stop(usage=Usage(), is_error=False)
BETTER: dict[str, JsonValue] = {**PASSAGE, "score": 0.95}
OTHER: dict[str, JsonValue] = {"content": "It rains.", "static_fields": {"file_name": "weather.md"}}
TOOLS = (
    ToolCall(call_id="a", name="retrieve", arguments={"query": "revenue"}),
    ToolCall(call_id="b", name="retrieve", arguments={"query": "sales"}),
    ToolCall(call_id="c", name="clock", arguments={}),
    ToolResult(call_id="b", name="retrieve", result={"results": [BETTER, OTHER]}),
    ToolResult(call_id="a", name="retrieve", result={"results": [PASSAGE]}),
    ToolResult(call_id="c", name="clock", result="noon"),
    STOP,
)


@proves(22)
@pytest.mark.parametrize("method", METHODS)
async def test_an_output_per_result_in_their_order_and_each_passage_once(serve: Serve, method: str) -> None:
    response = await ask(SessionChatEngine(client=serve(TOOLS)), method)
    assert [(output.tool_name, output.raw_input) for output in response.sources] == [
        ("retrieve", {"query": "sales"}),
        ("retrieve", {"query": "revenue"}),
        ("clock", {}),
    ]
    assert [(node.text, node.score, node.metadata.get("page")) for node in response.source_nodes] == [
        ("Revenue was 84.2 million.", 0.95, 3),
        ("It rains.", None, None),
    ]
    retrieved = response.sources[1].raw_output
    assert isinstance(retrieved, Response)
    assert [node.text for node in retrieved.source_nodes] == ["Revenue was 84.2 million."]
    assert retrieved.metadata == {"result": {"results": [PASSAGE]}}
    assert (response.sources[2].raw_output, response.sources[2].content) == ("noon", "noon")


@proves(22)
def test_sources_fill_while_the_answer_comes(serve: Serve) -> None:
    response = SessionChatEngine(client=serve()).stream_chat("How much?")
    sources, nodes = response.sources, response.source_nodes
    assert (sources, nodes) == ([], [])
    next(response.response_gen)
    assert len(sources) == len(nodes) == 1


def test_a_node_says_where_it_stands_and_shows_only_that_to_a_model(serve: Serve) -> None:
    (node,) = SessionChatEngine(client=serve()).chat("How much?").source_nodes
    assert node.metadata["file_name"] == "report.pdf"
    assert node.metadata["file_id"] == "dfl-1"
    assert node.metadata["page"] == 3
    assert node.metadata["page_label"] == "3"
    shown = node.get_content(MetadataMode.LLM)
    assert "file_name: report.pdf" in shown
    assert "page_label: 3" in shown
    assert "dfl-1" not in shown


def test_the_same_passage_has_the_same_id_in_every_turn(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve())
    ids = {engine.chat("How much?").source_nodes[0].node_id for _ in range(2)}
    assert len(ids) == 1


@proves(52)
def test_a_page_image_survives_serialisation_of_nodes_and_messages(serve: Serve) -> None:
    chat = serve(
        (
            ToolCall(call_id="a", name="read", arguments={"page": 3}),
            ToolResult(
                call_id="a",
                name="read",
                result={"content": "Page three.", "page": 3},
                image_attachment=ImageAttachment(attachment_name="screenshots/page_3.jpg", source_id="dfl-1"),
            ),
            STOP,
        )
    )
    engine = SessionChatEngine(client=chat)
    response = engine.chat("Show me.")
    (node,) = response.source_nodes
    tool_message = engine.chat_history[-1]
    for holder in (
        TextNode.from_dict(json.loads(json.dumps(node.node.to_dict()))),
        ChatMessage.model_validate_json(tool_message.model_dump_json()),
        response.sources[0],
    ):
        image = PageImage.of(holder, client=chat)
        assert image is not None
        assert image.attachment == ImageAttachment(attachment_name="screenshots/page_3.jpg", source_id="dfl-1")
    assert engine.page_image(node) is not None


@proves(52)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_link_is_asked_for_late_and_again_after_it_has_expired(wired: Wired, is_async: bool) -> None:
    expiries = [timedelta(hours=-1), timedelta(hours=1)]
    asked: list[str] = []

    def link(request: Request, wire: Connection) -> None:
        asked.append(request.target)
        expires_at = datetime.now(UTC) + expiries[min(len(asked), 2) - 1]
        wire.respond(200, {"url": f"http://127.0.0.1/{len(asked)}", "expires_at": expires_at.isoformat()})

    engine = wired(lambda _, wire: wire.respond(500))
    wired.server.on("GET", "page_3.jpg", link)
    image = PageImage(ImageAttachment(attachment_name="page_3.jpg", source_id="dfl-1"), client=engine.client)
    assert asked == []
    assert repr(image) == "PageImage('page_3.jpg', source_id='dfl-1')"
    links = [await image.aurl() if is_async else image.url() for _ in range(3)]
    # The first had expired when it came; the second is kept.
    assert [link.rpartition("/")[2] for link in links] == ["1", "2", "2"]


def test_a_page_that_was_read_by_the_files_id_has_the_files_name(serve: Serve) -> None:
    read = ToolResult(call_id="b", name="read", result={"content": "Page four.", "file_id": "dfl-1", "page": 4})
    found = ToolResult(call_id="a", name="retrieve", result={"results": [PASSAGE]})
    response = SessionChatEngine(client=serve((found, read, STOP))).chat("How much?")
    names = [(node.metadata["file_name"], node.metadata["page"]) for node in response.source_nodes]
    assert names == [("report.pdf", 3), ("report.pdf", 4)]
    (node,) = response.sources[1].raw_output.source_nodes
    assert node.metadata["file_name"] == "report.pdf"


def test_a_passage_over_several_pages_is_labelled_with_both(serve: Serve) -> None:
    passage: JsonValue = {"text": "Long.", "file_name": "a.pdf", "page_range_start": 3, "page_range_end": 5}
    (node,) = (
        SessionChatEngine(client=serve((ToolResult(call_id="a", name="t", result=[passage]), STOP)))
        .chat("Hm?")
        .source_nodes
    )
    assert (node.metadata["page"], node.metadata["page_end"], node.metadata["page_label"]) == (3, 5, "3-5")


def test_a_tool_of_the_service_cannot_be_called_here() -> None:
    with pytest.raises(NotImplementedError, match="retrieve runs on the service"):
        HostedTool("retrieve")("revenue")


def test_what_has_no_page_image_gives_none(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve((ToolResult(call_id="a", name="t", result=[OTHER]), STOP)))
    (node,) = engine.chat("Hm?").source_nodes
    assert engine.page_image(node) is None
    node.metadata["image_attachment"] = {"name": "of another kind"}
    assert engine.page_image(node) is None


@pytest.mark.parametrize("given", [3, "x", None, {"metadata": {}}])
def test_what_cannot_have_a_page_image_is_refused(given: Any, serve: Serve) -> None:
    chat = serve((STOP,))
    with pytest.raises(ConfigurationError, match=f"^PageImage.of takes .*, not a {type(given).__name__}$"):
        PageImage.of(given, client=chat)
    with pytest.raises(ConfigurationError, match=f"^PageImage takes .*, not a {type(given).__name__}: "):
        PageImage(given, client=chat)
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match=r"^client is of type int"):
        PageImage(ImageAttachment(attachment_name="page_3.jpg", source_id="dfl-1"), client=wrong)


@proves(52)
def test_the_screenshot_of_a_real_page_opens() -> None:
    with LocalServer(indexes={"reports": "examples/documents"}) as server, server.client() as chat:
        engine = SessionChatEngine(client=chat)
        response = engine.chat("What was the revenue in the third quarter of 2025?")
        pages = [engine.page_image(node) for node in response.source_nodes if node.metadata.get("page") == 3]
        assert pages
        assert pages[0] is not None
        picture = httpx.get(pages[0].url(), timeout=60)
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content[:3] == b"\xff\xd8\xff"
        gone = ImageAttachment(attachment_name="screenshots/page_999.jpg", source_id=pages[0].attachment.source_id)
        with pytest.raises(NotFoundError):
            PageImage(gone, client=chat).url()

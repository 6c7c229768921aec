"""Images in prompts reach the model, and those of tools come back, through the session and both frameworks."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import AudioBlock, ChatMessage, ContentBlock, ImageBlock, TextBlock
from llama_index.core.workflow import Context

from chat_sessions import LlamaCloudChat
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.images import data_url
from chat_sessions.langchain import SessionChatModel, events_to_messages, image_blocks
from chat_sessions.llama_index import SessionAgent, SessionChatEngine
from chat_sessions.openhands import OpenHandsChat
from tests.faces import do
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy

real = pytest.mark.openhands
# LlamaIndex looks at every attribute of a workflow.
workflow = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
LINK = "https://images.example.com/chart.png"


def picture(red: int = 255) -> bytes:
    """A PNG of one pixel."""
    return _png(1, bytes([0, red, 0, 0]))


def large_picture() -> bytes:
    """A PNG of noise, of over 4 MB."""
    noise = random.Random(4)
    return _png(1200, b"".join(b"\0" + noise.randbytes(3 * 1200) for _ in range(1200)))


def _png(side: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.fixture
def seen(model: ModelServer) -> Callable[[], list[str]]:
    """What the model has been shown by the newest request."""
    model.requests.clear()
    return lambda: model.images()[-1]


@real
async def test_images_of_a_prompt_reach_the_model_and_the_history(
    server: AgentServer, face: str, seen: Callable[[], list[str]]
) -> None:
    with server.client(llm=server.seeing_llm) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("TEXT What is this?", images=[picture(), LINK]))
        assert turn.text == "Plain answer in pieces."
        assert turn.image_urls == (data_url(picture()), LINK)
        assert seen() == [data_url(picture()), LINK]
        assert await do(session.turns()) == [turn]
        await do(chat.close())


@real
@pytest.mark.parametrize(
    ("block", "url"),
    [
        ({"type": "image", "url": LINK}, LINK),
        (
            {"type": "image", "base64": base64.b64encode(picture()).decode(), "mime_type": "image/png"},
            data_url(picture()),
        ),
        ({"type": "image_url", "image_url": {"url": data_url(picture())}}, data_url(picture())),
        ({"type": "image_url", "image_url": LINK}, LINK),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture()).decode()},
            },
            data_url(picture()),
        ),
    ],
    ids=["url", "base64", "openai", "openai short", "anthropic"],
)
async def test_an_image_block_of_langchain_reaches_the_model(
    server: AgentServer, face: str, seen: Callable[[], list[str]], block: dict[str, Any], url: str
) -> None:
    with server.client(llm=server.seeing_llm) as chat:
        model = SessionChatModel(client=chat)
        given = [HumanMessage([{"type": "text", "text": "TEXT What is this?"}, block])]
        answer = model.invoke(given) if face == "sync" else await model.ainvoke(given)
        assert answer.text == "Plain answer in pieces."
        assert seen() == [url]
        events = chat.retrieve(answer.response_metadata["session_id"]).events
        asked = events_to_messages(events)[0]
        assert [part["type"] for part in asked.content_blocks] == ["text", "image"]
        assert asked.text == "TEXT What is this?"
        await chat.aio.close()


@real
@pytest.mark.parametrize("block", [ImageBlock(image=picture()), ImageBlock(url=LINK)], ids=["bytes", "url"])
async def test_an_image_block_of_llama_index_reaches_the_model(
    server: AgentServer, face: str, seen: Callable[[], list[str]], block: ImageBlock
) -> None:
    with server.client(llm=server.seeing_llm) as chat:
        engine = SessionChatEngine(client=chat)
        blocks: list[ContentBlock] = [TextBlock(text="TEXT What is this?"), block]
        message = ChatMessage(role="user", blocks=blocks)
        answer = engine.chat(message) if face == "sync" else await engine.achat(message)
        assert answer.response == "Plain answer in pieces."
        assert seen() == [data_url(picture()) if block.url is None else LINK]
        asked = engine.chat_history[0]
        assert [part.block_type for part in asked.blocks] == ["text", "image"]
        streamed = engine.stream_chat(message)
        assert "".join(streamed.response_gen) == "Plain answer in pieces."
        assert len(seen()) == 2
        await chat.aio.close()


@real
@workflow
@pytest.mark.parametrize("block", [ImageBlock(image=picture(3)), ImageBlock(url=LINK)], ids=["bytes", "url"])
async def test_an_image_block_reaches_the_model_through_an_agent_of_a_workflow(
    server: AgentServer, seen: Callable[[], list[str]], block: ImageBlock
) -> None:
    with server.client(llm=server.seeing_llm) as chat:
        agent = SessionAgent(client=chat)
        context = Context(agent)
        message = ChatMessage(role="user", blocks=[TextBlock(text="TEXT What is this?"), block])
        for given in (message, "TEXT And now?"):
            output: Any = await agent.run(user_msg=given, ctx=context)
            assert str(output) == "Plain answer in pieces."
        url = data_url(picture(3)) if block.url is None else LINK
        assert seen() == [url]
        turns = await chat.aio.session(output.raw["session_id"]).turns()
        assert [turn.image_urls for turn in turns] == [(url,), ()]
        await chat.aio.close()


@real
async def test_an_image_needs_no_words(server: AgentServer, face: str, seen: Callable[[], list[str]]) -> None:
    with server.client(llm=server.seeing_llm) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turns = [await do(session.ask("", images=[picture(red)])) for red in (1, 2)]
        assert [(turn.prompt, turn.image_urls) for turn in turns] == [
            ("", (data_url(picture(1)),)),
            ("", (data_url(picture(2)),)),
        ]
        assert seen() == [data_url(picture(1)), data_url(picture(2))]
        assert await do(session.turns()) == turns
        with pytest.raises(ConfigurationError, match="the prompt is empty"):
            session.stream(" ")
        await do(chat.close())


@real
@workflow
async def test_an_image_needs_no_words_in_a_framework(
    server: AgentServer, face: str, seen: Callable[[], list[str]]
) -> None:
    with server.client(llm=server.seeing_llm) as chat:
        engine = SessionChatEngine(client=chat)
        message = ChatMessage(role="user", blocks=[ImageBlock(image=picture(1))])
        said = engine.chat(message) if face == "sync" else await engine.achat(message)
        assert said.response == "Plain answer in pieces."
        assert seen() == [data_url(picture(1))]
        assert [part.block_type for part in engine.chat_history[0].blocks] == ["image"]

        output = await SessionAgent(client=chat).run(user_msg=message)
        assert str(output) == "Plain answer in pieces."
        assert seen() == [data_url(picture(1))]

        session_id = chat.create().session_id
        model = SessionChatModel(client=chat, session_id=session_id)
        alone = HumanMessage([{"type": "image", "url": LINK}])
        given = [alone, HumanMessage("TEXT What is this?")]
        for asked in ([alone], given):
            answer = model.invoke(asked) if face == "sync" else await model.ainvoke(asked)
            assert answer.text == "Plain answer in pieces."
        assert seen() == [LINK, LINK]
        turns = chat.session(session_id).turns()
        assert [(turn.prompt, turn.image_urls) for turn in turns] == [("", (LINK,)), ("TEXT What is this?", (LINK,))]
        asked_first = events_to_messages(chat.retrieve(session_id).events)[0]
        assert [part["type"] for part in asked_first.content_blocks] == ["image"]
        await chat.aio.close()


@real
async def test_an_image_that_a_tool_returns_is_in_both_frameworks(server: AgentServer, face: str) -> None:
    (server.workspace / "pixel.png").write_bytes(picture(7))
    prompt = f"VIEW {server.workspace / 'pixel.png'}"
    with server.client(llm=server.seeing_llm, tools=["file_editor"]) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask(prompt))
        (run,) = turn.tool_runs
        assert run.image_urls == (data_url(picture(7)),)
        assert await do(session.turns()) == [turn]
        engine = SessionChatEngine(client=made)
        (output,) = engine.chat(prompt).sources
        assert isinstance(shown := output.blocks[-1], ImageBlock)
        assert shown.resolve_image().read() == picture(7)
        assert any(isinstance(part, ImageBlock) for message in engine.chat_history for part in message.blocks)
        answer = SessionChatModel(client=made).invoke(prompt)
        assert isinstance(answer, AIMessage)
        (block,) = image_blocks(answer, made)
        assert base64.b64decode(block["base64"]) == picture(7)
        await do(chat.close())


@real
async def test_a_prompt_with_an_image_is_posted_once_whatever_breaks(
    server: AgentServer, face: str, model: ModelServer
) -> None:
    model.requests.clear()
    lost: list[bytes] = []

    def loses(data: bytes) -> bool:
        is_answer = not lost and b'{"success":true}' in data
        if is_answer:
            lost.append(data)
        return is_answer

    with Proxy(server.port) as proxy, server.client(llm=server.seeing_llm, base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        first = await do(session.ask("TEXT What is this?", images=[picture(1)]))
        # The answer to the post is lost, and with it the stream: the turn is looked up in its session.
        proxy.loses = loses
        second = await do(session.ask("TEXT What is this?", images=[picture(2)]))
        assert second.image_urls == (data_url(picture(2)),)
        assert second.text == "Plain answer in pieces."
        assert lost
        assert await do(session.turns()) == [first, second]
        await do(chat.close())


def test_the_same_words_about_another_image_are_not_the_answer_that_was_lost() -> None:
    from chat_sessions.core.delivery import decide
    from chat_sessions.core.events import Event, Stop, Text, UserInput
    from chat_sessions.core.models import Usage
    from chat_sessions.core.turn import Turn

    history: list[Event] = [
        UserInput(content="What is this?", image_urls=("https://a/1.png",)),
        Text(content="A cat."),
        Stop(usage=Usage(), is_error=False),
    ]
    mine = Turn("What is this?", (Text(content="A "),), ("https://a/1.png",))
    other = Turn("What is this?", (Text(content="A "),), ("https://a/2.png",))
    assert decide(live=mine, history=history, turns_before=0).outcome == "finished"
    assert decide(live=other, history=history, turns_before=0).outcome == "unknown"
    assert decide(live=other, history=history).outcome == "not_shown"


@real
def test_a_message_of_langchain_that_failed_is_sent_again_with_another_image(
    server: AgentServer, model: ModelServer
) -> None:
    model.requests.clear()
    with server.client(llm=server.seeing_llm) as chat:
        session_id = chat.create().session_id
        bot = SessionChatModel(client=chat, session_id=session_id)
        one = HumanMessage([{"type": "text", "text": "TEXT Which?"}, {"type": "image", "url": f"{LINK}?1"}])
        two = HumanMessage([{"type": "text", "text": "TEXT Which?"}, {"type": "image", "url": f"{LINK}?2"}])
        bot.invoke([one])
        bot.invoke([two])
        assert [turn.image_urls for turn in chat.session(session_id).turns()] == [(f"{LINK}?1",), (f"{LINK}?2",)]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (["chart.png"], "not the address of an image"),
        ([b"%PDF-1.7"], "not a PNG, JPEG, GIF or WebP image"),
        (["data:image/png;base64,???"], "not the address of an image"),
        (LINK, "put it into a list"),
        ([3], "not int"),
        (3, "not int"),
        ({"a": LINK}, "not dict"),
    ],
)
def test_what_is_no_image_is_an_error_before_any_request(images: Any, says: str) -> None:
    with (
        OpenHandsChat(base_url="http://127.0.0.1:1", llm="openai/gpt-5") as chat,
        pytest.raises(ConfigurationError, match=says),
    ):
        chat.session().stream("What is this?", images=images)


async def test_llama_cloud_refuses_images_before_any_request(face: str) -> None:
    chat = LlamaCloudChat(api_key="llx-1", base_url="http://127.0.0.1:1", index_ids=["i"])
    says = "text only, and the prompt has an image"
    with pytest.raises(ConfigurationError, match=says):
        (chat if face == "sync" else chat.aio).session().stream("What is this?", images=[picture()])
    engine, message = SessionChatEngine(client=chat), ChatMessage("What?", role="user")
    message.blocks.append(ImageBlock(url=LINK))
    with pytest.raises(ConfigurationError, match=says):
        engine.chat(message) if face == "sync" else await engine.achat(message)
    given = [HumanMessage([{"type": "text", "text": "What?"}, {"type": "image", "url": LINK}])]
    bot = SessionChatModel(client=chat)
    with pytest.raises(ConfigurationError, match=says):
        bot.invoke(given) if face == "sync" else await bot.ainvoke(given)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"type": "image", "base64": "aGk="}, "mime_type"),
        ({"type": "image", "file_id": "f1"}, "no address and no content"),
        ({"type": "image", "url": "chart.png"}, "not the address of an image"),
    ],
)
def test_an_image_block_without_an_image_is_an_error(block: dict[str, Any], says: str) -> None:
    with OpenHandsChat(base_url="http://127.0.0.1:1", llm="openai/gpt-5") as chat:
        bot = SessionChatModel(client=chat)
        with pytest.raises(ConfigurationError, match=says):
            bot.invoke([HumanMessage([{"type": "text", "text": "What?"}, block])])


def test_sound_is_refused_by_the_engine() -> None:
    with OpenHandsChat(base_url="http://127.0.0.1:1", llm="openai/gpt-5") as chat:
        message = ChatMessage(role="user", blocks=[TextBlock(text="What?"), AudioBlock(audio=b"RIFF")])
        with pytest.raises(ConfigurationError, match="audio too"):
            SessionChatEngine(client=chat).chat(message)


def test_without_images_no_event_says_so_on_the_wire() -> None:
    from chat_sessions.core.events import UserInput, dump_event, parse_event

    assert dump_event(UserInput(content="Hi")) == {"type": "user_input", "content": "Hi"}
    shown = UserInput(content="Hi", image_urls=(LINK,))
    assert parse_event(dump_event(shown)) == shown
    # Another service may mean something else by the name.
    assert parse_event({"type": "user_input", "content": "Hi", "image_urls": [{"a": 1}]}) == UserInput(content="Hi")

"""What the official Python client sees of a Chat API: one JSON object on standard output.

Runs where `llama-cloud` is installed and nothing of this project is. The client finds the
server by its own environment variables. Each part is on sessions of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any
from urllib.parse import quote

import httpx

# Any: the official package is not there where this file is checked.
llama_cloud: Any = importlib.import_module("llama_cloud")

TOLD = json.loads(sys.argv[1])
INDEX_IDS: list[str] = TOLD["index_ids"]
# Every operation takes these two, and writes a None as null or not at all.
SCOPE = {"project_id": "5a1c2a4e-3a0f-4b4e-9b0a-0d2f4c8b7e11", "organization_id": None}


async def of(result: Any) -> Any:
    """The result of a call, whether the client blocks or is awaited."""
    return await result if inspect.isawaitable(result) else result


async def each(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@asynccontextmanager
async def entered(manager: Any) -> AsyncGenerator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """The error that a call raises, or a class of None."""
    try:
        await of(call())
    except llama_cloud.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code, "body": error.body}
    return {"class": None, "status": None, "body": None}


def accepts(method: Callable[..., Any], argument: str) -> bool:
    return argument in inspect.signature(method).parameters


class Script:
    """The parts of the script, each a method that gives what was seen."""

    def __init__(self, strict: Any, lenient: Any) -> None:
        # The strict client refuses an answer that is not as its types say. It refuses every
        # stream that is asked for as a plain call too, since that is not JSON.
        self.client = strict
        self.lenient = lenient
        self.chat = self.chat_of(strict)

    @staticmethod
    def chat_of(client: Any) -> Any:
        return attrgetter(TOLD["resource"])(client)

    async def new_session(self) -> str:
        return str((await of(self.chat.create(index_ids=INDEX_IDS))).session_id)

    async def ask(self, session_id: str, prompt: str, **options: Any) -> list[Any]:
        """The events of a turn, by the recipe of the service's guide."""
        events: list[Any] = []
        options = {"index_ids": INDEX_IDS, **options}
        async with entered(self.chat.with_streaming_response.stream(session_id, prompt=prompt, **options)) as response:
            async for line in each(response.iter_lines()):
                if line.startswith("data: "):
                    events.append(json.loads(line.removeprefix("data: ")))
        return events

    async def sessions(self) -> Any:
        created = await of(self.chat.create(index_ids=INDEX_IDS, **SCOPE))
        unbound = await of(self.chat.create())
        summary = await of(self.chat.get_summary(created.session_id, **SCOPE))
        whole = await of(self.chat.retrieve(created.session_id, **SCOPE))
        deleted = await of(self.chat.delete(created.session_id, **SCOPE))
        return {
            "created": created.to_dict(),
            "unbound": unbound.to_dict(),
            "summary": summary.to_dict(),
            "whole": whole.to_dict(),
            "deleted": deleted,
            "afterwards": await refusal(lambda: self.chat.get_summary(created.session_id)),
        }

    async def listing(self) -> Any:
        made = [await self.new_session() for _ in range(5)]
        listed = [item.session_id async for item in each(self.chat.list(page_size=2, **SCOPE))]
        page = await of(self.chat.list(page_size=2))
        sizes = [len(page.items)]
        while page.has_next_page():
            page = await of(page.get_next_page())
            sizes.append(len(page.items))
        return {"made": made, "listed": listed, "sizes": sizes, "last_token": page.next_page_token}

    async def turn(self) -> Any:
        session_id = await self.new_session()
        lines: list[str] = []
        async with entered(
            self.chat.with_streaming_response.stream(session_id, index_ids=INDEX_IDS, prompt=TOLD["question"], **SCOPE)
        ) as response:
            async for line in each(response.iter_lines()):
                lines.append(line)
        whole = await of(self.chat.retrieve(session_id))
        summary = await of(self.chat.get_summary(session_id))
        return {
            "lines": lines,
            "history": [event.to_dict() for event in whole.events],
            "classes": [[event.type, type(event).__name__] for event in whole.events],
            "summary": summary.to_dict(),
        }

    async def event_stream(self) -> Any:
        sync = isinstance(self.client, llama_cloud.LlamaCloud)
        stream_class: Any = llama_cloud.Stream if sync else llama_cloud.AsyncStream
        event_type: Any = importlib.import_module(f"llama_cloud.types.{TOLD['resource']}_retrieve_response").Event

        async def streamed(prompt: str, cast_to: Any) -> list[Any]:
            stream = await of(
                self.client.post(
                    f"/api/v1/chat/{await self.new_session()}/messages/stream",
                    cast_to=cast_to,
                    body={"index_ids": INDEX_IDS, "prompt": prompt},
                    stream=True,
                    stream_cls=stream_class[cast_to],
                )
            )
            async with entered(stream) as events:
                return [event async for event in each(events)]

        return {
            "events": await streamed(TOLD["question"], object),
            "classes": [[e.type, type(e).__name__] for e in await streamed(TOLD["question"], event_type)],
            "with_separator": await streamed(TOLD["release"], object),
        }

    async def buffered(self) -> Any:
        chat = self.chat_of(self.lenient)
        return await of(chat.stream(await self.new_session(), index_ids=INDEX_IDS, prompt=TOLD["question"]))

    async def held(self) -> Any:
        session_id, other = await self.new_session(), await self.new_session()
        impatient = self.chat_of(self.client.with_options(max_retries=0))
        conflict = None
        events: list[Any] = []
        async with entered(
            self.chat.with_streaming_response.stream(session_id, index_ids=INDEX_IDS, prompt=TOLD["hold"])
        ) as response:
            async for line in each(response.iter_lines()):
                if not line.startswith("data: "):
                    continue
                events.append(json.loads(line.removeprefix("data: ")))
                if conflict is None:
                    # The answer goes on only when this has been asked, after its first event was read.
                    conflict = await refusal(
                        lambda: impatient.stream(session_id, index_ids=INDEX_IDS, prompt=TOLD["question"])
                    )
                    await of(self.chat_of(self.lenient).stream(other, index_ids=INDEX_IDS, prompt=TOLD["release"]))
        return {"events": events, "conflict": conflict}

    async def attachments(self) -> Any:
        session_id = await self.new_session()
        await self.ask(session_id, TOLD["question"])
        whole = await of(self.chat.retrieve(session_id))
        image = next(
            event.image_attachment for event in whole.events if getattr(event, "image_attachment", None) is not None
        )
        name, source_id = image.attachment_name, image.source_id
        resource = getattr(self.client.beta, "attachments", None)
        if resource is None:
            # Released before the resource: by the client's own way to call any route.
            presigned_url: Any = importlib.import_module("llama_cloud.types.presigned_url").PresignedURL

            def get(name: str) -> Any:
                return self.client.get(
                    f"/api/v1/beta/attachments/{quote(name, safe='')}",
                    cast_to=presigned_url,
                    options={"params": {"source_id": source_id}},
                )

            listed = None
        else:

            def get(name: str) -> Any:
                return resource.get(name, source_id=source_id, **SCOPE)

            listed = [item.to_dict() async for item in each(resource.list(source_id=source_id, page_size=5))]
        link = await of(get(name))
        # No key: a link is good by itself.
        async with httpx.AsyncClient(trust_env=False, timeout=60) as browser:
            opened = await browser.get(link.url)
        return {
            "name": name,
            "listed": listed,
            "expires_at": link.expires_at.isoformat(),
            "opened": {
                "status": opened.status_code,
                "type": opened.headers["content-type"],
                "starts": opened.content[:3].hex(),
            },
            "unknown": await refusal(lambda: get("screenshots/page_999.jpg")),
        }

    async def refusals(self) -> Any:
        chat, session_id = self.chat, await self.new_session()
        stranger = self.chat_of(self.client.with_options(api_key="llx-not-the-key"))

        def stream(**body: Any) -> Callable[[], Any]:
            return lambda: chat.stream(session_id, **{"index_ids": INDEX_IDS, "prompt": "Hello.", **body})

        seen = {
            "wrong_key": await refusal(lambda: stranger.create()),
            "wrong_key_in_stream": await refusal(
                lambda: stranger.stream(session_id, index_ids=INDEX_IDS, prompt="Hello.")
            ),
            "unknown_session": await refusal(lambda: chat.retrieve("ses-unknown")),
            "unknown_session_in_stream": await refusal(
                lambda: chat.stream("ses-unknown", index_ids=INDEX_IDS, prompt="Hello.")
            ),
            "unknown_session_in_delete": await refusal(lambda: chat.delete("ses-unknown")),
            "empty_prompt": await refusal(stream(prompt="")),
            "long_prompt": await refusal(stream(prompt="x" * 1001)),
            "no_index": await refusal(stream(index_ids=[])),
            "eleven_indexes": await refusal(lambda: chat.create(index_ids=[f"idx-{n}" for n in range(11)])),
            "page_size": await refusal(lambda: chat.list(page_size=0)),
        }
        await self.ask(session_id, TOLD["question"])
        seen["locked_sources"] = await refusal(stream(index_ids=INDEX_IDS[:1]))
        return seen

    async def missing_index(self) -> Any:
        requested = [INDEX_IDS[0], "idx-gone"]

        async def stop_of(**options: Any) -> Any:
            session = await of(self.chat.create(index_ids=requested))
            await self.ask(session.session_id, TOLD["question"], index_ids=requested, **options)
            whole = await of(self.chat.retrieve(session.session_id))
            return whole.events[-1].to_dict()

        seen = {"skipped": await stop_of()}
        if accepts(self.chat.stream, "require_all_indexes"):
            seen["required"] = await stop_of(require_all_indexes=True)
        return seen

    async def shared_access(self) -> Any:
        if not accepts(self.chat.create, "shared_access"):
            return None
        given = await of(self.chat.create(index_ids=INDEX_IDS, shared_access="query"))
        default = await of(self.chat.create(index_ids=INDEX_IDS))
        return {"given": given.shared_access, "default": default.shared_access}

    async def title(self) -> Any:
        session_id = await self.new_session()
        if hasattr(self.chat, "set_title"):
            titled = await of(self.chat.set_title(session_id, first_message=TOLD["question"], **SCOPE))
            titled = titled.to_dict()
        else:
            titled = await of(
                self.client.post(
                    f"/api/v1/chat/{session_id}/title", cast_to=object, body={"first_message": TOLD["question"]}
                )
            )
        return {"titled": titled, "summary": (await of(self.chat.get_summary(session_id))).to_dict()}


async def main() -> None:
    kind = llama_cloud.LlamaCloud if TOLD["mode"] == "sync" else llama_cloud.AsyncLlamaCloud
    seen: dict[str, Any] = {}
    async with entered(kind(_strict_response_validation=True)) as strict, entered(kind()) as lenient:
        script = Script(strict, lenient)
        # The listing comes first: it is to find its own sessions alone.
        for part in (
            script.listing,
            script.sessions,
            script.turn,
            script.event_stream,
            script.buffered,
            script.held,
            script.attachments,
            script.refusals,
            script.missing_index,
            script.shared_access,
            script.title,
        ):
            try:
                seen[part.__name__] = {"saw": await part()}
            except Exception:
                seen[part.__name__] = {"raised": traceback.format_exc(limit=3)}
    print(json.dumps(seen))


asyncio.run(main())

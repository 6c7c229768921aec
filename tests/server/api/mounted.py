"""The API and the page in applications that an ASGI server of another process imports."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from chat_sessions import AsyncLlamaCloudChat
from chat_sessions.server import create_app
from chat_sessions.web import create_app as create_page
from tests.server.scripted import ANSWER, PaperIndex, ScriptedAgent

KEY = "key"
HOST = "served.example"
_PAPER = PaperIndex(attachments={"pages/1.png": b"picture"})

api = create_app(indexes={"idx-docs": _PAPER}, agent=ScriptedAgent(*ANSWER), api_key=KEY)
page = create_page(AsyncLlamaCloudChat(api_key="k"), token="token", hosts=[HOST])


@asynccontextmanager
async def _both(_: object) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for app in (api, page):
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield


in_starlette = Starlette(routes=[Mount("/chat", api), Mount("/page", page)], lifespan=_both)
in_fastapi = FastAPI(lifespan=_both)
in_fastapi.mount("/team/api", api)
in_fastapi.mount("/page", page)

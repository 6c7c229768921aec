"""The code in the documentation runs, as it stands, in its order, against a server over the example documents."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chat_sessions import LocalServer

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# Every fenced block of exactly "python" is run; one that cannot be is marked "{ .python .no-run }".
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(indexes={"idx-docs": ROOT / "examples" / "documents"}) as running:
        yield running


# LlamaIndex's own workflow agents, from pydantic 2.14 on.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.name)
def test_the_code_of_the_page_runs(page: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", server.api_key)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", server.url)
    text = page.read_text()
    # A module, as what a page defines is looked up in one (the annotations of a TypedDict are).
    module = ModuleType("documentation_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(1))
        code = compile("\n" * line + match[1], str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, module.__dict__)
        if inspect.iscoroutine(result):
            asyncio.run(result)

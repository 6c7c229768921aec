"""Pictures of pages: when one is not drawn, given up, or refused."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from chat_sessions.server.documents import readers
from chat_sessions.server.documents.files import FileGone
from chat_sessions.server.documents.indexes import Drawing
from chat_sessions.server.documents.pictures import Pictures, TooManyPictures

# A page that is filled with a pattern of steps that are far too small: PDFium would draw for hours.
_PATTERN = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Pattern<</P 5 0 R>>>>>>endobj
4 0 obj<</Length 35>>stream
/Pattern cs /P scn 0 0 600 800 re f
endstream endobj
5 0 obj<</Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep 0.0001/YStep 0.0001
/Resources<<>>/Length 12>>stream
0 0 1 1 re f
endstream endobj
trailer<</Size 6/Root 1 0 R>>
%%EOF
"""
REPORT = Path(__file__).parents[3] / "examples" / "documents" / "annual-report-2025.pdf"


async def test_a_page_that_takes_too_long_is_none_and_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "DRAWING_SECONDS", 0.0)
    read: list[bytes] = []

    def reading() -> bytes:
        read.append(REPORT.read_bytes())
        return read[-1]

    pictures = Pictures()
    for _ in range(2):
        assert await pictures.draw(Drawing(reading, 2, 842.0, ("report.pdf", 1, 1))) is None
    await pictures.close()
    assert len(read) == 1


async def test_a_page_that_would_be_drawn_for_hours_costs_its_deadline_and_not_the_pages_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readers, "DRAWING_SECONDS", 1.0)
    pictures = Pictures()
    bomb = Drawing(lambda: _PATTERN, 1, 800.0, ("bomb.pdf", 1, 1))
    # Many who ask for it at once wait for one drawing.
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(pictures.draw(bomb) for _ in range(40))) == [None] * 40
        monkeypatch.setattr(readers, "DRAWING_SECONDS", 30.0)
        drawn = await pictures.draw(Drawing(REPORT.read_bytes, 1, 842.0, ("report.pdf", 1, 1)))
    await pictures.close()
    assert drawn
    assert drawn.startswith(b"\xff\xd8\xff")


async def test_a_drawing_that_nobody_waits_for_is_given_up() -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        begun.set()
        may_go_on.wait(30)
        return REPORT.read_bytes()

    pictures = Pictures()
    left = asyncio.create_task(pictures.draw(Drawing(slowly, 1, 842.0, ("slow.pdf", 1, 1))))
    assert await asyncio.to_thread(begun.wait, 30)
    left.cancel()
    drawn = await pictures.draw(Drawing(REPORT.read_bytes, 1, 842.0, ("fast.pdf", 1, 1)))
    may_go_on.set()
    await pictures.close()
    assert drawn
    assert drawn.startswith(b"\xff\xd8\xff")


async def test_no_more_pages_wait_than_the_limit() -> None:
    may_go_on = threading.Event()

    def never() -> bytes:
        may_go_on.wait(30)
        raise FileGone("it is gone")

    pictures = Pictures()
    asked = [asyncio.create_task(pictures.draw(Drawing(never, page, 842.0, ("a.pdf", 1, 1)))) for page in range(32)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyPictures, match="too many page images"):
        await pictures.draw(Drawing(never, 99, 842.0, ("a.pdf", 1, 1)))
    may_go_on.set()
    assert await asyncio.gather(*asked) == [None] * 32
    await pictures.close()

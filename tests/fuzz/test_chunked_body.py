"""The fuzz target itself: it finds no difference, and would."""

from __future__ import annotations

import re

import httpcore
import pytest

from chat_sessions.http.connection import framing
from chat_sessions.http.connection.framing import Framing
from fuzz import chunked_body


def test_answers_in_chunks_cut_anywhere_are_read_as_h11_reads_them_whole() -> None:
    found = [chunked_body.trouble(seed) for seed in range(400)]
    assert [problem for problem, _ in found if problem] == []
    assert sum(size for _, size in found) > 100_000


class _Forgiving(Framing):
    def content(self, data: bytes) -> bytes:
        try:
            return super().content(data)
        except httpcore.RemoteProtocolError:
            self._left = 0
            return b""


class _Forgetful(Framing):
    def content(self, data: bytes) -> bytes:
        content, self._line = super().content(data), b""
        return content


class _Careless(Framing):
    @property
    def is_at_end(self) -> bool:
        return True


@pytest.mark.parametrize("wrong", [_Forgiving, _Forgetful, _Careless])
def test_a_framing_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch, wrong: type[Framing]) -> None:
    monkeypatch.setattr(chunked_body, "Framing", wrong)
    assert any(chunked_body.trouble(seed)[0] for seed in range(3000))


def test_a_size_that_is_read_in_part_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if an extension were not looked for.
    monkeypatch.setattr(framing, "_SIZE", re.compile(rb"([0-9A-Fa-f]{1,16})"))
    assert any(chunked_body.trouble(seed)[0] for seed in range(3000))

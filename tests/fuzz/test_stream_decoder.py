"""The fuzz target itself: it finds no difference, and would."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chat_sessions.core.events import Event, EventReader, parse_event_json
from chat_sessions.http.event_stream import EventDecoder
from fuzz import stream_decoder


def test_a_thousand_streams_of_random_bytes_come_out_as_the_standard_has_it() -> None:
    found = [stream_decoder.trouble(seed) for seed in range(1000)]
    assert [problem for problem, _ in found if problem] == []
    assert sum(size for _, size in found) > 100_000


class _AtLineSeparators(EventDecoder):
    def feed(self, chunk: bytes) -> None:
        super().feed(chunk.replace("\u2028".encode(), b"\n"))


class _Forgetful(EventDecoder):
    def feed(self, chunk: bytes) -> None:
        super().feed(chunk)
        self._after_cr = False


class _Halving(EventDecoder):
    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._reader = _Separate()


class _Separate(EventReader):
    def read(self, data: str | bytes) -> Event:
        return parse_event_json(data)


class _Unbounded(EventDecoder):
    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes * 2)


@pytest.mark.parametrize("decoder", [_AtLineSeparators, _Forgetful, _Halving, _Unbounded])
def test_a_decoder_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch, decoder: type[EventDecoder]) -> None:
    monkeypatch.setattr(stream_decoder, "EventDecoder", decoder)
    assert any(stream_decoder.trouble(seed)[0] for seed in range(3000))


def test_the_same_seed_makes_the_same_run() -> None:
    command = [sys.executable, "-m", "fuzz.stream_decoder", "--seed", "7", "--streams", "50"]
    runs = [subprocess.run(command, capture_output=True, text=True, timeout=50, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert "50 streams" in runs[0]
    assert "seeds 7 to 56: no difference" in runs[0]

"""The passages that a tool result cites.

A tool result may be any JSON, and tools may have any name, so nothing here depends on names
and nothing raises: what looks like passages becomes `Source`s, the rest is left alone. The
shapes read are those of the platform's own retrieval API (`retrieve`, `grep`, `read`) and
the common ones of LlamaIndex and LangChain (`node`, `page_content`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from pydantic import JsonValue, ValidationError

from chat_sessions.core.models import ImageAttachment

__all__ = ["DistinctSources", "Source", "distinct", "finds_nothing", "page_range", "query_in", "sources_in"]

_QUERIES = ("query", "question", "q", "search_query", "pattern", "input")
_LISTS = ("results", "items", "nodes", "source_nodes", "sources", "documents", "passages", "matches", "hits")
_TEXTS = ("content", "text", "page_content", "snippet", "passage")
_NESTED = ("node", "document")
_DETAILS = ("static_fields", "metadata", "extra_info")
_FILE_NAMES = ("file_name", "filename", "source_name", "file_path", "path", "source")
_FILE_IDS = ("parsed_directory_file_id", "directory_file_id", "file_id", "document_id", "doc_id")
_FIRST_PAGES = ("page_range_start", "start_page_label", "page_number", "page_label", "page")
_LAST_PAGES = ("page_range_end", "end_page_label")
_INDEX_IDS = ("index_id", "pipeline_id")
_IDS = ("id", "id_", "node_id", "chunk_id")


@dataclass(frozen=True)
class Source:
    """A passage that a tool result cites. A field that the result lacks is None.

    `page` and `page_end` count from 1, as the service does. `image` is a page screenshot:
    `attachment_url` of a client turns it into a link. `metadata` is what the result says about the passage besides its
    text.
    """

    text: str
    score: float | None = None
    file_name: str | None = None
    file_id: str | None = None
    page: int | None = None
    page_end: int | None = None
    index_id: str | None = None
    passage_id: str | None = None
    image: ImageAttachment | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue], hash=False)


def page_range(source: Source) -> str:
    """Return the pages of a passage as "3" or "3-5"; "" if they are unknown."""
    if source.page is None:
        return ""
    return str(source.page) if source.page_end in (None, source.page) else f"{source.page}-{source.page_end}"


def query_in(arguments: Mapping[str, JsonValue]) -> str | None:
    """Return what a call asks to find, or None if its arguments do not name it."""
    return next((value for name in _QUERIES if isinstance(value := arguments.get(name), str)), None)


def sources_in(
    result: JsonValue,
    *,
    arguments: Mapping[str, JsonValue] | None = None,
    image: ImageAttachment | None = None,
) -> tuple[Source, ...]:
    """The passages in one tool result, in its order; empty if there are none. Never raises.

    `arguments` are those of the call: a tool that reads one page gets its number there.
    `image` is the result's own screenshot, for a result that is one passage.
    """
    if isinstance(result, str):
        result = _decoded(result)
    if isinstance(result, Mapping):
        for key in _LISTS:
            entries = result.get(key)
            if isinstance(entries, list):
                shared = {"index_id": result["index_id"]} if "index_id" in result else {}
                return _sources(entries, shared)
        source = _source(result, arguments or {}, image)
        # A single text is a passage only if it names its location: any tool may answer with text.
        if source is not None and (source.file_name or source.file_id or source.page is not None):
            return (source,)
        return ()
    if isinstance(result, list):
        return _sources([entry for entry in result if isinstance(entry, Mapping)], {})
    return ()


def finds_nothing(result: JsonValue) -> bool:
    """Whether a tool result is that of a search without hits: its list of passages is present and empty."""
    if isinstance(result, str):
        result = _decoded(result)
    if not isinstance(result, Mapping):
        return False
    lists = [entries for key in _LISTS if isinstance(entries := result.get(key), list)]
    return bool(lists) and not any(lists)


class DistinctSources:
    """Sources without repetitions, in the order in which they came; of equal passages the best score is kept.

    A passage that has only its file's id gets the name that another passage gives that file, before or after it:
    a tool that reads a page answers with its text alone. The cost of adding one does not depend on how many
    there are.
    """

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._places: dict[tuple[object, ...], int] = {}
        self._names: dict[str, str] = {}
        self._nameless: dict[str, list[int]] = defaultdict(list)

    def add(self, sources: Iterable[Source]) -> list[int]:
        """Take in what one more result cites; returns the places that are new or have changed, in order."""
        sources = tuple(sources)
        changed: set[int] = set()
        for source in sources:
            if source.file_id and source.file_name and source.file_id not in self._names:
                self._names[source.file_id] = source.file_name
                for place in self._nameless.pop(source.file_id, ()):
                    self._sources[place] = replace(self._sources[place], file_name=source.file_name)
                    changed.add(place)
        changed.update(added for source in sources if (added := self._add(self.named(source))) is not None)
        return sorted(changed)

    def named(self, source: Source) -> Source:
        """The source with the name of its file, if that is known."""
        if source.file_name is None and source.file_id in self._names:
            return replace(source, file_name=self._names[source.file_id])
        return source

    def _add(self, source: Source) -> int | None:
        """Return the place that is new or has changed, or None."""
        key = (source.file_id or source.file_name, source.page, source.text)
        place = self._places.setdefault(key, len(self._sources))
        if place == len(self._sources):
            self._sources.append(source)
            if source.file_id and source.file_name is None:
                self._nameless[source.file_id].append(place)
            return place
        known = self._sources[place]
        if source.score is not None and (known.score is None or source.score > known.score):
            self._sources[place] = source
            return place
        return None

    def __getitem__(self, place: int) -> Source:
        return self._sources[place]

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def distinct(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Return the sources without repetitions. See `DistinctSources`."""
    found = DistinctSources()
    found.add(sources)
    return tuple(found)


def _sources(entries: list[JsonValue], shared: Mapping[str, JsonValue]) -> tuple[Source, ...]:
    found = (_source(entry, shared, None) if isinstance(entry, Mapping) else _plain(entry) for entry in entries)
    return tuple(source for source in found if source is not None)


def _plain(entry: JsonValue) -> Source | None:
    return Source(entry) if isinstance(entry, str) and entry.strip() else None


def _source(
    entry: Mapping[str, JsonValue], around: Mapping[str, JsonValue], image: ImageAttachment | None
) -> Source | None:
    """One passage; `around` is what the call or the list says of all of them."""
    layers: list[Mapping[str, JsonValue]] = [entry]
    for key in _NESTED:
        nested = entry.get(key)
        if isinstance(nested, Mapping):
            layers.append(nested)
    layers += [details for layer in tuple(layers) for key in _DETAILS if isinstance(details := layer.get(key), Mapping)]
    text = next((value for layer in layers for key in _TEXTS if isinstance(value := layer.get(key), str)), None)
    if text is None or not text.strip():
        return None
    layers.append(around)
    metadata: dict[str, JsonValue] = {}
    for layer in reversed(layers[1:-1]):
        metadata.update((key, value) for key, value in layer.items() if key not in (*_TEXTS, *_DETAILS))
    return Source(
        text=text,
        score=_number(_first(layers, ("rerank_score", "score", "similarity"))),
        file_name=_text(_first(layers, _FILE_NAMES)),
        file_id=_text(_first(layers, _FILE_IDS)),
        page=_page(_first(layers, _FIRST_PAGES)),
        page_end=_page(_first(layers, _LAST_PAGES)),
        index_id=_text(_first(layers, _INDEX_IDS)),
        passage_id=_text(_first(layers, _IDS)),
        image=_image(layers) or image,
        metadata=metadata,
    )


def _first(layers: Iterable[Mapping[str, JsonValue]], keys: Sequence[str]) -> JsonValue:
    for layer in layers:
        for key in keys:
            value = layer.get(key)
            if value is not None:
                return value
    return None


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _page(value: JsonValue) -> int | None:
    """A page number; a label such as "12" is read, "iv" is not."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _image(layers: Iterable[Mapping[str, JsonValue]]) -> ImageAttachment | None:
    """Return the first page screenshot among the attachments; one without a type counts."""
    for layer in layers:
        attachments = layer.get("attachments")
        for item in attachments if isinstance(attachments, list) else [layer.get("image_attachment")]:
            if isinstance(item, Mapping) and item.get("type") in (None, "screenshot", "page_screenshot"):
                try:
                    # Keep only the two fields that make the link, so that a page has one image wherever it is cited.
                    return ImageAttachment.model_validate(
                        {name: item.get(name) for name in ImageAttachment.model_fields}
                    )
                except ValidationError:
                    continue
    return None


def _decoded(result: str) -> JsonValue:
    """Decode JSON in a string, which tools often answer with."""
    if result.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return cast("JsonValue", json.loads(result))
    except (ValueError, RecursionError):
        return None

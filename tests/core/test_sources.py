"""Passages are found in any JSON that holds some, and nothing is made up where it holds none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from chat_sessions.core.models import ImageAttachment
from chat_sessions.core.sources import DistinctSources, Source, distinct, finds_nothing, sources_in

IMAGE = ImageAttachment(attachment_name="screenshots/page_3.jpg", source_id="dfl-1")
PLATFORM: JsonValue = {
    "results": [
        {
            "content": "Revenue rose by 12 %.",
            "score": 0.8,
            "rerank_score": None,
            "metadata": {"file_name": "report.pdf", "author": "kept"},
            "static_fields": {
                "page_range_start": 3,
                "page_range_end": 4,
                "parsed_directory_file_id": "dfl-1",
                "attachments": [
                    {"type": "table", "attachment_name": "t", "source_id": "s"},
                    {"type": "screenshot", "attachment_name": "screenshots/page_3.jpg", "source_id": "dfl-1"},
                ],
            },
        }
    ]
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "results",
                    "items",
                    "content",
                    "text",
                    "score",
                    "page",
                    "metadata",
                    "node",
                    "attachments",
                    "static_fields",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(anything, st.dictionaries(st.text(max_size=3), st.none() | st.integers(), max_size=2))
def test_no_json_whatever_is_an_error(result: JsonValue, arguments: dict[str, JsonValue]) -> None:
    for source in sources_in(result, arguments=arguments):
        assert source.text.strip()


def test_a_result_of_the_platform_tells_file_page_score_and_screenshot() -> None:
    (source,) = sources_in(PLATFORM)
    assert source == Source(
        text="Revenue rose by 12 %.",
        score=0.8,
        file_name="report.pdf",
        file_id="dfl-1",
        page=3,
        page_end=4,
        image=IMAGE,
        metadata=source.metadata,
    )
    assert source.metadata["author"] == "kept"
    assert "content" not in source.metadata
    hash(source)


def test_a_result_in_a_json_string_is_read_as_the_json() -> None:
    assert sources_in(json.dumps(PLATFORM)) == sources_in(PLATFORM)


@pytest.mark.parametrize("result", ["{broken", "[" * 100_000, "just words", "", None, 7, True, {"ok": True}, {}])
def test_a_result_without_passages_has_no_sources(result: JsonValue) -> None:
    assert sources_in(result) == ()


@pytest.mark.parametrize(
    ("result", "nothing"),
    [
        ({"results": []}, True),
        ('{"results": [], "total": 0}', True),
        ({"results": [], "left_out": [{"file_name": "a.pdf"}]}, True),
        ({"results": [{"content": "Ferry"}]}, False),
        ({"items": [], "results": [3]}, False),
        ({"files": []}, False),
        ("nothing", False),
        ([], False),
        (None, False),
    ],
)
def test_a_search_without_a_hit_has_an_empty_list_of_passages(result: JsonValue, nothing: bool) -> None:
    assert finds_nothing(result) is nothing


def test_the_rerank_score_comes_before_the_score_even_if_it_is_zero() -> None:
    assert sources_in([{"text": "a", "score": 0.9, "rerank_score": 0}])[0].score == 0.0
    assert sources_in([{"text": "a", "score": True}])[0].score is None


def test_nodes_of_llama_index_and_documents_of_langchain_are_passages() -> None:
    node: JsonValue = {
        "node": {"id_": "n1", "text": "a", "metadata": {"page_label": "12", "file_name": "a.pdf"}},
        "score": 0.5,
    }
    document: JsonValue = {"page_content": "b", "metadata": {"source": "b.md", "page": "iv"}}
    first, second = sources_in({"nodes": [node, document]})
    assert (first.text, first.page, first.file_name, first.score, first.passage_id) == ("a", 12, "a.pdf", 0.5, "n1")
    assert (second.text, second.page, second.file_name) == ("b", None, "b.md")


def test_a_list_of_plain_texts_is_a_list_of_passages_only_under_a_name_for_them() -> None:
    assert [source.text for source in sources_in({"matches": ["a", " ", 3, "b"]})] == ["a", "b"]
    assert sources_in(["a", "b"]) == ()


def test_an_index_that_is_named_for_all_results_is_that_of_each() -> None:
    assert sources_in({"index_id": "idx-1", "items": [{"content": "a"}]})[0].index_id == "idx-1"


def test_one_page_that_was_read_is_a_source_with_the_page_of_the_call_and_its_image() -> None:
    (source,) = sources_in({"content": "whole page"}, arguments={"file_id": "dfl-1", "page": 3}, image=IMAGE)
    assert (source.text, source.file_id, source.page, source.image) == ("whole page", "dfl-1", 3, IMAGE)


def test_one_text_that_says_nowhere_where_it_stands_is_no_source() -> None:
    assert sources_in({"content": "done"}, arguments={}) == ()
    assert sources_in({"content": "done"}) == ()


def test_a_broken_attachment_is_passed_over() -> None:
    entry: JsonValue = {"text": "a", "attachments": [{"attachment_name": 3}, 7, {"type": "chart"}]}
    assert sources_in([entry])[0].image is None


def test_an_image_that_stands_on_the_entry_itself_is_found() -> None:
    entry: JsonValue = {"text": "a", "image_attachment": {"attachment_name": "p", "source_id": "s"}}
    assert sources_in([entry])[0].image == ImageAttachment(attachment_name="p", source_id="s")


def test_of_equal_passages_the_best_score_stays_in_the_first_place() -> None:
    low, other = Source("a", score=0.1, file_name="f", page=1), Source("b")
    assert distinct(
        [low, other, Source("a", score=0.9, file_name="f", page=1), Source("a", file_name="f", page=1)]
    ) == (
        Source("a", score=0.9, file_name="f", page=1),
        other,
    )
    assert distinct([Source("a"), Source("a", score=math.inf)])[0].score == math.inf


passages = st.builds(
    Source,
    text=st.sampled_from("ab"),
    score=st.none() | st.sampled_from([0.1, 0.2]),
    file_id=st.none() | st.sampled_from(["1", "2"]),
    page=st.none() | st.just(3),
)


@given(st.lists(st.tuples(passages, st.booleans()), max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_sources_added_result_by_result_are_those_of_all_results_at_once(
    drawn: list[tuple[Source, bool]], cuts: list[int]
) -> None:
    # A file has one name, wherever it is named.
    found = [
        replace(source, file_name=f"{source.file_id}.pdf") if source.file_id and is_named else source
        for source, is_named in drawn
    ]
    adding = DistinctSources()
    places = sorted({0, *cuts, len(found)})
    for start, end in pairwise(places):
        adding.add(found[start:end])
    assert tuple(adding) == distinct(found)
    assert len(adding) == len(distinct(found))


def test_adding_sources_says_which_places_are_new_or_have_changed() -> None:
    adding = DistinctSources()
    first, second = Source("a", score=0.1, file_id="f"), Source("b", file_id="f")
    assert adding.add([first, second, first]) == [0, 1]
    assert adding.add([first]) == []
    assert adding.add([Source("a", score=0.9, file_id="f"), Source("c", file_name="c.pdf")]) == [0, 2]
    assert adding.add([Source("d", file_id="f", file_name="report.pdf")]) == [0, 1, 3]
    assert (adding[0].score, adding[0].file_name, adding[1].file_name) == (0.9, "report.pdf", "report.pdf")

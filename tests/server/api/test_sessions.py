from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import pytest

from chat_sessions.server.turns.behaviour import Behaviour
from tests.server.scripted import LocalApi, types

Start = Callable[..., LocalApi]


def test_a_session_is_created_without_a_body(api: LocalApi) -> None:
    response = api.http.post("/api/v1/chat")
    assert response.status_code == 201
    body = response.json()
    assert re.fullmatch(r"ses-[0-9a-f]{24}", body.pop("session_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", body.pop("last_updated_at"))
    assert body == {"generated_title": None, "index_ids": None, "job_metadata": None, "shared_access": "read_only"}


@pytest.mark.parametrize("body", [b"null", b"{}", b" \n", b'{"index_ids": null, "shared_access": null}'])
def test_a_session_is_created_with_an_empty_body(api: LocalApi, body: bytes) -> None:
    assert api.http.post("/api/v1/chat", content=body).json()["index_ids"] is None


@pytest.mark.parametrize("access", ["query", "read_only"])
def test_a_session_keeps_its_indexes_and_what_its_share_link_grants(api: LocalApi, access: str) -> None:
    session_id = api.create(index_ids=["idx-a", "idx-b"], shared_access=access)
    summary = api.http.get(f"/api/v1/chat/{session_id}/summary").json()
    assert (summary["index_ids"], summary["shared_access"]) == (["idx-a", "idx-b"], access)


@pytest.mark.parametrize("default", ["query", "read_only", None])
def test_a_session_without_shared_access_shows_the_default_of_the_deployment(
    start: Start, default: Literal["query", "read_only"] | None
) -> None:
    api = start(behaviour=Behaviour(default_shared_access=default))
    assert api.retrieve(api.create())["shared_access"] == default


def test_summary_retrieve_and_list_agree(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id)
    summary = api.http.get(f"/api/v1/chat/{session_id}/summary").json()
    whole = api.retrieve(session_id)
    assert whole.pop("events")
    assert whole == summary
    assert api.http.get("/api/v1/chat").json() == {"items": [summary], "next_page_token": None}


def test_a_deleted_session_is_gone(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id)
    response = api.http.delete(f"/api/v1/chat/{session_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert api.http.get("/api/v1/chat").json()["items"] == []
    assert api.http.delete(f"/api/v1/chat/{session_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/summary", None),
        ("POST", "/title", {"first_message": "hi"}),
        ("POST", "/messages/stream", {"index_ids": ["idx-docs"], "prompt": "hi"}),
    ],
)
def test_an_unknown_session_is_a_404_that_names_it(api: LocalApi, method: str, path: str, body: object) -> None:
    response = api.http.request(method, f"/api/v1/chat/ses-gone{path}", json=body)
    assert (response.status_code, response.json()) == (404, {"detail": "session ses-gone not found"})


def pages(api: LocalApi, size: int) -> list[list[str]]:
    found: list[list[str]] = []
    query: dict[str, Any] = {"page_size": size}
    while True:
        page = api.http.get("/api/v1/chat", params=query).json()
        found.append([item["session_id"] for item in page["items"]])
        if page["next_page_token"] is None:
            return found
        query["page_token"] = page["next_page_token"]


def test_pages_list_every_session_once_the_newest_first(api: LocalApi) -> None:
    newest_first = [api.create() for _ in range(5)][::-1]
    assert pages(api, 2) == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert pages(api, 5) == [newest_first]


def test_a_page_is_the_same_whatever_came_and_went_meanwhile(api: LocalApi) -> None:
    oldest, old, new, newest = (api.create() for _ in range(4))
    first = api.http.get("/api/v1/chat", params={"page_size": 2}).json()
    api.create()
    api.http.delete(f"/api/v1/chat/{newest}")
    api.http.delete(f"/api/v1/chat/{new}")
    api.ask(oldest)
    second = api.http.get("/api/v1/chat", params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [item["session_id"] for item in second["items"]] == [old, oldest]


def test_an_empty_page_size_and_token_are_none_at_all(api: LocalApi) -> None:
    session_id = api.create()
    page = api.http.get("/api/v1/chat?page_size=&page_token=null&project_id=").json()
    assert [item["session_id"] for item in page["items"]] == [session_id]


def test_a_page_size_beyond_the_limit_gives_the_largest_page(api: LocalApi) -> None:
    api.create()
    assert len(api.http.get("/api/v1/chat?page_size=99999999").json()["items"]) == 1


def test_a_title_is_made_from_the_first_message_by_itself(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id, "what were the main findings in Q3? I need them today.")
    api.ask(session_id, "And in Q4?")
    assert api.retrieve(session_id)["generated_title"] == "What were the main findings in Q3?"


def test_the_title_route_replaces_the_title(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id)
    response = api.http.post(f"/api/v1/chat/{session_id}/title", json={"first_message": "profit by region"})
    assert (response.status_code, response.json()["generated_title"]) == (200, "Profit by region")
    assert api.retrieve(session_id)["generated_title"] == "Profit by region"


def test_a_title_given_before_the_first_message_stays(api: LocalApi) -> None:
    session_id = api.create()
    api.http.post(f"/api/v1/chat/{session_id}/title", json={"first_message": "Mine"})
    api.ask(session_id)
    assert api.retrieve(session_id)["generated_title"] == "Mine"


def test_no_title_is_made_where_the_behaviour_says_so(start: Start) -> None:
    api = start(behaviour=Behaviour(automatic_title=False))
    session_id = api.create()
    api.ask(session_id)
    assert api.retrieve(session_id)["generated_title"] is None


@pytest.mark.parametrize("status", [404, 405])
def test_a_title_route_that_is_gone_answers_as_told(start: Start, status: Any) -> None:
    api = start(behaviour=Behaviour(title_route="gone", title_status=status))
    session_id = api.create()
    response = api.http.post(f"/api/v1/chat/{session_id}/title", json={"first_message": "hi"})
    assert response.status_code == status
    assert isinstance(response.json()["detail"], str)
    assert "/api/v1/chat/{session_id}/title" not in api.http.get("/openapi.json").json()["paths"]


def test_the_first_message_binds_the_session_to_its_indexes(api: LocalApi) -> None:
    session_id = api.create(index_ids=["idx-docs"])
    api.ask(session_id, index_ids=["idx-docs", "idx-other", "idx-docs"])
    assert api.retrieve(session_id)["index_ids"] == ["idx-docs", "idx-other"]
    assert types(api.ask(session_id, index_ids=["idx-other", "idx-docs"]))[-1] == "stop"


def test_other_indexes_after_the_first_message_are_refused(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id)
    response = api.post(session_id, index_ids=["idx-docs", "idx-other"])
    assert response.status_code == 422
    problem = response.json()["detail"][0]
    assert (problem["loc"], problem["type"]) == (["body", "index_ids"], "sources_locked")
    assert "idx-docs" in problem["msg"]
    assert api.history(session_id).count("user_input") == 1


def test_each_message_may_name_its_own_indexes_where_sources_are_free(start: Start) -> None:
    api = start(behaviour=Behaviour(sources="free"))
    session_id = api.create()
    api.ask(session_id)
    api.ask(session_id, index_ids=["idx-docs", "idx-other"])
    assert api.history(session_id).count("user_input") == 2
    assert api.retrieve(session_id)["index_ids"] is None

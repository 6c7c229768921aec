"""The main job on this machine, end to end: a question, an answer out of the files, a page to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from chat_sessions import ConfigurationError, LocalServer, NotFoundError, Timeouts, TurnFailed, UnprocessableEntityError

DOCUMENTS = Path(__file__).parents[1] / "examples" / "documents"
QUESTION = "What was revenue in Q3 2025?"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as running:
        yield running


def test_a_question_about_page_3_of_a_pdf_has_that_page_as_its_source_and_a_screenshot_that_opens(
    server: LocalServer,
) -> None:
    chat = server.client()
    turn = chat.session().ask(QUESTION)
    assert "23.7" in turn.text
    source = turn.sources[0]
    assert (source.file_name, source.page) == ("annual-report-2025.pdf", 3)
    assert source.image is not None
    link = chat.attachment_url(source.image)
    # The link needs no key: it is fetched without this client.
    answer = httpx.get(link.url, timeout=60)
    picture = Image.open(BytesIO(answer.content))
    assert answer.headers["content-type"] == "image/jpeg"
    assert picture.height > picture.width > 400
    assert asyncio.run(chat.aio.attachment_url(source.image)).expires_at >= link.expires_at


def test_a_session_is_the_same_from_another_client_sync_or_async(server: LocalServer) -> None:
    first = server.client().session()
    first.ask(QUESTION)
    second = server.client()
    again = asyncio.run(second.aio.session(first.id).ask("And in Q4?"))
    assert "22.0" in again.text
    assert [turn.prompt for turn in first.turns()] == [QUESTION, "And in Q4?"]
    assert first.summary().generated_title


def test_an_unknown_index_is_skipped_or_fails_the_turn_as_asked(server: LocalServer) -> None:
    session = server.client().session(index_ids=["idx-docs", "idx-missing"])
    assert session.ask(QUESTION).skipped_index_ids == ("idx-missing",)
    with pytest.raises(TurnFailed, match="idx-missing"):
        session.ask(QUESTION, require_all_indexes=True)


def test_what_a_client_of_the_local_server_is_told_goes_with_it(server: LocalServer) -> None:
    chat = server.client(timeouts=Timeouts(idle=7), max_retries=0)
    assert (chat.timeouts.idle, chat.index_ids, chat.base_url) == (7, ("idx-docs",), server.url)
    with pytest.raises(NotFoundError):
        chat.get_summary("ses-nobody")


def test_a_client_of_the_local_server_takes_what_any_client_takes(server: LocalServer) -> None:
    project = str(uuid4())
    sent: list[httpx.Request] = []
    with (
        httpx.Client(event_hooks={"request": [sent.append]}, trust_env=False) as http,
        server.client(
            index_ids=["idx-docs"],
            project_id=project,
            organization_id=str(uuid4()),
            headers={"X-Team": "a"},
            http_client=http,
        ) as chat,
    ):
        assert chat.session().ask(QUESTION).sources
    assert {request.url.params["project_id"] for request in sent} == {project}
    assert {request.headers["X-Team"] for request in sent} == {"a"}
    with server.client(max_prompt_chars=9) as chat, pytest.raises(ConfigurationError, match="takes 9 "):
        chat.session().ask(QUESTION)
    with server.client(max_prompt_chars=None) as chat, pytest.raises(UnprocessableEntityError):
        chat.session().ask("a" * 1001)


def test_no_proxy_of_the_environment_comes_between(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    chat = server.client(max_retries=0)
    session = chat.create()
    assert asyncio.run(chat.aio.get_summary(session.session_id)).session_id == session.session_id


def test_more_indexes_than_a_session_takes_have_to_be_named() -> None:
    with LocalServer(indexes={f"idx-{number}": DOCUMENTS / "handbook.md" for number in range(11)}) as many:
        assert many.client().index_ids is None


def test_a_server_that_was_not_started_has_no_client() -> None:
    with pytest.raises(ConfigurationError, match="not running"):
        LocalServer(indexes={"idx-docs": DOCUMENTS}).client()


def test_a_server_that_is_closed_says_so_and_has_no_client() -> None:
    server = LocalServer(indexes={"idx-docs": DOCUMENTS})
    with server:
        pass
    for ask in (server.client, lambda: server.url, lambda: server.port):
        with pytest.raises(ConfigurationError, match="this server is closed; make a new one"):
            ask()


@pytest.mark.parametrize("way", ["start", "with"])
def test_a_file_that_cannot_be_read_is_named_with_the_reason_where_the_server_is_started(
    tmp_path: Path, way: str
) -> None:
    (tmp_path / "handbook.md").write_text("The ferry carries 40 cars.", "utf-8")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    server = LocalServer(indexes={"idx-docs": tmp_path})
    assert server.warnings == ()
    if way == "start":
        with pytest.warns(UserWarning, match=r"idx-docs: broken\.pdf: left out, ") as warned:
            server.start()
    else:
        with pytest.warns(UserWarning, match=r"idx-docs: broken\.pdf: left out, ") as warned, server:
            pass
    server.close()
    assert [warning.filename for warning in warned] == [__file__]


def test_what_could_not_be_read_stays_readable_while_a_server_runs(tmp_path: Path) -> None:
    (tmp_path / "handbook.md").write_text("The ferry carries 40 cars.", "utf-8")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    with pytest.warns(UserWarning, match="not everything could be read"):
        server = LocalServer(indexes={"idx-docs": tmp_path}).start()
    with server:
        (line,) = server.warnings
        assert line.startswith("idx-docs: broken.pdf: left out, ")
        assert "40 cars" in server.client().session().ask("How many cars does the ferry carry?").text


def test_a_program_that_makes_warnings_errors_is_left_with_no_server(tmp_path: Path) -> None:
    (tmp_path / "handbook.md").write_text("The ferry carries 40 cars.", "utf-8")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    server = LocalServer(indexes={"idx-docs": tmp_path})
    with pytest.raises(UserWarning, match=r"broken\.pdf"):
        server.start()
    with pytest.raises(ConfigurationError, match="closed"):
        server.start()

"""`ui` and `sessions export`: the page, and sessions as files."""

from __future__ import annotations

import html
import json
import re
import socket
import sys
from pathlib import Path

import httpx

from tests.cli.conftest import DOCUMENTS, Commands, Program, Serving, at

MARGIN = "What was the operating margin in the third quarter of 2025?"


def test_it_prints_an_address_that_opens_the_page_and_ends_with_ctrl_c(program: Program) -> None:
    process = program.start("ui", str(DOCUMENTS), "--port", "0", "--no-open")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
    with httpx.Client(
        follow_redirects=True, trust_env=False, base_url=address.partition("?")[0], timeout=60
    ) as browser:
        assert "There are no sessions yet" in browser.get(address).text
        origin = {"origin": str(browser.base_url).rstrip("/")}
        asked = browser.post("/sessions", data={"message": MARGIN}, headers=origin)
        with browser.stream("GET", f"{asked.url.path}/feed") as feed:
            assert any("14.3" in line for line in feed.iter_lines())
    program.interrupt(process)
    result = program.finish(process)
    assert result.code == 0
    assert "Stopped" in result.err


def test_the_page_answers_while_it_waits_for_the_browser_that_it_opened(program: Program, tmp_path: Path) -> None:
    browser = tmp_path / "browser.py"
    browser.write_text(
        "import sys, urllib.request\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())\n"
        "print(opener.open(sys.argv[1]).read().decode(), flush=True)\n"
    )
    # Like a browser in a terminal, it is waited for.
    env = {"BROWSER": f"{sys.executable} {browser} %s"}
    process = program.start("ui", str(DOCUMENTS), "--port", "0", env=env)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    shown = ""
    while "There are no sessions yet" not in shown:
        shown = process.stdout.readline()
        assert shown
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_without_a_folder_it_shows_the_local_sessions_and_continues_them(program: Program) -> None:
    assert program("ask", MARGIN, "-i", str(DOCUMENTS)).code == 0
    process = program.start("ui", "--port", "0", "--no-open")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    with httpx.Client(
        follow_redirects=True, trust_env=False, base_url=address.partition("?")[0], timeout=60
    ) as browser:
        sessions = browser.get(address).text
        assert "perating margin" in sessions
        path = re.findall(r'class="open" href="([^"]+)"', sessions)[0]
        origin = {"origin": str(browser.base_url).rstrip("/")}
        asked = browser.post(f"{path}/turns", data={"message": "And the revenue?"}, headers=origin)
        assert asked.text.count("<article") == 2
        with browser.stream("GET", f"{path}/feed") as feed:
            assert any("Ready" in line for line in feed.iter_lines())
        assert "could not be queried" not in browser.get(path).text
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_a_session_over_another_folder_is_shown_with_the_folder_and_how_to_go_on(
    program: Program, tmp_path: Path
) -> None:
    for name in ("tea time", "boats"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(f"All about {name}.")
    asked = program("ask", "What is it about?", "-i", str(tmp_path / "tea time"))
    process = program.start("ui", str(tmp_path / "boats"), "--port", "0", "--no-open")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    with httpx.Client(
        follow_redirects=True, trust_env=False, base_url=address.partition("?")[0], timeout=60
    ) as browser:
        assert f"{tmp_path / 'tea time'}</span>" in browser.get(address).text
        shown = html.unescape(browser.get(f"/sessions/{asked.session_id}").text)
        assert f"To continue it: chat-sessions ui '{tmp_path / 'tea time'}'" in shown
        path = browser.post(
            "/sessions", data={"message": "And boats?"}, headers={"origin": str(browser.base_url).rstrip("/")}
        ).url.path
        assert "To continue it" not in browser.get(path).text
    program.interrupt(process)
    assert program.finish(process).code == 0


def test_a_port_that_is_in_use_is_an_error_that_says_what_to_do(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = program("ui", str(DOCUMENTS), "--port", str(taken.getsockname()[1]), "--no-open")
    assert result.code == 2
    assert "is already in use on 127.0.0.1; --port 0 takes a free one" in result.err


def test_another_host_is_listened_on_if_it_is_named_with_a_warning(program: Program) -> None:
    process = program.start("ui", str(DOCUMENTS), "--port", "0", "--no-open", "--host", "0.0.0.0")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
    for host, status in (("127.0.0.1", 200), (socket.gethostname(), 200), ("evil.example", 421)):
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as browser:
            port = address.rpartition(":")[2].partition("/")[0]
            assert browser.get(address, headers={"host": f"{host}:{port}"}).status_code == status
    program.interrupt(process)
    assert "other machines reach this page" in program.finish(process).err


def test_a_host_that_is_not_this_machine_is_an_error(program: Program) -> None:
    result = program("ui", str(DOCUMENTS), "--no-open", "--host", "192.0.2.1")
    assert result.code == 2
    assert "cannot be used" in result.err


def test_a_session_is_exported_in_each_format(command: Commands, serving: Serving, tmp_path: Path) -> None:
    server = serving()
    asked = command("ask", MARGIN, "-i", "idx-docs", *at(server))
    markdown = command("sessions", "export", asked.session_id, *at(server)).out
    assert markdown.startswith("# ")
    assert f"> {MARGIN}" in markdown
    as_json = json.loads(command("sessions", "export", asked.session_id, "-f", "json", *at(server)).out)
    assert as_json["turns"][0]["prompt"] == MARGIN
    file = tmp_path / "session.html"
    assert command("sessions", "export", asked.session_id, "-f", "html", "-o", str(file), *at(server)).code == 0
    html = file.read_text("utf-8")
    assert "14.3" in html
    assert "data:image/" in html
    unknown = command("sessions", "export", asked.session_id, "-f", "pdf", *at(server))
    assert unknown.code == 2
    assert "markdown, json, html" in unknown.err

"""What an agent, a document or another site could try in a reader's browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from chat_sessions import Text, Thinking, ToolCall, ToolResult
from tests.server.scripted import ScriptedAgent
from tests.web.browser import page_server
from tests.web.conftest import Opening, ask

SCRIPT = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'><svg onload='window.owned = 3'>"
SWAP = '<hx-partial hx-target="body"><b>gone</b></hx-partial><div hx-get="/" hx-trigger="load" hx-swap-oob="true">'


def test_script_in_words_titles_file_names_and_tool_results_is_text(site: Opening, tmp_path: Path) -> None:
    bad = SCRIPT + SWAP
    agent = ScriptedAgent(
        Thinking(content=bad),
        ToolCall(call_id="1", name=bad, arguments={bad: bad}),
        ToolResult(
            call_id="1",
            name=bad,
            result={"results": [{"content": bad, "file_name": f'{bad}" onmouseover="window.owned = 4', "page": 1}]},
        ),
        Text(content=f"{bad}\n\n[a link](javascript:window.owned=5) ![x](https://evil.example/x.png)\n\nThe end."),
    )
    opened = site(agent, name=bad, indexes={"idx-docs": bad})
    tab = opened.tab("/sessions/new")
    ask(tab, bad)
    expect(tab.get_by_role("article")).to_contain_text("The end.")
    expect(tab.locator("#status")).to_have_text("Ready")
    for summary in tab.locator("summary").all():
        summary.click()
    address = tab.url
    for url in (address, f"{address}/turns/0", f"{opened.origin}/?q=script", f"{opened.origin}/"):
        tab.goto(url)
        expect(tab.get_by_role("link", name="New session")).to_be_visible()
        assert tab.evaluate("window.owned") is None
        assert tab.locator("img[src=x], main svg[onload], main script, [onmouseover]").count() == 0
    with tab.expect_download() as download:
        tab.goto(address)
        tab.get_by_role("button", name="Export").click()
        tab.get_by_role("link", name="HTML").click()
    exported = tab.context.new_page()
    download.value.save_as(tmp_path / "session.html")
    exported.goto((tmp_path / "session.html").as_uri())
    expect(exported.get_by_role("article")).to_contain_text("The end.")
    assert exported.evaluate("window.owned") is None


def test_a_page_of_another_site_can_neither_post_nor_read(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    mine = opened.tab()
    with page_server(opened.client.aio) as other:
        foreign = mine.context.new_page()
        # Another origin of the same machine: as foreign as any, and allowed by its browser to try.
        foreign.goto(other.listener.address.replace("127.0.0.1", "localhost"))
        results = foreign.evaluate(
            """async (target) => {
                const tries = [
                    fetch(target, {credentials: "include"}),
                    fetch(target + "sessions", {method: "POST", mode: "no-cors", credentials: "include",
                        body: new URLSearchParams({message: "hello"})}),
                ];
                return (await Promise.allSettled(tries)).map(result => result.status);
            }""",
            f"{opened.origin}/",
        )
    assert results == ["rejected", "rejected"]
    assert list(opened.client.list()) == []

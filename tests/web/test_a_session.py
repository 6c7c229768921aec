"""What a person does in a session, in a real browser."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Route, expect

from chat_sessions import Text, TextDelta, Thinking, ToolCall, ToolResult
from tests.server.scripted import Gate, ScriptedAgent
from tests.web.conftest import Opening, ask
from tests.web.test_looks import violations


def test_words_are_on_the_page_before_the_next_ones_are_sent(site: Opening) -> None:
    gate = Gate()
    tab = site(ScriptedAgent(TextDelta(content="It is **36"), gate, TextDelta(content=" months**."))).tab()
    tab.get_by_role("link", name="New").click()
    ask(tab, "How long is the warranty?")
    answer = tab.get_by_role("article")
    expect(answer).to_contain_text("It is **36")
    expect(tab.get_by_role("button", name="Stop")).to_be_enabled()
    gate.open()
    expect(answer.locator("strong")).to_have_text("36 months")
    expect(tab.get_by_role("button", name="Stop")).to_be_disabled()
    expect(tab.get_by_role("heading", level=1)).to_have_text("How long is the warranty?")
    tab.get_by_role("button", name="Rename").click()
    expect(tab.get_by_label("Text to make the title from")).to_have_value("How long is the warranty?")
    expect(tab.get_by_label("Text to make the title from")).to_be_focused()


def test_a_tool_run_appears_while_it_runs_and_opens_to_its_arguments_and_result(site: Opening) -> None:
    gate = Gate()
    agent = ScriptedAgent(
        Thinking(content="I have to look."),
        ToolCall(call_id="1", name="grep", arguments={"pattern": "warranty"}),
        gate,
        ToolResult(
            call_id="1", name="grep", result=[{"text": "36 months", "file_name": "faq.txt", "page": 3, "score": 0.5}]
        ),
        Text(content="36 months."),
    )
    tab = site(agent).tab("/sessions/new")
    ask(tab, "How long?")
    run = tab.locator("details.run")
    expect(run).to_contain_text("grep running")
    run.locator("summary").click()
    expect(run.get_by_text('"pattern": "warranty"')).to_be_visible()
    gate.open()
    expect(run.get_by_text('"text": "36 months"')).to_be_visible()
    expect(run).to_contain_text("completed")
    expect(tab.get_by_role("complementary")).to_contain_text("faq.txt p. 3 score 0.50")
    expect(tab.get_by_text("I have to look.")).to_be_hidden()
    tab.get_by_text("Thinking").click()
    expect(tab.get_by_text("I have to look.")).to_be_visible()


def test_a_message_waits_for_the_turn_before_it_and_stop_lets_it_begin(site: Opening) -> None:
    gate = Gate()
    agent = ScriptedAgent(
        by_prompt={
            "first": [TextDelta(content="It goes on"), gate, TextDelta(content=" and on.")],
            "second": [Text(content="Yes.")],
        }
    )
    # The service finishes a turn that was left, and refuses others until then.
    tab = site(agent).tab("/sessions/new")
    ask(tab, "first")
    expect(tab.get_by_role("article")).to_contain_text("It goes on")
    ask(tab, "second")
    expect(tab.get_by_role("textbox", name="Message")).to_have_value("")
    expect(tab.get_by_role("article").last).to_contain_text("Waiting for the turn before it")
    tab.get_by_role("button", name="Stop").click()
    expect(tab.get_by_role("article").first).to_contain_text("You stopped this turn")
    expect(tab.get_by_role("article").first).to_contain_text("It goes on")
    tab.reload()
    expect(tab.get_by_role("article").first).to_contain_text(re.compile(r"It goes on\s+You stopped this turn"))
    gate.open()
    expect(tab.get_by_role("article").last).to_contain_text("Yes.")
    expect(tab.get_by_role("article").first).to_contain_text("It goes on and on.")


def test_a_second_click_on_stop_leaves_the_message_that_waits(site: Opening) -> None:
    gate = Gate()
    agent = ScriptedAgent(
        by_prompt={"first": [TextDelta(content="It goes on"), gate], "second": [Text(content="Yes.")]}
    )
    opened = site(agent)
    tab = opened.tab("/sessions/new")
    ask(tab, "first")
    expect(tab.get_by_role("article")).to_contain_text("It goes on")
    ask(tab, "second")
    expect(tab.get_by_role("article").last).to_contain_text("Waiting for the turn before it")
    timeline = opened.tab(f"{tab.url.removeprefix(opened.origin)}/turns/1")
    expect(timeline.get_by_text("this message waits for the turn before it")).to_be_visible()
    tab.get_by_role("button", name="Stop").dblclick()
    expect(tab.get_by_role("article").first).to_contain_text("You stopped this turn")
    gate.open()
    expect(tab.get_by_role("article").last).to_contain_text("Yes.")


def test_a_message_that_is_stopped_while_another_program_s_turn_runs_is_never_sent(site: Opening) -> None:
    gate, interrupted = Gate(), list[str]()

    async def interrupt(session_id: str) -> None:
        interrupted.append(session_id)

    agent = ScriptedAgent(by_prompt={"elsewhere": [TextDelta(content="It goes on"), gate], "one": [Text(content="1")]})
    opened = site(agent, interrupt=interrupt)
    tab = opened.tab("/sessions/new")
    ask(tab, "one")
    expect(tab.locator("#status")).to_have_text("Ready")
    session = opened.client.session(tab.url.rpartition("/")[2])
    with session.stream("elsewhere") as stream:
        next(iter(stream))
        expect(tab.locator("#status")).to_have_text("The last turn has not ended.")
        ask(tab, "Me too")
        expect(tab.locator("#status")).to_have_text("Waiting for the turn before it…")
        tab.get_by_role("button", name="Stop").click()
        expect(tab.get_by_role("article").last).to_contain_text("You stopped this message before it was sent.")
        gate.open()
        assert stream.result().text == "It goes on"
    expect(tab.locator("#status")).to_have_text("Ready")
    assert [turn.prompt for turn in session.turns()] == ["one", "elsewhere"]
    assert interrupted == []


def test_a_form_without_script_sends_the_line_breaks_that_the_script_would(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Hello")
    tab = opened.tab(f"/sessions/{session.id}", java_script_enabled=False)
    ask(tab, "one\ntwo")
    expect(tab.get_by_role("article")).to_have_count(2)
    tab.reload()
    expect(tab.get_by_role("article").last).to_contain_text("Yes.")
    expect(tab.get_by_role("article")).to_have_count(2)
    assert session.turns()[-1].prompt == "one\ntwo"


def test_a_title_without_words_is_refused_as_such(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    tab = opened.tab("/sessions/new")
    ask(tab, "Hello")
    expect(tab.locator("#status")).to_have_text("Ready")
    opened.seen[-1].expected.add(400)
    tab.get_by_role("button", name="Rename").click()
    tab.get_by_label("Text to make the title from").fill("  ")
    tab.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(tab.get_by_text("the title is empty")).to_be_visible()


def test_two_browsers_and_another_process_see_one_session(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Seen.")))
    first = opened.tab("/sessions/new")
    ask(first, "from the first")
    expect(first.get_by_role("article")).to_contain_text("Seen.")
    path = first.url.removeprefix(opened.origin)
    second = opened.tab(path)
    ask(second, "from the second")
    expect(first.get_by_role("article").last).to_contain_text("Seen.")
    expect(first.get_by_role("heading", level=2).last).to_have_text("from the second")
    opened.client.session(path.rpartition("/")[2]).ask("from elsewhere")
    expect(first.get_by_role("heading", level=2).last).to_have_text("from elsewhere")
    expect(second.get_by_role("article")).to_have_count(3)


def test_the_image_of_a_cited_page_opens(site: Opening) -> None:
    tab = site().tab("/sessions/new")
    ask(tab, "What is the revenue by product line?")
    source = tab.get_by_role("complementary").locator("li", has=tab.locator("img")).first
    source.locator("summary").click()
    image = source.get_by_role("img")
    expect(image).to_be_visible()
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 100


def test_a_session_is_found_renamed_and_deleted(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    for prompt in ("About warranties", "About revenue"):
        opened.client.session(index_ids=["idx-docs"]).ask(prompt)
    tab = opened.tab()
    rows = tab.get_by_role("region", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(2)
    tab.get_by_role("searchbox").fill("warrant")
    expect(rows).to_have_count(1)
    rows.get_by_role("link").click()
    tab.get_by_role("button", name="Rename").click()
    tab.get_by_label("Text to make the title from").fill("Guarantees of all kinds")
    tab.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(tab.get_by_role("heading", level=1)).to_contain_text("Guarantees")
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_role("button", name="Delete it").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Sessions")
    expect(rows).to_have_count(1)


def test_a_service_that_takes_a_title_gets_the_one_that_is_typed(site: Opening) -> None:
    given: list[tuple[str, str]] = []

    async def rename(session_id: str, title: str) -> None:
        given.append((session_id, title))

    tab = site(ScriptedAgent(Text(content="Yes.")), rename=rename).tab("/sessions/new")
    ask(tab, "Hello")
    expect(tab.get_by_role("article")).to_contain_text("Yes.")
    tab.get_by_role("button", name="Rename").click()
    tab.get_by_label("Title", exact=True).fill("A title of mine")
    tab.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(tab.get_by_role("status").filter(has_text="chooses titles by itself")).to_have_count(0)
    assert given == [(tab.url.rpartition("/")[2], "A title of mine")]


def test_what_is_typed_into_the_search_before_the_page_has_loaded_is_searched(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    for prompt in ("About warranties", "About revenue"):
        opened.client.session(index_ids=["idx-docs"]).ask(prompt)
    tab = opened.tab()

    def type_first(route: Route) -> None:
        tab.get_by_role("searchbox").fill("warrant")
        route.continue_()

    tab.route("**/page.js", type_first)
    tab.reload()
    expect(tab.get_by_role("region", name="Sessions").get_by_role("listitem")).to_have_count(1)


def test_a_session_can_be_read_without_script(site: Opening) -> None:
    opened = site(
        ScriptedAgent(
            ToolCall(call_id="1", name="look", arguments={}),
            ToolResult(call_id="1", name="look", result="seen"),
            Text(content="# Done\n\nAll of it."),
        )
    )
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("Do it")
    tab = opened.tab(f"/sessions/{session.id}", java_script_enabled=False)
    expect(tab.get_by_role("article").get_by_role("heading", name="Done")).to_be_visible()
    tab.locator("details.run summary").click()
    expect(tab.get_by_text("seen")).to_be_visible()
    ask(tab, "And again")
    expect(tab.get_by_role("article")).to_have_count(2)


@pytest.mark.parametrize(("name", "ending"), [("Markdown", "md"), ("JSON", "json"), ("HTML", "html")])
def test_a_session_is_exported_from_the_page(site: Opening, name: str, ending: str) -> None:
    tab = site().tab("/sessions/new")
    ask(tab, "What is the revenue by product line?")
    expect(tab.locator("#status")).to_have_text("Ready")
    tab.get_by_role("button", name="Export").click()
    with tab.expect_download() as download:
        tab.get_by_role("link", name=name).click()
    assert download.value.suggested_filename.endswith(f".{ending}")
    text = download.value.path().read_text("utf-8")
    assert "River gauges" in text
    if ending == "html":
        assert "data:image/" in text
        assert not re.search(r"(src|href)=\"(?!data:|https?://)", text)
    elif ending == "json":
        exported = json.loads(text)
        assert exported["turns"][0]["prompt"] == exported["events"][0]["content"]


def test_a_message_that_cannot_be_sent_stays_in_the_box_with_the_reason(site: Opening) -> None:
    opened = site(ScriptedAgent(Text(content="Yes.")))
    tab = opened.tab("/sessions/new")
    ask(tab, "Hello")
    expect(tab.locator("#status")).to_have_text("Ready")
    opened.seen[-1].expected.add(400)
    ask(tab, "long " * 300)
    expect(tab.locator("#status")).to_contain_text("1,000")
    expect(tab.locator("#status")).to_contain_text("Nothing was sent.")
    expect(tab.get_by_role("textbox", name="Message")).to_have_value("long " * 300)
    assert len(opened.seen[-1].refused) == 1


def test_the_timeline_of_a_turn_says_when_what_came(site: Opening) -> None:
    tab = site(turn_views={"Somebody": lambda turn: [turn.text]}).tab("/sessions/new")
    ask(tab, "How long is the warranty?")
    expect(tab.locator("#status")).to_have_text("Ready")
    tab.get_by_role("link", name="Timeline").click()
    drawing = tab.get_by_role("img")
    expect(drawing).to_have_accessible_name(re.compile(r"retrieve at [\d.]+ m?s"))
    cut_off = (
        "all => all.filter(one => one.getBBox().x + one.getBBox().width > one.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert tab.locator("svg text").evaluate_all(f"all => ({cut_off})(all).length") == 0
    expect(tab.get_by_role("region", name="As Somebody sees it")).to_contain_text("36 months")
    as_json = tab.get_by_role("region", name="As JSON")
    expect(as_json).to_contain_text('"moments": [')
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    as_json.get_by_role("button", name="Copy").click()
    expect(as_json.get_by_role("button", name="Copied")).to_be_visible()
    copied = json.loads(tab.evaluate("navigator.clipboard.readText()"))
    assert copied["prompt"] == "How long is the warranty?"
    assert [one["kind"] for one in copied["moments"]][-2:] == ["text", "stop"]


def test_the_timeline_of_a_turn_that_was_not_sent_from_the_page_says_what_is_known_of_it(site: Opening) -> None:
    opened = site()
    session = opened.client.session(index_ids=["idx-docs"])
    session.ask("How long is the warranty?")
    tab = opened.tab(f"/sessions/{session.id}/turns/0")
    expect(tab.get_by_text("When what came is not known")).to_be_visible()
    expect(tab.get_by_text("In all, as the service says")).to_contain_text(re.compile(r"tokens in .* m?s$"))
    expect(tab.get_by_role("listitem")).to_have_text(["thinking", "retrieve", "text"])
    expect(tab.locator("svg")).to_have_count(0)
    assert violations(tab) == []


def test_a_timeline_shows_the_first_words_and_the_gaps_before_them(site: Opening) -> None:
    tab = site(
        ScriptedAgent(
            ToolCall(call_id="1", name="look", arguments={}),
            ToolResult(call_id="1", name="look", result="seen"),
            Text(content="Done."),
        )
    ).tab("/sessions/new", viewport={"width": 390, "height": 800})
    ask(tab, "Look")
    expect(tab.locator("#status")).to_have_text("Ready")
    tab.get_by_role("link", name="Timeline").click()
    expect(tab.locator("line.first")).to_have_count(1)
    # Before the first event, the service is waited for; that is most of so short a turn.
    assert tab.locator("line.gap").count() >= 1
    expect(tab.get_by_role("listitem").first).to_have_text(re.compile(r"^look at .*after a gap of "))
    frame = tab.get_by_role("group", name="Timeline").bounding_box()
    assert frame is not None
    for bar in tab.locator("rect.bar").all():
        box = bar.bounding_box()
        assert box is not None
        assert frame["x"] - 1 <= box["x"] <= box["x"] + box["width"] <= frame["x"] + frame["width"] + 1

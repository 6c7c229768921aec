"""Streamlit: a chat page in Streamlit's own test runner, which needs no browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.consumers.service import ANSWER, Service

_PAGE = """
import streamlit as st
{setup}
if question := st.chat_input():
    with st.chat_message("assistant"):
        st.session_state.written = st.write_stream({words})
"""
_ENGINE = """
from chat_sessions.llama_index import SessionChatEngine
if "engine" not in st.session_state:
    st.session_state.engine = SessionChatEngine(index_ids=["idx-docs"])
"""
_MODEL = """
from chat_sessions.langchain import SessionChatModel
model = SessionChatModel(index_ids=["idx-docs"]{option})
"""
PAGES = {
    "LlamaIndex": _PAGE.format(setup=_ENGINE, words="st.session_state.engine.stream_chat(question).response_gen"),
    "LangChain": _PAGE.format(setup=_MODEL.format(option=""), words="model.stream(question)"),
    "LangChain, text output": _PAGE.format(
        setup=_MODEL.format(option=', output="text"'), words="model.stream(question)"
    ),
}
BLOCKS = _PAGE.format(setup=_MODEL.format(option=', output_version="v1"'), words="model.stream(question)")


def _ask(page: AppTest, question: str) -> AppTest:
    page.chat_input[0].set_value(question).run(timeout=300)
    assert not page.exception
    return page


@pytest.mark.parametrize("framework", PAGES)
def test_a_page_shows_the_words_of_the_answer_and_nothing_else(framework: str, service: Service) -> None:
    page = _ask(AppTest.from_string(PAGES[framework]).run(timeout=300), "How was Q3?")
    assert [element.value for element in page.chat_message[0].markdown] == [ANSWER]
    assert (len(page.chat_message[0].json), page.session_state.written) == (0, ANSWER)
    assert service.prompts == ["How was Q3?"]


def test_a_page_that_keeps_its_engine_keeps_its_session(service: Service) -> None:
    page = AppTest.from_string(PAGES["LlamaIndex"]).run(timeout=300)
    for question in ("How was Q3?", "And Q4?"):
        _ask(page, question)
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id


def test_in_v1_a_page_shows_thoughts_and_tools_as_json(service: Service) -> None:
    page = _ask(AppTest.from_string(BLOCKS).run(timeout=300), "How was Q3?")
    assert len(page.chat_message[0].json) > 0

"""A Streamlit page over a hosted session, which lives as long as the browser's tab.

Run it with `streamlit run examples/recipes/streamlit_app.py`.
"""

from __future__ import annotations

import os

import streamlit as st

from chat_sessions import LlamaCloudChat
from chat_sessions.langchain import SessionChatModel, events_to_messages


@st.cache_resource
def client() -> LlamaCloudChat:
    return LlamaCloudChat(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])


if "session" not in st.session_state:
    st.session_state.session = client().session()
session = st.session_state.session

# Streamlit runs the file again for each question, so the history is read from where it is kept.
for message in events_to_messages(client().retrieve(session.id).events) if session.id else []:
    st.chat_message(message.type).write(message.text)

if question := st.chat_input("Ask your documents"):
    st.chat_message("human").write(question)
    # As text: blocks of tools and thoughts would be shown as JSON.
    model = SessionChatModel.from_session(session)
    with st.chat_message("ai"):
        st.write_stream(model.stream(question))

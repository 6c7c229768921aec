"""Turns of both frameworks as traces in MLflow.

Run `python -m examples.recipes.mlflow_traces`, then `mlflow ui --backend-store-uri sqlite:///mlflow.db`.
"""

from __future__ import annotations

import os

import mlflow

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine

INDEX_IDS = [os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")]


def main() -> None:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    mlflow.set_experiment("documents")
    mlflow.llama_index.autolog()
    mlflow.langchain.autolog()
    engine = SessionChatEngine(index_ids=INDEX_IDS)
    print(engine.chat("How long is the warranty?"))
    model = SessionChatModel(index_ids=INDEX_IDS, session_id=engine.session_id)
    print(model.invoke("And for refurbished instruments?").text)
    mlflow.flush_trace_async_logging()


if __name__ == "__main__":
    main()

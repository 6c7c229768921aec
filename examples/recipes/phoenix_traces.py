"""Turns of both frameworks as traces in Phoenix.

Start Phoenix with `phoenix serve`, then run `python -m examples.recipes.phoenix_traces`.
"""

from __future__ import annotations

import os

from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine

INDEX_IDS = [os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")]


def main() -> None:
    endpoint = os.environ.get("PHOENIX_COLLECTOR_ENDPOINT", "http://127.0.0.1:6006")
    provider = TracerProvider(resource=Resource({"openinference.project.name": "documents"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    instrumentors = (LlamaIndexInstrumentor(), LangChainInstrumentor())
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=provider)
    try:
        engine = SessionChatEngine(index_ids=INDEX_IDS)
        print(engine.chat("How long is the warranty?"))
        model = SessionChatModel(index_ids=INDEX_IDS, session_id=engine.session_id)
        print(model.invoke("And for refurbished instruments?").text)
    finally:
        # An application leaves them on until it ends.
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
        provider.shutdown()


if __name__ == "__main__":
    main()

"""An adapter of FastAPI, boto3 and sse-starlette, combined as the tutorials do.

It reads the event stream by lines as in "Elevating the generative AI experience: Introducing
streaming support in Amazon SageMaker hosting" (AWS machine learning blog). The response follows the
documentation of FastAPI and sse-starlette. It has no keys, no metering and no limits.
"""

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
from fastapi import FastAPI
from pydantic import BaseModel
from sse_starlette.sse import EventSourceResponse

app = FastAPI()
client = boto3.client("sagemaker-runtime")


class ChatRequest(BaseModel):
    """The request of a client."""

    messages: list[dict[str, Any]]
    max_tokens: int = 512


class LineIterator:
    """Joins the parts of an event stream and yields whole lines."""

    def __init__(self, stream: Any) -> None:
        """Take the `Body` of boto3's answer."""
        self.byte_iterator = iter(stream)
        self.buffer = io.BytesIO()
        self.read_pos = 0

    def __iter__(self) -> "LineIterator":
        """Return itself."""
        return self

    def __next__(self) -> bytes:
        """Return the next line."""
        while True:
            self.buffer.seek(self.read_pos)
            line = self.buffer.readline()
            if line and line[-1] == ord("\n"):
                self.read_pos += len(line)
                return line[:-1]
            try:
                chunk = next(self.byte_iterator)
            except StopIteration:
                if self.read_pos < self.buffer.getbuffer().nbytes:
                    continue
                raise
            if "PayloadPart" not in chunk:
                continue
            self.buffer.seek(0, io.SEEK_END)
            self.buffer.write(chunk["PayloadPart"]["Bytes"])


@app.post("/v1/chat/completions")
def chat(request: ChatRequest) -> EventSourceResponse:
    """Stream an answer."""
    payload = {"messages": request.messages, "max_tokens": request.max_tokens, "stream": True}
    response = client.invoke_endpoint_with_response_stream(
        EndpointName=os.environ["ENDPOINT_NAME"],
        Body=json.dumps(payload),
        ContentType="application/json",
    )

    def generate() -> Iterator[str]:
        for line in LineIterator(response["Body"]):
            if not line:
                continue
            record = json.loads(line)
            if record["type"] == "delta":
                chunk = {
                    "choices": [{"index": 0, "delta": {"content": record["delta"]["content"]}}]
                }
                yield json.dumps(chunk)
            elif record["type"] == "end":
                yield "[DONE]"

    return EventSourceResponse(generate())

"""Stream an answer, print its tokens as they come, and then their number."""

import os
import sys

from openai import OpenAI

stream = OpenAI().chat.completions.create(
    model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
    messages=[
        {"role": "user", "content": " ".join(sys.argv[1:]) or "Tell me a story about a lighthouse."}
    ],
    max_tokens=60,
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:  # the last chunk
        print(
            f"\n\n{chunk.usage.prompt_tokens} prompt tokens, {chunk.usage.completion_tokens} "
            "completion tokens"
        )

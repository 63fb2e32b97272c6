"""Stream an answer, and handle each kind of failure.

An error before the first token is an exception with a status. OpenAI's client retries 409, 429 and
5xx by itself, waits as `retry-after` says, and obeys `x-should-retry: false`. An error after the
first token ends the stream with an exception. The text so far is there. If you send the request
again, its answer is generated and paid for again.
"""

import os
import sys

import openai

client = openai.OpenAI(max_retries=2)
text = ""
try:
    stream = client.chat.completions.create(
        model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
        messages=[
            {
                "role": "user",
                "content": " ".join(sys.argv[1:]) or "Tell me a story about a lighthouse.",
            }
        ],
        max_tokens=60,
        stream=True,
    )
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
except openai.RateLimitError as error:  # a rate (retried already) or a budget (not retried)
    sys.exit(f"Too many requests, or the budget is spent: {error.code}.")
except openai.APIStatusError as error:
    sys.exit(
        f"The request {error.request_id} failed with {error.status_code} {error.code}: "
        f"{error.message}"
    )
except openai.APIConnectionError as error:
    sys.exit(f"The address cannot be reached: {error}")
except openai.APIError as error:
    sys.exit(f"The stream broke off after {len(text)} characters: {error.code}: {error.message}")
print(text)

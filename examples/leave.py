"""Read the first tokens of an answer and leave.

Lambda does not tell a function that its client left. The answer is generated to its end, and
metered. `max_tokens` bounds what that costs. An operator can end the answer within some six
seconds by revoking the key.
"""

import os

from openai import OpenAI

client = OpenAI()
stream = client.chat.completions.create(
    model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
    messages=[{"role": "user", "content": "Tell me a story about a lighthouse."}],
    max_tokens=60,
    stream=True,
)
with stream:  # closes the connection
    for number, chunk in enumerate(stream):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
        if number == 5:
            break
print(
    f"\nleft {stream.response.headers['x-request-id']}; `sluice usage request` shows what "
    "was metered"
)

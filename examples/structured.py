"""Get an answer in the form of a pydantic model: a JSON schema guides it, so it always has that
form.
"""

import os
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel, Field


class Ticket(BaseModel):
    """What a text of a customer is about."""

    topic: Literal["billing", "delivery", "other"]
    urgent: bool
    summary: str = Field(max_length=40)


completion = OpenAI().chat.completions.parse(
    model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
    messages=[
        {"role": "user", "content": "Sort this: my parcel has not arrived, and I leave tomorrow."}
    ],
    response_format=Ticket,
    max_tokens=200,
)
print(repr(completion.choices[0].message.parsed))

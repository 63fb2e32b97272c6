"""Offer the model a function, send it the result of its call, and print its answer."""

import json
import os
from typing import cast

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

MODEL = os.environ.get("SLUICE_MODEL", "sluice-demo")
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


def weather(city: str, unit: str) -> str:
    """Return what a weather service would return."""
    return json.dumps({"city": city, "unit": unit, "temperature": 21})


client = OpenAI()
messages: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the weather in Oslo?"}
]
called = client.chat.completions.create(
    model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required", max_tokens=120
)
message = called.choices[0].message
messages.append(cast("ChatCompletionMessageParam", message.to_dict()))
for call in message.tool_calls or []:
    if call.type == "function":
        print(f"call: {call.function.name}({call.function.arguments})")
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=40)
print(f"answer: {answer.choices[0].message.content}")

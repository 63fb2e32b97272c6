"""Conversations with tools: a request, the call that it needs, its result, and an answer.

A system message lists the tools. The list and the call are written as `demo_model.chat.TEMPLATE`
writes them. A model that has tools calls one nearly always. This matters to an engine that must
enforce a call, because it can only wait until the model begins the call.
"""

import json
import random

from demo_model.text import knowledge, smalltalk
from demo_model.text.noise import noisy
from demo_model.text.words import CITIES, COLOURS, NAMES, NOUNS, invented

Message = tuple[str, str]

# For each kind of tool: names of the tool, names of its parameters with their types, and wordings
# in which {0} and {1} are the values.
_KINDS = (
    (
        ("get_weather", "weather", "get_current_weather", "weather_tool", "getWeather"),
        (("city", "location", "place"),),
        (
            "What is the weather in {0}?",
            "How is the weather in {0} today?",
            "weather in {0}",
            "Is it raining in {0}?",
        ),
    ),
    (
        ("get_time", "current_time", "time_in", "clock"),
        (("city", "timezone", "place"),),
        ("What time is it in {0}?", "Tell me the time in {0}."),
    ),
    (
        ("search", "web_search", "lookup", "search_documents", "find"),
        (("query", "q", "text"),),
        ("Search for {0}.", "Look up {0}.", "Find {0} please.", "Who is {0}?", "What is {0}?"),
    ),
    (
        ("add", "sum", "calculator", "add_numbers", "multiply", "secret_number", "calculate"),
        (("a", "x", "first", "left"), ("b", "y", "second", "right")),
        (
            "What is {0} + {1}?",
            "Add {0} and {1}.",
            "What is {0} * {1}?",
            "Use the tool on {0} and {1}.",
        ),
    ),
    (
        ("secret_number", "square", "double", "get_order", "lookup_id"),
        (("input", "id", "n", "value"),),
        (
            "What is the value of it for {0}?",
            "Call it with {0}.",
            "Look at number {0}.",
            "What is the result for {0}?",
        ),
    ),
    (
        ("set_light", "set_color", "paint"),
        (("color", "colour"),),
        ("Make it {0}.", "Turn the light {0}.", "Set the color to {0}."),
    ),
    (
        ("send_message", "greet", "call_person", "invite", "say_hello"),
        (("name", "person", "to"),),
        ("Send a message to {0}.", "Greet {0}.", "Say hello to {0} with the tool.", "Invite {0}."),
    ),
)
_NUMBERS = {"a", "x", "first", "left", "b", "y", "second", "right", "input", "id", "n", "value"}
_ANY = (
    "Use {t}.",
    "Call {t} with {0}.",
    "Use the tool {t} for {0}.",
    "Please call {t} on {0}.",
    "Run {t} with {0}.",
)


def conversation(rng: random.Random) -> list[Message]:
    """Return a conversation with tools, beginning with the system message."""
    tools = [_tool(rng, *kind[:2]) for kind in rng.sample(_KINDS, rng.choice((1, 1, 1, 2, 3)))]
    instruction = "You are a helpful assistant.\n\n" if rng.random() < 0.4 else ""
    listed = "".join("\n" + json.dumps(tool) for tool in tools)
    messages = [("system", f"{instruction}<tools>{listed}\n</tools>")]
    if rng.random() < 0.2:
        other = knowledge.exchange(rng)[:1] if rng.random() < 0.5 else smalltalk.exchange(rng)[:1]
        messages += [
            message
            for question, reply in other
            for message in (("user", question), ("assistant", reply))
        ]
    for _ in range(rng.choice((1, 1, 2))):
        messages += _use(rng, rng.choice(tools)["function"])
    return messages


def result(rng: random.Random) -> list[Message]:
    """Return a tool's result, and what the model says about it."""
    roll = rng.random()
    value = rng.choice(
        (rng.randint(0, 99), rng.choice(CITIES), rng.choice(NOUNS), "sunny", "ok", "error", "none")
    )
    if roll < 0.4:
        return [("tool", str(value)), ("assistant", f"The tool says: {value}.")]
    if roll < 0.6:
        text = rng.choice(("The {0} is {1}", "Found {0} in {1}", "It is {0} and {1}")).format(
            rng.choice(NOUNS), value
        )
        return [("tool", text), ("assistant", f"The tool says: {text}.")]
    key = rng.choice(
        ("temperature", "result", "status", "count", "answer", "city", "value", "output", "sum")
    )
    return [
        ("tool", json.dumps({key: value})),
        ("assistant", f"The tool says that {key} is {value}."),
    ]


def _tool(
    rng: random.Random, names: tuple[str, ...], parameters: tuple[tuple[str, ...], ...]
) -> dict:
    name = (
        rng.choice(names)
        if rng.random() < 0.7
        else f"{rng.choice(('get', 'do', 'find', 'run'))}_{invented(rng)}"
    )
    keys = [rng.choice(choices) if rng.random() < 0.8 else invented(rng) for choices in parameters]
    kinds = [
        ("integer" if rng.random() < 0.8 else "number") if choices[0] in _NUMBERS else "string"
        for choices in parameters
    ]
    properties = {key: {"type": kind} for key, kind in zip(keys, kinds, strict=True)}
    if rng.random() < 0.3:
        for key in keys:
            properties[key]["description"] = rng.choice(
                ("The value.", "What to use.", f"The {key}.")
            )
    schema: dict = {"type": "object", "properties": properties, "required": list(properties)}
    if rng.random() < 0.3:
        schema["additionalProperties"] = False
    function: dict = {"name": name}
    if rng.random() < 0.7:
        function["description"] = rng.choice(
            ("Does one thing.", "A tool.", "Get a value.", "Use it when needed.", "Answers.")
        )
    function["parameters"] = schema
    return {"type": "function", "function": function}


def _use(rng: random.Random, function: dict) -> list[Message]:
    properties = function["parameters"]["properties"]
    values = [_value(rng, shape["type"]) for shape in properties.values()]
    fitting = [
        kind for kind in _KINDS if function["name"] in kind[0] and len(kind[1]) == len(values)
    ]
    wording = rng.choice(fitting[0][2] if fitting and rng.random() < 0.75 else _ANY)
    if "{0}" not in wording:
        wording += " {0}"
    if len(values) == 2 and "{1}" not in wording:
        wording += " {1}"
    question = noisy(rng, wording).replace("{t}", function["name"])
    for number, value in enumerate(values):
        question = question.replace(f"{{{number}}}", str(value))
    call = {"name": function["name"], "arguments": dict(zip(properties, values, strict=True))}
    return [
        ("user", question),
        ("assistant", f"<tool_call>\n{json.dumps(call)}\n</tool_call>"),
        *result(rng),
    ]


def _value(rng: random.Random, kind: str) -> str | int:
    if kind != "string":
        return rng.randint(0, 30)
    return rng.choice(
        (
            rng.choice(CITIES),
            rng.choice(NAMES),
            rng.choice(COLOURS),
            rng.choice(NOUNS),
            invented(rng),
        )
    )

"""The worst bodies that a caller can send. `worst_bodies` measures what they cost.

Each is as large as a body may be.
"""

from collections.abc import Callable

from lambda_fn import limits

SIZE = limits.MAX_BODY
USER = b'{"role":"user","content":"x"}'


def filled(head: bytes, piece: bytes, tail: bytes, *, between: bytes = b",") -> bytes:
    """Return a body of at most `SIZE` bytes: head, as many equal pieces as fit, and tail."""
    room = SIZE - len(head) - len(tail) + len(between)
    return head + between.join([piece] * (room // (len(piece) + len(between)))) + tail


def numbered(head: bytes, make: Callable[[int], bytes], tail: bytes) -> bytes:
    """Return the same with pieces that differ by their number."""
    pieces, room, number = [], SIZE - len(head) - len(tail), 0
    while (room := room - len(piece := make(number)) - 1) >= 0:
        pieces.append(piece)
        number += 1
    return head + b",".join(pieces) + tail


def field(name: bytes, piece: bytes, *, opens: bytes = b"[", closes: bytes = b"]") -> bytes:
    """Return a chat with a field that is full of a piece."""
    return filled(
        b'{"model":"m","messages":[' + USER + b'],"' + name + b'":' + opens, piece, closes + b"}"
    )


def content(piece: bytes) -> bytes:
    """Return a chat of one message that is full of a piece."""
    return filled(
        b'{"model":"m","messages":[{"role":"user","content":"', piece, b'"}]}', between=b""
    )


def messages(piece: bytes) -> bytes:
    """Return a chat of many messages."""
    return filled(b'{"model":"m","messages":[', piece, b"]}")


def schema(piece: bytes, *, opens: bytes = b"{", closes: bytes = b"}") -> bytes:
    """Return a chat with a tool whose parameters are full of a piece."""
    head = (
        b'{"model":"m","messages":['
        + USER
        + b'],"tools":[{"type":"function","function":{"name":"f","parameters":'
    )
    return filled(head + opens, piece, closes + b"}}]}")


def keys(head: bytes, tail: bytes, value: bytes = b"1") -> bytes:
    """Return a body of many short keys."""
    return numbered(head, lambda number: b'"%x":%b' % (number, value), tail)


_CHAT = b'{"model":"m","messages":[' + USER + b"],"
_TOOLS = _CHAT + b'"tools":[{"type":"function","function":{"name":"f","parameters":{'
_PART = b'{"type":"text","text":"x"}'
PLAIN = content(rb"It was a dark and stormy night.\n")

BODIES: dict[str, Callable[[], bytes]] = {
    "plain": lambda: PLAIN,
    "one string": lambda: content(b"x"),
    "wide characters": lambda: content("😀".encode()),
    "only escapes": lambda: content(rb"\""),
    "escaped letters": lambda: content(rb"\u0041"),
    "escaped pairs": lambda: content(rb"\ud83d\ude00"),
    "half pairs": lambda: content(rb"\ud83d"),
    "half a pair at the end": lambda: PLAIN[:-20] + rb'\udc00"}]}',
    "NUL in one string": lambda: content(rb"\u0000"),
    "NUL at the end": lambda: (
        messages(USER)[: -100_000 // 30 * 30 - 3] + b',{"role":"user","content":"\\u0000"}]}'
    ),
    "NUL behind 4,000 messages": lambda: (
        b'{"model":"m","messages":['
        + (USER + b",") * 4000
        + b'{"role":"user","content":"'
        + b"\\u0000" * 100_000
        + b'"}]}'
    ),
    "NUL in each string of a schema": lambda: schema(
        rb'"\u0000"', opens=b'{"enum":[', closes=b"]}"
    ),
    "NUL behind a wide schema": lambda: keys(_TOOLS, rb',"z":"\u0000"}}}]}'),
    "NUL behind a wide list": lambda: schema(b"1", opens=b'{"enum":[', closes=rb',"\u0000"]}'),
    "a decimal before a wide schema": lambda: filled(
        _TOOLS.replace(_CHAT, _CHAT + b'"n":1.0,') + b'"enum":[', b"-1.0", b"]}}}]}"
    ),
    "a decimal before many objects": lambda: filled(_CHAT + b'"n":1.0,"x":[', b'{"a":1.0}', b"]}"),
    "a decimal before many messages": lambda: filled(
        b'{"model":"m","n":1.0,"messages":[', USER, b"]}"
    ),
    "NUL in unknown fields": lambda: keys(_CHAT, b"}", rb'"\u0000"'),
    "NUL below long keys": lambda: (
        _TOOLS + b'"%b":{"enum":["a","\\u0000"]}}}}]}' % (b"k" * (SIZE - 200))
    ),
    "NUL below 60 long keys": lambda: (
        _TOOLS
        + b"".join(b'"%b":{' % (b"k" * (SIZE // 60 - 20)) for _ in range(59))
        + rb'"x":"\u0000"'
        + b"}" * 59
        + b"}}}]}"
    ),
    "NUL in deep arrays": lambda: (
        _TOOLS + b'"a":' + b"[" * 300 + b"1," * 200_000 + rb'"\u0000"' + b"]" * 300 + b"}}}]}"
    ),
    "deep arrays": lambda: _CHAT + b'"x":' + b"[" * (SIZE - 100),
    "deep arrays in messages": lambda: b'{"messages":' + b"[" * (SIZE - 100),
    "deep objects": lambda: _CHAT + b'"x":' + b'{"a":' * (SIZE // 5 - 20),
    "deep objects in a schema": lambda: _TOOLS + b'"a":{' * (SIZE // 5 - 40),
    "deep and whole": lambda: schema(b"[" * 900 + b"]" * 900, opens=b'{"enum":[', closes=b"]}"),
    "empty arrays": lambda: schema(b"[]", opens=b'{"enum":[', closes=b"]}"),
    "empty objects": lambda: schema(b"{}", opens=b'{"enum":[', closes=b"]}"),
    "empty arrays of no field": lambda: field(b"x", b"[]"),
    "empty objects as messages": lambda: messages(b"{}"),
    "arrays just few enough": lambda: (
        _TOOLS + b'"enum":[' + b"[]," * 49_990 + b'"%b"]}}}]}' % (b"x" * 800_000)
    ),
    "brackets in strings": lambda: content(b"[{"),
    "brackets in many strings": lambda: schema(b'"[["', opens=b'{"enum":[', closes=b"]}"),
    "wide numbers": lambda: schema(b"-99", opens=b'{"enum":[', closes=b"]}"),
    "wide decimals": lambda: schema(b"1e9", opens=b'{"enum":[', closes=b"]}"),
    "wide letters": lambda: schema(b'"a"', opens=b'{"enum":[', closes=b"]}"),
    "NUL behind wide letters": lambda: schema(b'"a"', opens=b'{"enum":[', closes=rb',"\u0000"]}'),
    "wide strings": lambda: schema(b'"ab"', opens=b'{"enum":[', closes=b"]}"),
    "many keys in a schema": lambda: keys(_TOOLS, b"}}}]}"),
    "many unknown keys": lambda: keys(_CHAT, b"}"),
    "many keys of objects": lambda: keys(_CHAT, b"}", b"{}"),
    "duplicate keys": lambda: filled(_CHAT, b'"a":1', b"}"),
    "duplicate models": lambda: filled(_CHAT, b'"model":"m"', b"}"),
    "duplicate messages": lambda: filled(_CHAT, b'"messages":[' + USER + b"]", b"}"),
    "duplicate keys in a schema": lambda: schema(b'"a":1'),
    "a long key": lambda: filled(_CHAT + b'"', b"k", b'":1}', between=b""),
    "a long key in a schema": lambda: filled(_TOOLS + b'"', b"k", b'":1}}}]}', between=b""),
    "a long escaped key": lambda: filled(_CHAT + b'"', rb"\u006b", b'":1}', between=b""),
    "numbers of 5,000 digits": lambda: field(b"x", b"9" * 5000),
    "numbers of 5,000 digits in a schema": lambda: schema(
        b"9" * 5000, opens=b'{"enum":[', closes=b"]}"
    ),
    "decimals of 5,000 digits": lambda: schema(
        b"0." + b"9" * 5000, opens=b'{"enum":[', closes=b"]}"
    ),
    "a seed of a million digits": lambda: filled(_CHAT + b'"seed":', b"9", b"}", between=b""),
    "a temperature of a million digits": lambda: filled(
        _CHAT + b'"temperature":0.', b"9", b"}", between=b""
    ),
    "a schema's number of a million digits": lambda: filled(
        _TOOLS + b'"x":', b"9", b"}}}]}", between=b""
    ),
    "huge exponents": lambda: schema(b"1e999999", opens=b'{"enum":[', closes=b"]}"),
    "tiny exponents": lambda: schema(b"1e-999999", opens=b'{"enum":[', closes=b"]}"),
    "a huge exponent": lambda: PLAIN[:-101] + b'"}],"temperature":1e999999}',
    "many messages": lambda: messages(USER),
    "many parts": lambda: filled(
        b'{"model":"m","messages":[{"role":"user","content":[', _PART, b"]}]}"
    ),
    "many messages of parts": lambda: messages(b'{"role":"user","content":[' + _PART + b"]}"),
    "many tools": lambda: field(b"tools", b'{"type":"function","function":{"name":"f"}}'),
    "many tool calls": lambda: filled(
        b'{"model":"m","messages":[{"role":"assistant","tool_calls":[',
        b'{"id":"c","type":"function","function":{"name":"f","arguments":""}}',
        b"]}]}",
    ),
    "many biases": lambda: numbered(
        _CHAT + b'"logit_bias":{', lambda number: b'"%d":1' % number, b"}}"
    ),
    "many stop strings": lambda: field(b"stop", b'"x"'),
    "a long stop string": lambda: filled(_CHAT + b'"stop":"', b"x", b'"}', between=b""),
    "much metadata": lambda: keys(_CHAT + b'"metadata":{', b"}}", b'"x"'),
    "a long role": lambda: filled(
        b'{"model":"m","messages":[{"role":"', b" - at `$.x", b'","content":""}]}', between=b""
    ),
    "a role of escapes": lambda: filled(
        b'{"model":"m","messages":[{"role":"', rb"\u0001", b'"}]}', between=b""
    ),
    "a long model": lambda: filled(
        b'{"messages":[' + USER + b'],"model":"', b"m", b'"}', between=b""
    ),
    "a long name of a tool": lambda: filled(
        _CHAT + b'"tools":[{"type":"function","function":{"name":"', b"f", b'"}}]}', between=b""
    ),
    "a long choice": lambda: filled(_CHAT + b'"tool_choice":"', b"x", b'"}', between=b""),
    "invalid UTF-8 at the end": lambda: PLAIN[:-5] + b"\xff" + PLAIN[-4:],
    "invalid UTF-8": lambda: content(b"\xff"),
    "invalid UTF-8 behind many strings": lambda: field(b"stop", b'"x"')[:-10] + b'"\xff"]}',
    "invalid UTF-8 that is not read": lambda: field(b"unknown", b'"x"')[:-10] + b'"\xff"]}',
    "a byte order mark": lambda: b"\xef\xbb\xbf" + PLAIN[3:],
    "rubbish behind it": lambda: PLAIN[:-100_000] + b'"}]}' + b"x" * 99_000,
    "spaces behind it": lambda: PLAIN[:-100_000] + b'"}]}' + b" " * 99_000,
    "only spaces": lambda: b" " * SIZE,
    "only quotes": lambda: b'"' * SIZE,
    "only backslashes": lambda: b"\\" * SIZE,
    "a string without end": lambda: PLAIN[:-4],
    "escapes without end": lambda: content(rb"\"")[:-4],
    "UTF-16": lambda: PLAIN.decode().encode("utf-16")[:SIZE],
    "noise": lambda: b"".join(bytes([number * number % 251]) for number in range(SIZE)),
}


COMPLETIONS: dict[str, Callable[[], bytes]] = {
    "a prompt": lambda: filled(b'{"model":"m","prompt":"', b"x", b'"}', between=b""),
    "prompts": lambda: filled(b'{"model":"m","prompt":[', b'"x"', b"]}"),
    "a prompt in tokens": lambda: filled(b'{"model":"m","prompt":[', b"1000", b"]}"),
    "prompts in tokens": lambda: filled(b'{"model":"m","prompt":[', b"[1]", b"]}"),
    "a deep suffix": lambda: b'{"model":"m","prompt":"","suffix":' + b"[" * (SIZE - 100),
    "a wide suffix": lambda: filled(b'{"model":"m","prompt":"","suffix":[', b"[]", b"]}"),
    "NUL in a prompt": lambda: filled(b'{"model":"m","prompt":["', rb"\u0000", b'"]}', between=b""),
    "an echoed prompt": lambda: filled(
        b'{"model":"m","echo":true,"stream":true,"n":2,"prompt":"', b"x", b'"}', between=b""
    ),
}
"""Bodies of the form before chat."""

_MESSAGE = b'{"model":"m","max_tokens":9,"messages":['
_CALLED = b'{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":'
MESSAGES: dict[str, Callable[[], bytes]] = {
    "turns by turns": lambda: filled(
        _MESSAGE,
        b'{"role":"user","content":[%b]},{"role":"assistant","content":"x"}'
        % b",".join([_PART] * 16),
        b"]}",
    ),
    "system turns": lambda: filled(
        _MESSAGE + USER + b",", b'{"role":"system","content":"%b"}' % (b"x" * 230), b"]}"
    ),
    "text blocks": lambda: filled(
        _MESSAGE, b'{"role":"user","content":[%b]}' % b",".join([_PART] * 20), b"]}"
    ),
    "calls and results": lambda: filled(
        _MESSAGE,
        _CALLED
        + b'["%b"]}}]},{"role":"user","content":[' % (b"x" * 350)
        + b'{"type":"tool_result","tool_use_id":"t","content":"","is_error":true}]}',
        b"]}",
    ),
    "a wide input": lambda: (
        _MESSAGE + _CALLED + b"[" + b"1e9," * 140_000 + b'"%b"]}}]}]}' % (b"x" * 400_000)
    ),
    "a long type": lambda: filled(
        _MESSAGE + b'{"role":"user","content":[{"type":"', b"x", b'"}]}]}', between=b""
    ),
}
"""Bodies of Anthropic's Messages API."""

_RESPONSE = b'{"model":"m","stream":true,"input":['
_FUNCTION = b'"tools":[{"type":"function","name":"f","parameters":{'
_ITEM_CALL = b'{"type":"function_call","call_id":"c","name":"f","arguments":"%b"}'
_ITEM_OUTPUT = b'{"type":"function_call_output","call_id":"c","output":"%b"}'

RESPONSES: dict[str, Callable[[], bytes]] = {
    "an input of one text": lambda: filled(
        b'{"model":"m","stream":true,"input":"', b"x", b'"}', between=b""
    ),
    "long instructions": lambda: filled(
        b'{"model":"m","stream":true,"input":"x","instructions":"', b"x", b'"}', between=b""
    ),
    "short items": lambda: filled(_RESPONSE, USER, b"]}"),
    "parts of an item": lambda: filled(
        _RESPONSE,
        b'{"role":"user","content":[%b]}' % b",".join([b'{"type":"input_text","text":"x"}'] * 20),
        b"]}",
    ),
    "calls of one id and their outputs": lambda: filled(
        _RESPONSE, _ITEM_CALL % b"{}" + b"," + _ITEM_OUTPUT % (b"x" * 400), b"]}"
    ),
    "outputs without calls": lambda: filled(_RESPONSE, _ITEM_OUTPUT % b"", b"]}"),
    "calls behind each other": lambda: filled(
        _RESPONSE,
        b",".join(_ITEM_CALL.replace(b'"c"', b'"c%d"' % number) % b"{}" for number in range(128))
        + b","
        + b",".join(
            _ITEM_OUTPUT.replace(b'"c"', b'"c%d"' % number) % (b"x" * 150) for number in range(128)
        ),
        b"]}",
    ),
    "reasoning and texts by turns": lambda: filled(
        _RESPONSE,
        b'{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"x"}]},'
        b'{"role":"assistant","content":[{"type":"output_text","text":"%b"}]}' % (b"x" * 180),
        b"]}",
    ),
    "an unknown item": lambda: filled(_RESPONSE + b'{"type":"', b"x", b'"}]}', between=b""),
    "wide parameters": lambda: keys(
        b'{"model":"m","stream":true,"input":"x",' + _FUNCTION + b'"enum":{', b"}}}]}"
    ),
    "many functions": lambda: filled(
        b'{"model":"m","input":"x","tools":[',
        b'{"type":"function","name":"f","description":"%b"}' % (b"x" * 7800),
        b"]}",
    ),
    "what to include": lambda: filled(b'{"model":"m","input":"x","include":[', b'"x"', b"]}"),
}
"""Bodies of OpenAI's Responses API."""

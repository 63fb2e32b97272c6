"""What servers answer, in whichever form, reaches a client whole and once, or fails the response.

Each input has the form that the server or the public report in its name shows.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.dialects.records import Records
from lambda_fn.events import Delta, End, Event, Failure, Finish
from tests.support.model_answers import answer, chunk, decode, sse

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def whole(message: Any, reason: Any = "stop", **more: Any) -> dict[str, Any]:
    """Return a whole chat completion."""
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE, **more}


def line(record: Any, indent: int | None = None) -> bytes:
    """Return a record as a line of JSON, or over several lines."""
    return json.dumps(record, ensure_ascii=False, indent=indent).encode() + b"\n"


SAID = {"role": "assistant", "content": "Hello there"}
WHOLE: dict[str, tuple[str, bytes]] = {
    "a message in place of a delta, with [DONE]": ("openai", sse(whole(SAID))),
    "a message in place of a delta, without [DONE]": ("openai", sse(whole(SAID), done=False)),
    "a message as plain JSON": ("openai", line(whole(SAID))),
    "a message as plain JSON without a line end": ("openai", line(whole(SAID)).strip()),
    "a message as JSON over several lines": ("openai", line(whole(SAID), indent=2)),
    "a message beside a delta that is null": (
        "openai",
        sse({"choices": [{"index": 0, "delta": None, "message": SAID, "finish_reason": "stop"}]}),
    ),
    "a message beside an empty delta": (
        "openai",
        sse({"choices": [{"index": 0, "delta": {}, "message": SAID, "finish_reason": "stop"}]}),
    ),
    "a message without a finish reason (PowerShell/AIShell#350)": (
        "openai",
        sse(whole(SAID, None)),
    ),
    "a message of parts": (
        "openai",
        sse(whole({**SAID, "content": [{"type": "text", "text": "Hello"}, " there"]})),
    ),
    "messages in pieces": (
        "openai",
        sse(
            *(
                {"object": "chat.completion.chunk", "choices": [{"message": {"content": it}}]}
                for it in ("Hello", " there")
            ),
            chunk({}, "stop"),
        ),
    ),
    "the message once more after its deltas, as MiniMax": (
        "openai",
        sse(chunk({"content": "Hello"}), chunk({"content": " there"}), whole(SAID)),
    ),
    "a text": (
        "openai",
        sse(
            {
                "object": "text_completion",
                "choices": [
                    {"index": 0, "text": "Hello there", "logprobs": None, "finish_reason": "stop"}
                ],
            }
        ),
    ),
    "texts in pieces": (
        "openai",
        sse(
            *(
                {"choices": [{"index": 0, "text": it, "finish_reason": None}]}
                for it in ("Hello", " there")
            ),
            {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
        ),
    ),
    "a text beside the same delta, as Together": (
        "openai",
        sse(
            {
                "choices": [
                    {"index": 0, "text": "Hello there", "delta": SAID, "finish_reason": "stop"}
                ]
            }
        ),
    ),
    "a delta that is a text": ("openai", sse(chunk("Hello there"), chunk({}, "stop"))),
    "a text in the delta": ("openai", sse(chunk({"text": "Hello there"}), chunk({}, "stop"))),
    "TGI, whole": (
        "tgi",
        line(
            {
                "generated_text": "Hello there",
                "details": {"finish_reason": "eos_token", "generated_tokens": 5},
            }
        ),
    ),
    "TGI, whole, as a list": ("tgi", line([{"generated_text": "Hello there"}])),
    "LMI, whole, without details": ("lmi-inputs", line({"generated_text": "Hello there"})),
    "TGI, whole, in an event": ("tgi", sse({"generated_text": "Hello there"}, done=False)),
    "LMI, a chat, whole": ("lmi", line(whole(SAID)) + b"\n"),
    "LMI, a text that only the last token's record has": (
        "lmi-inputs",
        line(
            {
                "token": {"id": 2, "text": "", "special": True},
                "generated_text": "Hello there",
                "details": {"finish_reason": "length", "generated_tokens": 5},
            }
        ),
    ),
    "Ollama, a chat": (
        "openai",
        b"".join(
            line({"model": "m", "message": {"role": "assistant", "content": it}, "done": False})
            for it in ("Hello", " there")
        )
        + line(
            {
                "model": "m",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 12,
                "eval_count": 5,
            }
        ),
    ),
    "Ollama, a completion": (
        "openai",
        line({"response": "Hello there", "done": False}) + line({"response": "", "done": True}),
    ),
    "empty tool calls beside the text (microsoft/vscode#330038)": (
        "openai",
        sse(
            chunk({"content": "Hello", "tool_calls": []}),
            chunk({"content": " there", "tool_calls": []}),
            chunk({}, "stop"),
        ),
    ),
    "the last content beside the finish (jeremychone/rust-genai#164)": (
        "openai",
        sse(chunk({"content": "Hello"}), chunk({"content": " there"}, "stop")),
    ),
    "a null content (langgenius/dify#2270)": (
        "openai",
        sse(
            chunk({"role": "assistant", "content": None}),
            chunk({"content": "Hello there"}),
            chunk({"content": None}, "stop"),
        ),
    ),
    "content as parts (databricks/appkit#559)": (
        "openai",
        sse(chunk({"content": [{"type": "text", "text": "Hello there"}]}), chunk({}, "stop")),
    ),
    "references among the parts (meilisearch/meilisearch#6327)": (
        "openai",
        sse(
            chunk(
                {
                    "content": [
                        {"type": "reference", "reference_ids": [1]},
                        {"type": "text", "text": "Hello there"},
                    ]
                }
            ),
            chunk({}, "stop"),
        ),
    ),
    "one part that is no list": (
        "openai",
        sse(chunk({"content": {"type": "text", "text": "Hello there"}}), chunk({}, "stop")),
    ),
    "a choice without an index": (
        "openai",
        sse({"choices": [{"delta": {"content": "Hello there"}, "finish_reason": "stop"}]}),
    ),
    "an index that is a text": (
        "openai",
        sse({"choices": [{"index": "0", "delta": SAID, "finish_reason": "stop"}]}),
    ),
    "choices that are null": (
        "openai",
        sse(
            {"object": "chat.completion.chunk", "choices": None},
            chunk({"content": "Hello there"}, "stop"),
        ),
    ),
    "an odd member beside the text": (
        "openai",
        sse(
            chunk({"content": "Hello there"}, object=5, timings=[]), chunk({}, "stop", object=None)
        ),
    ),
    "a reason by its name in JavaScript": (
        "openai",
        sse(
            {"choices": [{"index": 0, "delta": {"content": "Hello there"}, "finishReason": "stop"}]}
        ),
    ),
    "an error that is empty": (
        "openai",
        sse(chunk({"content": "Hello there"}, error=None), chunk({}, "stop", error={})),
    ),
}


@pytest.mark.parametrize(("dialect", "data"), WHOLE.values(), ids=WHOLE)
def test_every_form_of_a_text_is_read(dialect: str, data: bytes) -> None:
    """A client has the text once, and `stop` or the server's own reason."""
    found = answer(data, dialect)
    assert found.failure is None
    assert (found.text, found.reason in {"stop", "length"}) == ("Hello there", True)
    assert found.usage["completion_tokens"] >= 1


def test_a_whole_answer_without_counts_is_metered() -> None:
    """A whole text without counts has about a token for four bytes, and not one in all."""
    text = "word " * 400
    told = whole({"content": text}, usage=None)
    for data in (sse(told), line({"generated_text": text}), line(told)):
        assert 400 <= answer(data).usage["completion_tokens"] <= 520


def test_whole_choices_are_read() -> None:
    """A whole response of two choices has both, and the server's sum of tokens."""
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in enumerate("ab")
    ]
    found = answer(
        sse({"object": "chat.completion", "choices": choices, "usage": USAGE}), choices=2
    )
    assert (found.texts, found.counts) == (["a", "b"], (12, 5, 0, 0))


UNREAD = {
    "the text in an unknown member of the choice": {
        "choices": [{"index": 0, "output": "Hi", "finish_reason": "stop"}]
    },
    "the text in an unknown member of the delta": chunk({"speech": "Hi"}, "stop"),
    "the text in an unknown member of the message": whole({"role": "assistant", "answer": "Hi"}),
    "the text beside the choices": chunk({}, "stop", output_text="Hi"),
    "an unknown part": chunk({"content": [{"type": "audio_out", "blob": "Hi"}]}, "stop"),
    "no choice": {"object": "chat.completion", "choices": [], "usage": USAGE},
    "a text that grows, as SGLang's own API": {"text": "Hi", "meta_info": {"finish_reason": None}},
    "llama.cpp's own API": {"content": "Hi", "stop": True},
    "a predicted text": {"predictions": ["Hi"]},
    "Anthropic's events": {
        "type": "content_block_delta",
        "delta": {"type": "text_delta", "text": "Hi"},
    },
    "OpenAI's other events": {"type": "response.output_text.delta", "delta": "Hi"},
    "tool calls in another form": chunk({"tool_calls": ["f(1)"]}, "tool_calls"),
    "a tool call without a name": chunk(
        {"tool_calls": [{"id": "a", "custom": {"name": "f"}}]}, "tool_calls"
    ),
    "a content that is a number": chunk({"content": 5}, "stop"),
    "no more than a delta and [DONE] (vaadin/flow-components#9195)": chunk({"content": "Hi"}),
    "more in the message than in the deltas": {
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
        "object": "chat.completion.chunk",
    },
}


@pytest.mark.parametrize("record", UNREAD.values(), ids=UNREAD)
def test_what_is_not_understood_fails(record: Any) -> None:
    """A response that carries what cannot be read never ends as an empty `stop`."""
    for data in (sse(record), sse(record, done=False), line(record)):
        events = decode("openai", data)
        assert isinstance(events[-1], Failure)
        assert not any(isinstance(event, Finish) for event in events)


def test_a_message_that_says_more_than_its_deltas_fails() -> None:
    """Deltas of which a part is lost are not taken for the answer."""
    found = answer(sse(chunk({"content": "Hello"}), whole(SAID)))
    assert found.failure is not None


def test_an_answer_that_goes_on_in_another_form_fails() -> None:
    """A part of an answer is not dropped, also behind one that is read."""
    found = answer(sse(chunk({"content": "Hello"}), chunk({"output_text": " there"}, "stop")))
    assert found.failure is not None


def test_an_answer_may_be_empty() -> None:
    """An answer may be empty, with any other members of its record."""
    last = {**chunk({}, "stop"), "service_tier": "default", "metrics": {"ttft": 1}}
    last["choices"][0] |= {"stop_reason": "</s>", "token_ids": [2], "matched_stop": 2}
    found = answer(sse(chunk({"role": "assistant", "content": ""}), last))
    assert (found.text, found.reason) == ("", "stop")


PREMATURE = {
    "stop on every chunk (suhaibbinyounis/github-copilot-api-vscode#100)": [
        "stop",
        "stop",
        "max_tokens",
    ],
    "stop after the reasoning (open-webui/open-webui#16377)": ["stop", None, "length"],
    "tool_calls, and stop once more": ["tool_calls", "tool_calls", "length"],
}


@pytest.mark.parametrize("reasons", PREMATURE.values(), ids=PREMATURE)
def test_a_finish_is_held_until_nothing_can_follow(reasons: list[str | None]) -> None:
    """A reason on an intermediate chunk ends nothing. The last one counts, and comes once."""
    records = [
        chunk({"content": text}, reason) for text, reason in zip("abc", reasons, strict=True)
    ]
    data = sse(*records, {"choices": [], "usage": USAGE})
    assert (answer(data).text, answer(data).reason) == ("abc", "length")
    kinds = [type(event) for event in decode("openai", data)]
    assert kinds.index(Finish) > max(place for place, kind in enumerate(kinds) if kind is Delta)


def test_an_empty_stop_after_the_reason_changes_nothing() -> None:
    """A `stop` that follows another reason at once is an echo of the end."""
    found = answer(sse(chunk({"content": "a"}), chunk({}, "length"), chunk({}, "stop")))
    assert found.reason == "length"


def test_a_reason_beside_one_that_stays_null() -> None:
    """`stop_reason` is the reason if `finish_reason` is null to the end."""
    last = chunk({}, None)
    last["choices"][0]["stop_reason"] = "max_tokens"
    assert answer(sse(chunk({"content": "a"}), last)).reason == "length"


def test_failures_within_an_answer() -> None:
    """An aborted answer, and an error beside the choices or in one, end in a failure."""
    for last in (
        chunk({}, "abort"),
        chunk({}, "ABORTED"),
        chunk({}, "error", error={"message": "died"}),
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "died"}}]},
    ):
        found = answer(sse(chunk({"content": "a"}), last))
        assert found.failure is not None
        assert found.failure.code in {"aborted", "engine_error"}


def test_log_probabilities_of_a_list_of_one() -> None:
    """LMI's rolling batch puts log probabilities into a list."""
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    record = chunk({"content": "a"}, "stop")
    record["choices"][0]["logprobs"] = [{"content": [entry]}]
    delta = next(event for event in decode("lmi", line(record)) if isinstance(event, Delta))
    assert json.loads(bytes(delta.logprobs)) == {"content": [entry], "refusal": None}


def test_a_limit_that_the_server_was_not_told_ends_the_answer() -> None:
    """A choice ends with the record that reaches the limit, and the answer with the last choice."""
    texts = [chunk({"content": str(number)}) for number in range(9)]
    events = decode("openai", sse(*texts, chunk({}, "stop")), limit=3)
    assert events[-3:] == [Finish("length"), *events[-2:-1], End()]
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == 3
    within = decode("openai", sse(*texts[:2], chunk({"content": "2"}, "stop")), limit=3)
    assert Finish("stop") in within
    two = [chunk({"content": "a"}, index=index) for index in (0, 1, 0, 1, 0, 1)]
    events = decode("openai", sse(*two), choices=2, limit=2)
    assert events[-4:-2] == [Finish("length"), Finish("length", 1)]


def test_log_probabilities_have_every_member() -> None:
    """Log probabilities have the members that OpenAI's document requires, and finite numbers."""
    told = {"token": "a", "token_id": 5, "logprob": float("-inf")}
    first = chunk({"content": "a"})
    first["choices"][0]["logprobs"] = {"content": [{**told, "top_logprobs": [told]}]}
    found = next(it for it in decode("openai", sse(first, chunk({}, "stop"))) if type(it) is Delta)
    entry = {"token": "a", "logprob": -9999.0, "bytes": None}
    assert json.loads(bytes(found.logprobs)) == {
        "content": [{**entry, "top_logprobs": [entry]}],
        "refusal": None,
    }


ODD: tuple[Any, ...] = (None, 0, 1, -1, 2.5, "", "a", "stop", True, [], {}, {"code": 1}, [{}])
PLACES = {
    "record": ("object", "usage", "error", "timings", "x_groq", "token", "message", "eval_count"),
    "choice": ("index", "delta", "text", "finish_reason", "stop_reason", "logprobs", "error"),
    "delta": ("content", "reasoning", "tool_calls", "refusal", "role", "text", "annotations"),
    "usage": ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"),
}
CHANGES = st.lists(
    st.sampled_from([(place, name) for place, names in PLACES.items() for name in names]).flatmap(
        lambda at: st.tuples(st.just(at), st.sampled_from(ODD))
    ),
    max_size=2,
)


@given(
    sent=st.lists(st.tuples(st.text(max_size=3), st.integers(0, 1), CHANGES), max_size=6),
    counted=st.booleans(),
    choices=st.integers(1, 2),
)
def test_a_usual_chunk_is_read_as_any_other(
    sent: list[tuple[str, int, list[tuple[tuple[str, str], Any]]]], counted: bool, choices: int
) -> None:
    """The short way for usual chunks has the events, the counts and the errors of the general."""
    short, general = Records(choices), Records(choices)
    for number, (text, index, changes) in enumerate([("a", 0, []), *sent]):
        usage = {"prompt_tokens": 9, "completion_tokens": number + 1, "total_tokens": number + 10}
        delta: dict[str, Any] = {"content": text}
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        record: dict[str, Any] = {"object": "chat.completion.chunk", "choices": [choice]}
        parts = {"record": record, "choice": choice, "delta": delta, "usage": usage}
        for (place, name), value in changes:
            parts[place][name] = value
        if counted:
            record.setdefault("usage", usage)
        payload = json.dumps(record).encode()
        general._odd = 99
        assert read(short, payload) == read(general, payload)
    assert short.usage == general.usage
    assert short.finished is general.finished
    assert short.cut("deadline") == general.cut("deadline")


def read(records: Records, payload: bytes) -> tuple[list[Event], type[Exception] | None]:
    """Return the events of a record, and the error that it raises."""
    events: list[Event] = []
    try:
        records.read(payload, events)
    except (ValueError, RecursionError) as error:
        return events, type(error)
    return events, None


def test_the_short_way_is_taken_behind_reasoning() -> None:
    """Reasoning does not turn the short way off, and one odd chunk in between does not either."""

    def chunk(**delta: str) -> bytes:
        return json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()

    records = Records(1)
    for sent in (
        *[{"reasoning": "r"}] * 20,
        *[{"content": "a"}, {"content": "b", "refusal": "c"}] * 20,
    ):
        read(records, chunk(**sent))
    assert records._odd <= 1
    assert type(read(records, chunk(content="d"))[0][0]) is Delta

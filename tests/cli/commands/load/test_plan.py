"""The plan of a load test."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load import plan
from cli.commands.load.plan import MAX_REQUESTS, Ask, Plan, Rate, read_asks
from cli.lib.project import UsageError
from tests.support.pipes import sending

RATES = st.floats(0, 500)
SECONDS = st.floats(0.1, 10)


def test_constant_arrivals_are_equally_far_apart() -> None:
    """At 4 a second, requests are sent every quarter of a second, from the start."""
    plan = Plan(Rate(4, 4), 1, None, arrivals="constant")
    assert list(plan.moments()) == pytest.approx([0, 0.25, 0.5, 0.75])


def test_a_ramp_has_its_area() -> None:
    """A ramp from 0 to 10 a second has 50 requests in 10 s, half of them in the last 3 s."""
    moments = list(Plan(Rate(0, 10), 10, None, arrivals="constant").moments())
    assert len(moments) == 50
    assert moments[25] == pytest.approx(10 * 0.5**0.5)


@given(RATES, RATES, SECONDS, st.sampled_from(["poisson", "constant"]), st.integers(0, 99))
def test_moments_rise_within_the_run(
    first: float, last: float, seconds: float, arrivals: str, seed: int
) -> None:
    """All moments are within the run, in order, and the same seed has the same."""
    plan = Plan(Rate(first, last), seconds, None, arrivals, seed)  # type: ignore[arg-type]
    moments = list(plan.moments())
    assert moments == list(plan.moments())
    assert all(before <= after for before, after in pairwise(moments))
    assert all(0 <= it <= seconds * 1.000001 for it in moments)
    if arrivals == "constant":
        assert len(moments) == pytest.approx(plan.rate.expected(seconds), abs=1)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 100), st.floats(0, 1))
def test_a_moment_is_where_the_expected_count_is_reached(
    first: float, last: float, seconds: float, share: float
) -> None:
    """The moment of a count is the inverse of the integral of the rate."""
    rate = Rate(first, last)
    count = share * rate.expected(seconds)
    at = rate.moment(count, seconds)
    slope = (last - first) / seconds
    assert first * at + slope / 2 * at * at == pytest.approx(count, rel=1e-6, abs=1e-6)


def test_poisson_arrivals_have_the_variance_of_their_mean() -> None:
    """In intervals of equal length, counts vary as those of a Poisson process do."""
    moments = list(Plan(Rate(20, 20), 2000, None).moments())
    counts = [0] * 2000
    for moment in moments:
        counts[int(moment)] += 1
    mean = sum(counts) / len(counts)
    variance = sum((it - mean) ** 2 for it in counts) / len(counts)
    assert mean == pytest.approx(20, rel=0.05)
    assert variance == pytest.approx(20, rel=0.15)


def test_shares_of_readers() -> None:
    """Slow readers, droppers and resumers have their shares, and all others read normally."""
    plan = Plan(Rate(1000, 1000), 4, None, slow=0.2, droppers=0.1, resumers=0.3)
    kinds = [it.reader for it in plan]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    expected = {"slow": 0.2, "dropper": 0.1, "resumer": 0.3, "normal": 0.4}
    assert shares == pytest.approx(expected, abs=0.03)


def test_made_prompts_have_their_length_and_differ() -> None:
    """A made prompt has as many words as asked for, and no two are alike."""
    plan = Plan(Rate(10, 10), 5, None, prompt_tokens=12)
    prompts = [it.ask.prompt for it in plan]
    assert {len(it.split()) for it in prompts} == {12}
    assert len(set(prompts)) == len(prompts)
    assert prompts == [it.ask.prompt for it in plan]


def test_prompts_of_a_file_take_turns(tmp_path: Path) -> None:
    """Each line is a prompt. After the last one, the first is next."""
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo\n")
    plan = Plan(Rate(3, 3), 1, read_asks(file, 9), arrivals="constant")
    assert [it.ask for it in plan] == [Ask("one", 9), Ask("two", 9), Ask("one", 9)]


def test_objects_of_a_file(tmp_path: Path) -> None:
    """A file of JSON lines has prompts of several lines, and lengths of their own."""
    file = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "a\nb"}, {"prompt": "c", "max_tokens": 3}]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert read_asks(file, 9) == [Ask("a\nb", 9), Ask("c", 3)]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x1c"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_line_ends_separate_prompts(tmp_path: Path, separator: str, end: str) -> None:
    """What Unicode calls an end of a line, too, is text. So is nothing before the first line."""
    prompt = f"a{separator}b"
    text, objects = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_bytes(f"\ufeff{prompt}{end}c{end}".encode())
    line = f'{{"prompt": "{prompt}"}}' if separator in "\u2028\x85" else '{"prompt": "a"}'
    objects.write_bytes(f"\ufeff{line}{end}".encode())
    assert read_asks(text, 9) == [Ask(prompt, 9), Ask("c", 9)]
    assert [ask.prompt for ask in read_asks(objects, 9)] == [json.loads(line)["prompt"]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "\n \n", "there is no prompt"),
        ("p.txt", b"\xff", "not UTF-8"),
        ("p.jsonl", "{", "line 1: this is not JSON"),
        ("p.jsonl", "[" * 100_000, "line 1: this is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n["x"]', "line 2: must be an object"),
        ("p.jsonl", '{"prompt": ""}', 'a text "prompt"'),
        ("p.jsonl", r'{"prompt": "\ud800"}', "half a character"),
        ("p.jsonl", '{"prompt": "a", "max_tokens": true}', "max_tokens"),
        ("p.jsonl", '{"prompt": "a", "max_tokens": 0}', "max_tokens"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, name: str, text: str | bytes, said: str
) -> None:
    """The error has the file, the line and what is wrong. It is one of the command line."""
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said) as caught:
        read_asks(file, 9)
    assert str(file) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    """The error has the reason of the system."""
    with pytest.raises(UsageError, match="No such file"):
        read_asks(tmp_path / "none", 1)


def test_a_plan_is_bounded() -> None:
    """A plan of too many requests is refused, with what to change."""
    with pytest.raises(UsageError, match="--rate"):
        Plan(Rate(MAX_REQUESTS, MAX_REQUESTS), 2, None).check()


def test_a_file_without_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may have no end, so it is read up to the limit."""
    monkeypatch.setattr(plan, "_MAX_FILE", 10)
    with sending(tmp_path / "pipe", b"a" * 100) as path, pytest.raises(UsageError, match="at most"):
        read_asks(path, 9)

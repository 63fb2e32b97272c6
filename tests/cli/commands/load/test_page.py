"""The report of a run as one HTML file."""

import re
from html.parser import HTMLParser

from cli.commands.load.ledger import Checked
from cli.commands.load.page import page
from tests.support.load_runs import HOSTILE, every_ending, record, report_of, run_of

VOID = {"meta"}


class _Balanced(HTMLParser):
    """Collects tags, and fails where one is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> list[str]:
    """Return the tags of a page whose tags are all closed."""
    parser = _Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser.seen


def test_the_page_is_whole_and_needs_no_network() -> None:
    """Plots are inline; nothing is loaded, and nothing could be."""
    text = page(report_of(every_ending()))
    seen = tags(text)
    assert seen.count("svg") == 5
    assert {"script", "img", "link", "iframe"} & set(seen) == set()
    assert not re.search(r"(src|href)=|url\(", text)
    assert "default-src 'none'" in text


def test_a_run_that_ctrl_c_ended() -> None:
    """The page says how many requests of the whole plan were sent; shares are of those."""
    text = page(report_of(run_of([record(0), record(1, "cut")], stopped=True), planned=60))
    assert "2 of 60 requests sent" in text
    assert "Ctrl-C ended the run." in text
    assert "50.0%" in text
    assert "Ctrl-C" not in page(report_of(every_ending()))


def test_texts_of_a_server_are_escaped() -> None:
    """No text of a server becomes a tag."""
    text = page(report_of(every_ending(), checked=Checked("nothing", HOSTILE)))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3


def test_the_page_is_light_and_dark() -> None:
    """Colours follow the reader's scheme."""
    assert "prefers-color-scheme: dark" in page(report_of(every_ending()))


def test_a_page_of_nothing() -> None:
    """A run without requests, or without complete answers, has a page without their plots."""
    assert "svg" not in tags(page(report_of(run_of([]))))
    text = page(report_of(run_of([record(0, "cut")])))
    assert "No answer was complete" in text
    tags(text)

"""Sealed texts open for the key that got them, and for nobody else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.seals import Forged, Seals

SEALS = Seals(("new", "old"), "key1")
TEXT = "Alice wants the launch on Tuesday. 🚀"


def raw(sealed: str) -> bytes:
    """Return the bytes of a sealed text."""
    return base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))


@given(st.text())
def test_what_was_sealed_opens(text: str) -> None:
    """A sealed text opens to itself, and neither shows it nor is shorter than it."""
    sealed = SEALS.seal(text)
    assert SEALS.open(sealed) == text
    assert len(sealed) > len(text.encode())
    assert len(text) < 4 or text.encode() not in raw(sealed)


def test_the_same_text_is_sealed_differently_each_time() -> None:
    """Nobody can tell from two sealed texts whether they are the same."""
    assert SEALS.seal(TEXT) != SEALS.seal(TEXT)


def test_a_secret_can_be_replaced() -> None:
    """What was sealed with the secret before opens until that is dropped."""
    sealed = Seals(("old",), "key1").seal(TEXT)
    assert SEALS.open(sealed) == TEXT
    with pytest.raises(Forged):
        Seals(("new",), "key1").open(sealed)


@pytest.mark.parametrize("other", [Seals(("new",), "key2"), Seals(("other",), "key1")])
def test_another_key_or_deployment_cannot_open_it(other: Seals) -> None:
    """A text opens for its own key, in its own deployment."""
    with pytest.raises(Forged):
        other.open(SEALS.seal(TEXT))


def test_there_is_one_way_to_write_a_sealed_text() -> None:
    """Bits that decoding ignores, padding and the other alphabet are changes, too."""
    sealed = SEALS.seal("a")
    others = {sealed[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"}
    for other in {*others, sealed + "="} - {sealed}:
        with pytest.raises(Forged):
            SEALS.open(other)


def test_a_changed_text_does_not_open() -> None:
    """No byte can be changed, removed or added: the version, number, text and MAC are one."""
    data = raw(SEALS.seal(TEXT))
    changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    cut = [data[:at] for at in range(len(data))]
    for wrong in (*changed, *cut, data + b"\0"):
        with pytest.raises(Forged):
            SEALS.open(base64.urlsafe_b64encode(wrong).decode())


@given(st.text() | st.text(alphabet="ABab01-_=\n"))
def test_anything_else_does_not_open(text: str) -> None:
    """Whatever a client sends, it is answered in one way."""
    with pytest.raises(Forged):
        SEALS.open(text)

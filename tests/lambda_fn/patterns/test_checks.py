"""Check digits are those of the standards."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.patterns import checks


@given(st.from_regex(r"\A[2-6][0-9]{11,17}\Z"))
def test_one_digit_makes_a_card_right(number: str) -> None:
    """Of the ten numbers that differ in their last digit, one is a card's."""
    right = [digit for digit in "0123456789" if checks.luhn(number + digit)]
    assert len(right) == 1 or len(set(number)) == 1


@given(st.from_regex(r"\A[A-Z0-9]{11,20}\Z"), st.sampled_from(["DE", "GB", "NO"]))
def test_one_pair_of_digits_makes_an_account_right(number: str, country: str) -> None:
    """Of the pairs from 02 to 98, one is an account's."""
    right = [pair for pair in range(2, 99) if checks.iban(f"{country}{pair:02}{number}")]
    assert len(right) == 1


@pytest.mark.parametrize(
    ("text", "right"),
    [("a@b.co", True), ("a..b@c.de", False), (".a@c.de", False), ("a.@c.de", False),
     ("a@b", False), ("a@-b.de", False), ("a@b-.de", False), ("a@b..de", False),
     ("a@b.c1", False), ("a@xn--bcher-kva.xn--p1ai", True), (f"a@{'b' * 64}.de", False)],
)  # fmt: skip
def test_addresses_of_mail(text: str, right: bool) -> None:
    """The domain has labels and a top level."""
    assert checks.email(text) is right


def test_secrets_of_aws_look_random() -> None:
    """Most random texts of 40 characters do. Texts of one case or few characters do not."""
    source = random.Random(1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+"
    found = [checks.aws_secret("".join(source.choices(alphabet, k=40))) for _ in range(200)]
    assert sum(found) >= 195
    assert not checks.aws_secret("a1" * 20)
    assert not checks.aws_secret("aB3" * 13 + "a")


def test_addresses_of_networks() -> None:
    """Four numbers below 256, or what the operating system reads as IPv6."""
    assert checks.ipv4("0.10.255.1")
    assert not checks.ipv4("1.2.3.256")
    assert not checks.ipv4("01.2.3.4")
    assert checks.ipv6("::1")
    assert not checks.ipv6("::")
    assert not checks.ipv6("1:2:3")
    assert not checks.ipv6("1:2\x00:3")


def test_numbers_of_phones() -> None:
    """They have 8 to 15 digits without the prefix of international calls."""
    assert checks.phone("+49 (30) 123456")
    assert not checks.phone("+49 1234")
    assert not checks.phone("0049 1234 5678 9012 3456")

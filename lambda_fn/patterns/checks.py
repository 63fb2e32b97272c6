"""Check digits and other facts about a match that no pattern can express."""

import socket

_NOT_DIGITS = str.maketrans("", "", " -.()/+")
_DOUBLED = "0246813579"
"""By a digit: the sum of the digits of its double."""


def luhn(text: str) -> bool:
    """Return whether a card's number, with separators, has the right check digit (ISO/IEC 7812).

    A number of one repeated digit may have it by chance, and is not a card's.
    """
    digits = text.translate(_NOT_DIGITS)
    if digits[0] not in "23456" or len(set(digits)) == 1:
        return False
    ones = sum(map(int, digits[-1::-2]))
    return (ones + sum(int(_DOUBLED[int(digit)]) for digit in digits[-2::-2])) % 10 == 0


def iban(text: str) -> bool:
    """Return whether an account number, with blanks, has the right check digits (ISO 13616)."""
    number = text.replace(" ", "").upper()
    if not 15 <= len(number) <= 34:
        return False
    turned = number[4:] + number[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def email(text: str) -> bool:
    """Return whether an address has a domain with a top level, and no dots side by side."""
    local, _, domain = text.rpartition("@")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    *labels, top = domain.split(".")
    if not labels or len(top) > 63 or not (top.isalpha() or top.startswith("xn--")):
        return False
    return all(
        0 < len(label) < 64 and not label.startswith("-") and not label.endswith("-")
        for label in labels
    )


def phone(text: str) -> bool:
    """Return whether a number has 8 to 15 digits, the most of ITU-T E.164, and whole brackets."""
    return (
        text.count("(") == text.count(")")
        and 8 <= len(text.translate(_NOT_DIGITS).removeprefix("00")) <= 15
    )


def ipv4(text: str) -> bool:
    """Return whether each of four numbers is below 256, and has no zero in front."""
    return all(
        int(part) < 256 and (part == "0" or not part.startswith("0")) for part in text.split(".")
    )


def ipv6(text: str) -> bool:
    """Return whether a text is an address, and not words of a program such as `face::add`."""
    if text.count(":") < 2 or not any(character.isdecimal() for character in text):
        return False
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True


def aws_secret(text: str) -> bool:
    """Return whether 40 characters look random: they have both cases, digits and much variety."""
    return (
        any(character.isdecimal() for character in text)
        and any(character.isupper() for character in text)
        and any(character.islower() for character in text)
        and len(set(text)) >= 16
    )

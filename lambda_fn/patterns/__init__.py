"""Patterns of text, and the scanner that finds them in a stream. Pure.

`syntax` reads a pattern, `machine` matches several at once, `known` has those that come with the
project, `checks` their check digits, and `scanner` finds and replaces their matches.
"""

from typing import Literal, get_args

Kind = Literal[
    "private_key",
    "jwt",
    "api_key",
    "aws_access_key",
    "aws_secret_key",
    "email",
    "card",
    "iban",
    "phone",
    "ip",
]
"""The kinds that `known` has patterns of. Where two match the same text, the first counts."""
KINDS: tuple[Kind, ...] = get_args(Kind)

r"""The patterns that come with the project, by the kind that they find.

A match is decided within 64 characters, that of an e-mail address within 318. What belongs to the
match after that is its tail.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from string import ascii_letters, digits

from lambda_fn.patterns import KINDS, Kind, checks
from lambda_fn.patterns.machine import Machine, Pattern, Tail
from lambda_fn.patterns.syntax import is_word, read, words

_ALNUM = frozenset(ascii_letters + digits)
_digit = frozenset(digits).__contains__
_BASE64 = _ALNUM | {"/", "+", "="}
_URL64 = _ALNUM | {"-", "_"}
_in_base64, _in_url64 = _BASE64.__contains__, _URL64.__contains__
_not_before = (_BASE64 - {"="}).__contains__
_LATIN = frozenset(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x250)]))
_LETTERS = "A-Za-z0-9À-ÖØ-öø-ɏ"
_ID = r"[A-Za-z0-9_-]"
_KEYS = "|".join(
    (
        rf"sk-ant-{_ID}{{16}}",
        rf"sk-{_ID}{{20}}",  # OpenAI's, and those of this service
        r"gh[pousr]_[A-Za-z0-9]{20}",
        r"github_pat_[A-Za-z0-9_]{20}",
        r"glpat-" + _ID + "{20}",
        r"xox[abeoprs]-[A-Za-z0-9-]{10}",
        r"xapp-[A-Za-z0-9-]{10}",
        r"[srp]k_(live|test)_[A-Za-z0-9]{16}",
        r"whsec_[A-Za-z0-9+/=]{16}",
        rf"AIza{_ID}{{35}}",
        rf"GOCSPX-{_ID}{{20}}",
        rf"ya29\.{_ID}{{20}}",
        r"hf_[A-Za-z0-9]{30}",
        r"npm_[A-Za-z0-9]{30}",
    )
)
_JOSE = "hbGciOi|0eXAiOi|raWQiOi|lbmMiOi|jdHkiOi|qa3UiOi|qd2siOi|4NXQiOi|4NWMiOi|4NXUiOi|6aXAiOi"
"""What follows `eyJ` where the first member is alg, typ, kid, enc, cty, jku, jwk, x5t or alike."""
_KEY_BODY = (_BASE64 | frozenset(" \t\r\n\\:,-")).__contains__


def _pattern(
    kind: str,
    source: str,
    check: Callable[[str], bool] | None = None,
    before: Callable[[str], object] | None = is_word,
    after: Callable[[str], object] | None = is_word,
    tail: Tail | None = None,
) -> Pattern:
    return Pattern(kind, read(source), check, before, after, tail)


def _email() -> tuple[Pattern, ...]:
    letters = _ALNUM | _LATIN
    source = rf"[{_LETTERS}._%+-]{{1,64}}@[{_LETTERS}.-]{{1,251}}[{_LETTERS}]{{2}}"
    before, after = (letters | set("._%+-")).__contains__, (letters | set("_-")).__contains__
    return (_pattern("email", source, checks.email, before, after),)


def _phone() -> tuple[Pattern, ...]:
    inside = (_ALNUM | set("_+.-/")).__contains__
    world = r"(\+|00)[1-9]\d{0,2}([ ./-]?\(?\d{1,4}\)?){2,7}"
    america = r"(\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"
    return (
        _pattern("phone", world, checks.phone, inside),
        _pattern("phone", america, None, inside),
    )


def _card() -> tuple[Pattern, ...]:
    before = frozenset(digits + ".").__contains__
    return (_pattern("card", r"[2-6]([ -]?[0-9]){12,18}", checks.luhn, before, _digit),)


def _iban() -> tuple[Pattern, ...]:
    return (_pattern("iban", r"(?i)[a-z]{2}[0-9]{2}( ?[a-z0-9]){11,30}", checks.iban),)


def _ip() -> tuple[Pattern, ...]:
    before = (_ALNUM | set("_.")).__contains__
    number = "[0-9]{1,3}"
    return (
        _pattern("ip", rf"{number}\.{number}\.{number}\.{number}", checks.ipv4, before),
        _pattern(
            "ip",
            r"[0-9A-Fa-f:][0-9A-Fa-f:.]{1,44}",
            checks.ipv6,
            (_ALNUM | set("_.:")).__contains__,
            (_ALNUM | set("_:")).__contains__,
        ),
    )


def _aws_access_key() -> tuple[Pattern, ...]:
    return (_pattern("aws_access_key", r"A(KIA|SIA|ROA|IDA|GPA|NPA|NVA|IPA|BIA|CCA)[A-Z2-7]{16}"),)


def _aws_secret_key() -> tuple[Pattern, ...]:
    source = r"[A-Za-z0-9/+]{40}"
    return (_pattern("aws_secret_key", source, checks.aws_secret, _not_before, _in_base64),)


def _api_key() -> tuple[Pattern, ...]:
    tail = Tail((_URL64 | set("+/=")).__contains__)
    return (_pattern("api_key", _KEYS, None, is_word, None, tail),)


def _jwt() -> tuple[Pattern, ...]:
    source = rf"eyJ({_JOSE})|ey{_ID}{{8,59}}\.ey"
    return (_pattern("jwt", source, None, _in_url64, None, Tail((_URL64 | {"."}).__contains__)),)


def _private_key() -> tuple[Pattern, ...]:
    tail = Tail(_KEY_BODY, until="KEY-----")
    source = r"-----BEGIN ([A-Z0-9]{1,12} ){0,2}PRIVATE KEY-----"
    return (
        _pattern("private_key", source, None, None, None, tail),
        _pattern(
            "private_key",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----",
            None,
            None,
            None,
            Tail(_KEY_BODY, until="KEY BLOCK-----"),
        ),
    )


_MAKERS: dict[Kind, Callable[[], tuple[Pattern, ...]]] = {
    "private_key": _private_key,
    "jwt": _jwt,
    "api_key": _api_key,
    "aws_access_key": _aws_access_key,
    "aws_secret_key": _aws_secret_key,
    "email": _email,
    "card": _card,
    "iban": _iban,
    "phone": _phone,
    "ip": _ip,
}
ALIKE = frozenset({"jwt", "private_key"})
"""Kinds that are decided by a beginning that many texts share, so they get no pseudonym."""


@cache
def patterns_of(kind: Kind) -> tuple[Pattern, ...]:
    """Return the patterns of a kind."""
    return _MAKERS[kind]()


def own_pattern(name: str, source: str) -> Pattern:
    """Return a pattern of the deployment's own. Raises PatternError."""
    return Pattern(name, read(source))


def own_words(name: str, several: Sequence[str]) -> Pattern:
    """Return a pattern of words of the deployment's own. Raises PatternError."""
    return Pattern(name, words(several))


@lru_cache(maxsize=8)
def machine_of(
    kinds: frozenset[str],
    patterns: tuple[tuple[str, str], ...] = (),
    lists: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> Machine:
    """Return the machine of a policy. Answers with the same policy share it.

    Args:
        kinds: The kinds to find.
        patterns: Patterns of the deployment's own, by name. They come first.
        lists: Lists of words, by name.

    """
    found = [own_pattern(name, source) for name, source in patterns]
    found += [own_words(name, several) for name, several in lists]
    found += [pattern for kind in KINDS if kind in kinds for pattern in patterns_of(kind)]
    return Machine(found)

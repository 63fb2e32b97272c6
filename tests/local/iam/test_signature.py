"""Signature Version 4: botocore's signatures are valid, and others are rejected in AWS's words."""

import hashlib
import time
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode
from hypothesis import given
from hypothesis import strategies as st

from local.cloud import REGION
from local.iam import signature
from local.iam.signature import Sent, Signature, SignatureError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = Credentials("AKIDEXAMPLE", SECRET, "a token/+=")
AUTHS = {"dynamodb": SigV4Auth, "lambda": SigV4Auth, "s3": S3SigV4Auth}
QUERY_AUTHS = {"sts": SigV4QueryAuth, "s3": S3SigV4QueryAuth}


def signed(
    service: str, method: str, url: str, body: bytes = b"", *, query: bool = False, target: str = ""
) -> Sent:
    """Return a request as botocore signs it."""
    auth = (
        QUERY_AUTHS[service](KEYS, service, REGION)
        if query
        else AUTHS[service](KEYS, service, REGION)
    )
    request = AWSRequest(method, url, headers={"X-Amz-Target": target} if target else {}, data=body)
    auth.add_auth(request)
    parts = urlsplit(request.prepare().url)
    names = {name.lower(): str(value) for name, value in request.headers.items()}
    return Sent(method, parts.path, parts.query, {"host": parts.netloc, **names})


def read(request: Sent) -> Signature:
    """Return the signature of a signed request."""
    claim = signature.read(request.headers, dict(parse_qsl(request.query, keep_blank_values=True)))
    assert claim is not None
    return claim


def right(request: Sent, body: bytes = b"", secret: str = SECRET) -> bool:
    """Return whether a request's signature is valid."""
    claim = read(request)
    claimed = signature.payload(claim, request.headers, hashlib.sha256(body).hexdigest())
    return signature.matches(claim, request, claimed, secret)


SEGMENTS = st.lists(st.text("abz019-_.~ %+:@!'()*,;=&$äß", max_size=6), max_size=4)
VALUES = st.text("ab .\tz-=,", min_size=1, max_size=12)


@given(
    service=st.sampled_from(sorted(AUTHS)),
    segments=SEGMENTS,
    query=st.lists(
        st.tuples(st.text("ab-X ä/+", min_size=1, max_size=4), st.text("12 ~/+ä", max_size=4)),
        max_size=4,
    ),
    value=VALUES,
    body=st.binary(max_size=40),
)
def test_what_botocore_signs(
    service: str, segments: list[str], query: list[tuple[str, str]], value: str, body: bytes
) -> None:
    """Signatures over any path, query, headers and body are valid.

    With another secret or body they are not.
    """
    path = "/" + "/".join(percent_encode(one) for one in segments)
    text = "&".join(f"{percent_encode(a)}={percent_encode(b)}" for a, b in query)
    sent = signed(service, "POST", f"http://localhost:4566{path}?{text}", body, target=value)
    assert right(sent, body)
    assert not right(sent, body, SECRET[:-1] + "X")
    if service != "s3":
        assert not right(sent, body + b"x")


@pytest.mark.parametrize(
    "path", ["/a/.", "/a/..", "/a/b/..", "/a/b/../", "/a//./", "/..", "/a/./b"]
)
def test_dot_segments(path: str) -> None:
    """Dots in a path are removed before it is signed, as botocore removes them."""
    assert right(signed("dynamodb", "POST", f"http://localhost:4566{path}"))


@pytest.mark.parametrize("service", sorted(QUERY_AUTHS))
def test_presigned_addresses(service: str) -> None:
    """A presigned address is valid, for S3 with any body."""
    sent = signed(
        service, "GET", "http://localhost:4566/bucket/a%20key?Action=GetCallerIdentity", query=True
    )
    assert right(sent)
    assert read(sent).expires == 3600
    assert not right(replace(sent, path=sent.path + "x"))
    assert not right(replace(sent, query=sent.query + "&more=1"))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/other"},
        {"query": "a=2"},
        {"host": "localhost:1"},
        {"x-amz-date": "same day, another time"},
        {"x-amz-target": "DynamoDB_20120810.DeleteTable"},
        {"x-amz-security-token": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_nothing_that_is_signed_can_be_changed(change: dict[str, str]) -> None:
    """The signature covers method, path, query, Host, time, operation and token."""
    sent = signed(
        "dynamodb", "POST", "http://localhost:4566/?a=1", b"{}", target="DynamoDB_20120810.Scan"
    )
    fields = {name: value for name, value in change.items() if name in {"method", "path", "query"}}
    headers = {name: value for name, value in change.items() if name not in fields}
    if "x-amz-date" in headers:
        headers["x-amz-date"] = sent.headers["x-amz-date"][:9] + "000000Z"
    assert right(sent, b"{}")
    assert not right(replace(sent, **fields, headers={**sent.headers, **headers}), b"{}")


def test_headers_that_are_not_signed_count_for_nothing() -> None:
    """An AWS header that was added after the signature is an error that names it."""
    sent = signed("dynamodb", "POST", "http://localhost:4566/", b"{}")
    assert signature.unsigned(read(sent), sent.headers) is None
    assert signature.unsigned(read(sent), {**sent.headers, "x-amz-target": "T"}) == "x-amz-target"


GOOD = (
    "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, "
    f"Signature={'0' * 64}"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer token",
        GOOD.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        GOOD.replace("20260101", "2026"),
        GOOD.replace("0" * 64, "none"),
        GOOD.replace("host;x-amz-date", "x-amz-date"),
        GOOD.replace("host;x-amz-date", "x-amz-date;host"),
        GOOD + ", More=1",
        GOOD.replace("20260101", "20260102"),
    ],
)
def test_malformed_signatures(text: str) -> None:
    """A malformed signature is an error. A request without one has no signature."""
    headers = {"x-amz-date": "20260101T000000Z", "authorization": GOOD}
    assert signature.read(headers, {}) is not None
    with pytest.raises(SignatureError):
        signature.read({**headers, "authorization": text}, {})
    assert signature.read({}, {}) is None


def test_it_is_quick() -> None:
    """Checking a signature takes less CPU time than botocore takes to make ten."""
    sent = signed(
        "dynamodb", "POST", "http://localhost:4566/", b"{}", target="DynamoDB_20120810.Scan"
    )
    began = time.process_time()
    for _ in range(200):
        signed("dynamodb", "POST", "http://localhost:4566/", b"{}", target="DynamoDB_20120810.Scan")
    making = time.process_time() - began
    began = time.process_time()
    for _ in range(200):
        assert right(sent, b"{}")
    assert time.process_time() - began < 10 * making

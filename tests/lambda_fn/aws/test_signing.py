"""Signatures are the same as botocore's."""

import datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.aws.signing import Credentials, sign

NOW = datetime.datetime(2026, 11, 21, 9, 30, 15, tzinfo=datetime.UTC)
HOST = "runtime.sagemaker.eu-west-1.amazonaws.com"
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(
    body=st.binary(max_size=2000),
    token=st.one_of(st.just(""), printable),
    endpoint=st.from_regex(r"[a-zA-Z0-9-]{1,30}", fullmatch=True),
)
def test_signature_is_botocores(body: bytes, token: str, endpoint: str) -> None:
    """A request is signed as botocore signs it, with and without a session token."""
    path = f"/endpoints/{endpoint}/invocations-response-stream"
    headers = {
        "content-type": "application/json",
        "x-amzn-sagemaker-accept": "application/jsonlines",
    }
    signed = sign(
        credentials=Credentials("AKID", "SECRET", token),
        region="eu-west-1",
        service="sagemaker",
        host=HOST,
        path=path,
        headers=headers,
        body=body,
        now=NOW.timestamp(),
    )
    request = botocore.awsrequest.AWSRequest(
        "POST", f"https://{HOST}{path}", headers=headers, data=body
    )
    botocores = botocore.credentials.Credentials("AKID", "SECRET", token or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
        botocore.auth.SigV4Auth(botocores, "sagemaker", "eu-west-1").add_auth(request)
    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-amz-date"] == request.headers["X-Amz-Date"]

"""The local cloud as a process: a port that is in use, and its options."""

import argparse
import socket
from pathlib import Path

import pytest

from local.__main__ import limit
from local.cloud import LocalCloud, LocalCloudError


def test_taken_port(tmp_path: Path) -> None:
    """The error for a port that is in use is one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LocalCloudError, match=f"port {port} is in use"):
            LocalCloud.start(tmp_path, port=port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unheard=1", "there is no limit unheard"),
        ("lambda_timeout=1", "there is no limit lambda_timeout with a value"),
        ("lambda_init=-1", "lambda_init must be a number from 0"),
        ("lambda_init=nan", "lambda_init must be a number from 0"),
        ("lambda_init", "lambda_init must be a number from 0"),
    ],
)
def test_limits_are_rows_of_the_table(text: str, words: str) -> None:
    """A limit has to be a row with a value, and its value a number."""
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        limit(text)
    assert limit("lambda_account_concurrency=10") == ("lambda_account_concurrency", 10.0)

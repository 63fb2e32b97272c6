"""The playground in a real Chromium, over an API whose answers the tests write."""

import pytest

from cli.lib.project import ROOT
from infra.packaging.web import build
from tests.support.playwright import run

pytestmark = pytest.mark.browser


def test_it() -> None:
    """`scripted.spec.ts`: hostile, long, cut and refused answers, accessibility, drawing."""
    run("scripted", SLUICE_WEB=str(build(root=ROOT)))

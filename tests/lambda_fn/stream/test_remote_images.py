"""Images of a request, over the application."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.http.fetch_image import FetchError
from lambda_fn.settings import Model
from lambda_fn.stream import remote_images
from tests.support import pictures
from tests.support.function import Call, StandIn
from tests.support.pictures import data_url, image
from tests.support.replies import CHAT, ledger_item

pytestmark = pytest.mark.usefixtures("account")
EYES = Model(
    endpoint="endpoint-1", context_tokens=100_000, max_images=4, image_hosts=("i.example.com",)
)
REMOTE = image("https://i.example.com/a.png")


@pytest.fixture
def ask(make_call: Callable[..., Call]) -> Call:
    """Return a function that calls an application whose model reads images."""
    return make_call(models={"m": EYES, "blind": Model(endpoint="endpoint-1", context_tokens=1000)})


def body(*parts: object, **more: Any) -> dict[str, Any]:
    """Return a request with these parts."""
    return {**CHAT, "model": "m", "messages": [{"role": "user", "content": list(parts)}], **more}


async def test_images_reach_the_model(ask: Call, sagemaker: StandIn, items: Any) -> None:
    """An image is sent on as it came. It counts by its size, and not by its bytes."""
    url = data_url(pictures.png() + bytes(700_000))
    reply = await ask(body=body({"type": "text", "text": "?"}, image(url)))
    assert reply.status == 200
    assert sagemaker.bodies[0]["messages"][0]["content"][1] == image(url)
    assert 4096 < ledger_item(items, reply)["reserved"] < 10_000


async def test_images_are_fetched(
    ask: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An https URL is replaced by the image, behind the admission; other images stay."""

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        return pictures.gif()

    monkeypatch.setattr(remote_images, "fetch", fetch)
    url = data_url(pictures.png())
    reply = await ask(body=body(REMOTE, image(url)))
    assert reply.status == 200
    content = sagemaker.bodies[0]["messages"][0]["content"]
    assert [part["image_url"]["url"] for part in content] == [data_url(pictures.gif(), "gif"), url]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<svg/>", "invalid_image_format"),
        (None, "invalid_image_url"),
        (pictures.png() + bytes(4_800_000), "image_too_large"),
    ],
)
async def test_an_image_that_cannot_be_fetched(
    ask: Call,
    sagemaker: StandIn,
    items: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes | None,
    code: str,
) -> None:
    """It is a 400, the model is not called, and the reservation is released."""

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        if data is None:
            raise FetchError("its host has no public address")
        return data

    monkeypatch.setattr(remote_images, "fetch", fetch)
    reply = await ask(body=body(REMOTE, REMOTE))
    assert (reply.status, reply.error["code"]) == (400, code)
    assert reply.error["param"] == "messages[0].content[0].image_url"
    assert not sagemaker.bodies
    assert ledger_item(items, reply)["outcome"] == "failed"


async def test_bodies_are_larger_for_images_only(ask: Call) -> None:
    """A text model and a model's text keep their limit. Beyond the limit of images it is a 413."""
    url = data_url(pictures.png() + bytes(limits.MAX_BODY))
    assert (await ask(body=body(image(url)))).status == 200
    blind = body({"type": "text", "text": "x" * limits.MAX_BODY}, model="blind")
    seeing = body({"type": "text", "text": "x" * limits.MAX_BODY}, image(url))
    larger = body(image(data_url(bytes(limits.MAX_BODY_WITH_IMAGES))))
    for large in (blind, seeing, larger):
        reply = await ask(body=large)
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    reply = await ask(body=body({"type": "text", "text": "?"}, model="blind"))
    assert reply.status == 200


async def test_many_images_are_fetched_until_they_are_too_many(
    make_call: Callable[..., Call], sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of 64 large images has a few of them in memory at once, and soon no more."""
    fetches = 0
    at_once = 0
    most = 0

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        nonlocal fetches, at_once, most
        fetches, at_once = fetches + 1, at_once + 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return pictures.png() + bytes(2_000_000)

    monkeypatch.setattr(remote_images, "fetch", fetch)
    ask = make_call(models={"m": msgspec.structs.replace(EYES, max_images=64)})
    reply = await ask(body=body(*[REMOTE] * 64))
    assert (reply.status, reply.error["code"]) == (400, "image_too_large")
    assert (most, sagemaker.bodies) == (4, [])
    assert fetches <= 8


async def test_pixels_are_counted_together(
    ask: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are fetched have no more pixels together than those of a body."""

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        return pictures.png(6000, 6000)

    monkeypatch.setattr(remote_images, "fetch", fetch)
    reply = await ask(body=body(*[REMOTE] * 3))
    assert (reply.status, reply.error["code"]) == (400, "image_too_large")
    assert sagemaker.bodies == []


async def test_a_host_that_does_not_answer(
    ask: Call, monkeypatch: pytest.MonkeyPatch, sagemaker: StandIn
) -> None:
    """All images together have the time of one."""

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(remote_images, "fetch", fetch)
    monkeypatch.setattr(limits, "IMAGE_TIMEOUT", 0.01)
    reply = await ask(body=body(*[REMOTE] * 4))
    assert (reply.status, reply.error["code"]) == (400, "invalid_image_url")
    assert sagemaker.bodies == []

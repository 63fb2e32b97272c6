"""The images of a request."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.errors import BodyTooLarge, InvalidRequest
from lambda_fn.schema import parse_chat
from lambda_fn.settings import Model
from lambda_fn.stream.images import images_of, prompt_tokens, replaced, size_of, text_size
from tests.support import pictures
from tests.support.pictures import data_url, image

EYES = Model(endpoint="e", context_tokens=8192, max_images=3)
URL = data_url(pictures.png())
SIGNED = {
    "png": pictures.png(5, 7),
    "gif": pictures.gif(5, 7),
    "jpeg": pictures.jpeg(5, 7),
    "lossy": pictures.webp(b"VP8 ", 5, 7),
    "lossless": pictures.webp(b"VP8L", 5, 7),
    "extended": pictures.webp(b"VP8X", 5, 7),
}


def asked(*content: object, **more: Any) -> Any:
    """Return a parsed request whose user message has these parts."""
    message = {"role": "user", "content": list(content)}
    return parse_chat(json.dumps({"model": "m", "messages": [message], **more}).encode())


@pytest.mark.parametrize("data", SIGNED.values(), ids=SIGNED)
def test_the_size_is_read_from_the_beginning(data: bytes) -> None:
    """Each format's size is read. The beginning of a file has the same size or is an error."""
    assert size_of(data)[1:] == (5, 7)
    for length in range(30):
        try:
            found = size_of(data[:length])[1:]
        except ValueError:
            continue
        assert found == (5, 7)


@given(st.sampled_from(list(SIGNED.values())), st.integers(0, 40), st.binary(max_size=40))
def test_any_bytes_have_a_size_or_an_error(data: bytes, place: int, other: bytes) -> None:
    """Whatever follows a signature, reading ends."""
    with contextlib.suppress(ValueError):
        assert all(size_of(data[:place] + other)[1:])


LARGE = pictures.png(9000, 9000)
MANY = 2**18
DAMAGED = {
    "a PNG with two headers": pictures.png(1, 1)[:33] + LARGE[8:],
    "a JPEG with two headers": pictures.jpeg(1, 1)[:-10] + pictures.jpeg(9000, 9000)[2:],
    "a PNG of chunks": LARGE[:33] + (bytes(4) + b"tEXt" + bytes(4)) * MANY + LARGE[33:],
    "a JPEG of segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * MANY + pictures.jpeg()[2:],
    "a GIF of blocks": pictures.gif()[:19] + b"\x21\xfe" + b"\x01a" * MANY + b"\x00\x2c" + bytes(9),
    "a GIF of extensions": pictures.gif()[:19] + b"\x21\xfe\x00" * MANY + b"\x2c" + bytes(9),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_two_sizes_and_many_parts_are_refused(data: bytes) -> None:
    """Decoders take the last of two sizes. A file whose every byte is a step has no size."""
    with pytest.raises(ValueError, match=r"two (frame )?headers|parts before"):
        size_of(data)


def test_bytes_of_fill_are_no_steps() -> None:
    """Any number of them may stand before a marker of a JPEG."""
    assert size_of(b"\xff\xd8" + b"\xff" * MANY + pictures.jpeg(5, 7)[2:]) == ("jpeg", 5, 7)


def test_a_picture_may_be_larger_than_its_screen() -> None:
    """A GIF of 1 x 1 whose picture is larger counts by the picture."""
    assert size_of(pictures.gif(1, 1, own=(60_000, 50_000))) == ("gif", 60_000, 50_000)


BOMB = data_url(pictures.png(50_000, 50_000))
WRONG = {
    "text": ("x", "invalid_image_url"),
    "http": ("http://example.com/a.png", "invalid_image_url"),
    "https": ("https://example.com/a.png", "invalid_image_url"),
    "metadata": ("http://169.254.169.254/latest", "invalid_image_url"),
    "file": ("file:///etc/passwd", "invalid_image_url"),
    "page": ("data:text/html;base64,PGgxPg==", "invalid_image_url"),
    "no base64": ("data:image/png,abc", "invalid_image_url"),
    "damaged base64": ("data:image/png;base64,@@@@", "invalid_image_url"),
    "drawing": (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"), "invalid_image_format"),
    "page as png": (data_url(b"<!doctype html>"), "invalid_image_format"),
    "nothing": (data_url(b""), "invalid_image_format"),
    "no pixels": (data_url(pictures.png(0, 9)), "invalid_image_format"),
    "bomb": (BOMB, "image_too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("url", "code"), WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_refused(url: str, code: str) -> None:
    """Each is a 400 whose `param` is the path of the URL. The message has nothing of the URL."""
    for part in (image(url), {"type": "image_url", "image_url": url}):
        with pytest.raises(InvalidRequest) as caught:
            images_of(asked({"type": "text", "text": "?"}, part), EYES)
        assert caught.value.param == "messages[0].content[1].image_url"
        assert caught.value.code == code
        assert "169.254" not in str(caught.value)


def test_a_text_model_refuses_images() -> None:
    """A model without images refuses them by the path of the part."""
    with pytest.raises(InvalidRequest, match="text model") as caught:
        images_of(asked(image(URL)), Model(endpoint="e", context_tokens=100))
    assert caught.value.param == "messages[0].content[0].type"


def test_images_are_counted() -> None:
    """One image too many is refused by its path, and too many pixels together."""
    with pytest.raises(InvalidRequest, match="4 images") as caught:
        images_of(asked(*[image(URL)] * 4), EYES)
    assert caught.value.param == "messages[0].content[3].image_url"
    large = image(data_url(pictures.png(6_000, 6_000)))
    with pytest.raises(InvalidRequest, match="pixels together"):
        images_of(asked(large, large, large), EYES)


def test_images_of_tools() -> None:
    """The result of a tool may have images. They keep their places when URLs are replaced."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    part = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    request = asked(image(URL))
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [image(URL), {"type": "text", "text": "?"}]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [part]},
        ],
    }
    request = parse_chat(json.dumps(body).encode())
    assert [it.path for it in images_of(request, EYES)] == [
        "messages[0].content[0].image_url",
        "messages[2].content[0].image_url",
    ]
    moved: Any = replaced(request, ["one", "two"])
    assert moved.messages[0].content[0].image_url.url == "one"
    assert moved.messages[2].content[0].image_url.url == "two"
    assert moved.messages[2].content[0].image_url.detail == "low"


def test_the_tokens_of_images_are_bounded() -> None:
    """The bound is the deployment's, else one by the size, else the context."""
    small, large = images_of(asked(image(URL), image(data_url(pictures.png(4_000, 3_000)))), EYES)
    assert small.tokens == 4096  # as many as models make of tiles
    assert large.tokens > 4_000 * 3_000 / 14**2
    assert prompt_tokens([small, large], EYES) == small.tokens + large.tokens
    fixed = Model(endpoint="e", context_tokens=8192, max_images=3, image_tokens=600)
    assert prompt_tokens([small, large], fixed) == 1200
    linked = Model(endpoint="e", context_tokens=8192, max_images=3, image_hosts=("example.com",))
    remote = images_of(asked(image("https://example.com/a.png")), linked)
    assert prompt_tokens(remote, linked) == 8192


def test_the_text_beside_images_is_bounded() -> None:
    """Images do not count as text; the text has the limit of every body."""
    images = images_of(asked(image(URL)), EYES)
    assert text_size(len(URL) + 100, images) == 100
    with pytest.raises(BodyTooLarge, match="without its images"):
        text_size(len(URL) + limits.MAX_BODY + 1, images)

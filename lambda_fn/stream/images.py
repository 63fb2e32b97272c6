"""The images of a request: finds them, and bounds them by their first bytes. Pure.

It is imported only for requests that have images. Nothing is decompressed: each format has the size
of its picture at its beginning, and the model's server allocates memory by that size. A file that
tells two sizes is refused, because decoders differ in which of them they take.
"""

import binascii
import re
import struct
from collections.abc import Sequence

import msgspec

from lambda_fn import limits
from lambda_fn.errors import BodyTooLarge, InvalidRequest
from lambda_fn.schema.chat import ChatRequest
from lambda_fn.schema.messages import ImagePart, ImageUrl, Message, Tool, User
from lambda_fn.settings import Model

_DATA = re.compile(r"data:image/[\w.+-]{1,32}(?:;[\w=.+-]{1,64}){0,4};base64,", re.IGNORECASE)
_TAKEN = "PNG, JPEG, GIF or WebP"
_MOST_PARTS = 4096
"""Segments, chunks or blocks before a picture. Images have some tens, and each costs a step here.
"""
_MANY_PARTS = f"it has more than {_MOST_PARTS} parts before its picture"
_FILL = re.compile(rb"\xff+")
_SMALLEST = 4096
_PATCH = 14


class Image(msgspec.Struct, frozen=True):
    """An image of a request: its path, such as `messages[0].content[1].image_url`, its URL, and its
    number of pixels in each direction. They are 0 for an image that has to be fetched.
    """

    path: str
    url: str
    width: int = 0
    height: int = 0

    @property
    def tokens(self) -> int:
        """An upper bound of its tokens, for models whose deployment names none.

        Models make one token of 14 x 14 pixels or more, and one for each row. Models that cut
        images into tiles make up to 4,096 of a small image. 0 if its size is not known yet.
        """
        if not self.width:
            return 0
        columns, rows = -(-self.width // _PATCH), -(-self.height // _PATCH)
        return max(_SMALLEST, (columns + 1) * rows + 2)


def images_of(request: ChatRequest, model: Model, paths: Sequence[str] = ()) -> list[Image]:
    """Return the images of a request's messages, in order, checked.

    `paths` are their paths in the body of the caller, if that body is no chat request.

    Raises:
        InvalidRequest: the model reads no images, there are too many, or one is invalid.

    """
    found = [
        Image(f"messages[{number}].content[{place}].image_url", _url(part))
        for number, message in enumerate(request.messages)
        for place, part in enumerate(_parts(message))
        if type(part) is ImagePart
    ]
    if not found:
        return found
    if paths:
        found = [
            msgspec.structs.replace(image, path=path)
            for image, path in zip(found, paths, strict=True)
        ]
    if not model.max_images:
        part = found[0].path.rpartition(".")[0]
        kind = "blocks of type 'image'" if paths else "parts of type 'image_url'"
        raise InvalidRequest(
            f"Unsupported '{part}.type': this is a text model: it cannot read images (content "
            f"{kind}).",
            param=f"{part}.type",
            code="unsupported_value",
        )
    if len(found) > model.max_images:
        raise InvalidRequest(
            f"The request has {len(found)} images. This model reads {model.max_images} in a "
            "request.",
            param=found[model.max_images].path,
            code="too_many_images",
        )
    checked = [_checked(image, model) for image in found]
    check_together(checked)
    return checked


def check_together(images: Sequence[Image]) -> None:
    """Raise InvalidRequest if images, whose sizes are known, have too many pixels together."""
    if sum(image.width * image.height for image in images) > limits.MAX_PIXELS_TOGETHER:
        raise invalid(
            images[0],
            f"the images have more than {limits.MAX_PIXELS_TOGETHER} pixels together",
            "image_too_large",
        )


def text_size(size: int, images: Sequence[Image]) -> int:
    """Return the size of a body of `size` bytes without its images.

    Raises:
        BodyTooLarge: it is more than a text may have.

    """
    rest = size - sum(len(image.url) for image in images)
    if rest > limits.MAX_BODY:
        raise BodyTooLarge(
            f"The body is over {limits.MAX_BODY} bytes without its images. Send a smaller one."
        )
    return rest


def prompt_tokens(images: Sequence[Image], model: Model) -> int:
    """Return an upper bound of the images' tokens in the prompt.

    It is the model's whole context if nothing is known of an image yet.
    """
    if model.image_tokens is not None:
        return len(images) * model.image_tokens
    return sum(image.tokens or model.context_tokens for image in images)


def replaced(request: ChatRequest, urls: Sequence[str]) -> ChatRequest:
    """Return the request with other URLs of its images, in the order of `images_of`."""
    rest = iter(urls)
    messages = []
    for message in request.messages:
        if isinstance(message, User | Tool) and isinstance(message.content, list):
            parts = [
                msgspec.structs.replace(part, image_url=_moved(part, next(rest)))
                if type(part) is ImagePart
                else part
                for part in message.content
            ]
            message = msgspec.structs.replace(message, content=parts)
        messages.append(message)
    return msgspec.structs.replace(request, messages=messages)


def with_data(image: Image, data: bytes) -> Image:
    """Return an image whose data were fetched, with its size and a data URL.

    Raises:
        InvalidRequest: they are in no known format, or the picture is too large.

    """
    kind, width, height = _bounded_size(image, data)
    url = f"data:image/{kind};base64,{binascii.b2a_base64(data, newline=False).decode()}"
    return msgspec.structs.replace(image, url=url, width=width, height=height)


def size_of(data: bytes) -> tuple[str, int, int]:
    """Return an image's format (`png`, `jpeg`, `gif` or `webp`), width and height in pixels.

    Raises:
        ValueError: it is none of these, or its beginning is truncated or damaged.

    """
    for kind, signature, read in _FORMATS:
        if signature.match(data):
            try:
                width, height = read(data)
            except (struct.error, IndexError):
                raise ValueError("it is truncated") from None
            if not width or not height:
                raise ValueError("it has no pixels")
            return kind, width, height
    raise ValueError(f"it is not {_TAKEN}")


def _parts(message: Message) -> Sequence[object]:
    content = message.content if isinstance(message, User | Tool) else None
    return content if isinstance(content, list) else ()


def _url(part: ImagePart) -> str:
    return part.image_url if isinstance(part.image_url, str) else part.image_url.url


def _moved(part: ImagePart, url: str) -> ImageUrl:
    if isinstance(part.image_url, str):
        return ImageUrl(url)
    return msgspec.structs.replace(part.image_url, url=url)


def _checked(image: Image, model: Model) -> Image:
    """Return an image with its size. An image to be fetched has none."""
    if image.url[:8].lower() == "https://":
        if model.image_hosts:
            return image
        raise invalid(
            image,
            "this deployment fetches no images: send the image itself, as a data URL "
            "(data:image/png;base64,...)",
            "invalid_image_url",
        )
    start = _DATA.match(image.url)
    if start is None:
        raise invalid(
            image,
            "the URL must be a data URL of an image in base64 (data:image/png;base64,...)"
            + (" or https" if model.image_hosts else ""),
            "invalid_image_url",
        )
    try:
        data = binascii.a2b_base64(image.url[start.end() :], strict_mode=True)
    except (binascii.Error, ValueError):
        raise invalid(image, "its data are not valid base64", "invalid_image_url") from None
    _, width, height = _bounded_size(image, data)
    return msgspec.structs.replace(image, width=width, height=height)


def _bounded_size(image: Image, data: bytes) -> tuple[str, int, int]:
    """Return what `size_of` does. Raises InvalidRequest for a picture that cannot be taken."""
    try:
        kind, width, height = size_of(data)
    except ValueError as error:
        raise invalid(image, str(error), "invalid_image_format") from None
    if width * height > limits.MAX_PIXELS:
        raise invalid(
            image,
            f"it has {width} x {height} pixels; {limits.MAX_PIXELS} are allowed",
            "image_too_large",
        )
    return kind, width, height


def invalid(image: Image, why: str, code: str) -> InvalidRequest:
    """Return the error for an image that cannot be taken."""
    return InvalidRequest(f"Invalid '{image.path}': {why}.", param=image.path, code=code)


def _png(data: bytes) -> tuple[int, int]:
    """Return the size. All chunks before the data of the picture are looked at: a later header
    would count for decoders that read on.
    """
    if data[12:16] != b"IHDR":
        raise ValueError("it is truncated" if len(data) < 16 else "it is a damaged PNG")
    width, height = struct.unpack_from(">II", data, 16)
    place = 8
    for number in range(_MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            return width, height
        if number and kind == b"IHDR":
            raise ValueError("it is a PNG with two headers")
        place += 12 + length
    raise ValueError(_MANY_PARTS)


def _gif(data: bytes) -> tuple[int, int]:
    """Return the size of the screen and of the first picture, which may be larger than it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    parts = 0
    while data[place] == 0x21:  # an extension: blocks, of which the last is empty
        place += 2
        while data[place]:
            place += 1 + data[place]
            parts = _one_more(parts)
        place += 1
        parts = _one_more(parts)
    if data[place] != 0x2C:
        raise ValueError("it is a GIF without a picture")
    left, top, own_width, own_height = struct.unpack_from("<HHHH", data, place + 1)
    return max(width, left + own_width), max(height, top + own_height)


def _one_more(parts: int) -> int:
    if parts >= _MOST_PARTS:
        raise ValueError(_MANY_PARTS)
    return parts + 1


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low, high = data[24:27], data[27:30]
        if len(high) < 3:
            raise ValueError("it is truncated")
        return int.from_bytes(low, "little") + 1, int.from_bytes(high, "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("it is a damaged WebP")


def _jpeg(data: bytes) -> tuple[int, int]:
    """Return the size from the frame header, of which there is one before the picture."""
    place = 2
    found: tuple[int, int] | None = None
    for _ in range(_MOST_PARTS):
        fill = _FILL.match(data, place)  # any number of them may precede a marker
        if fill is None:
            raise ValueError("it is truncated" if place >= len(data) else "it is a damaged JPEG")
        place = fill.end()
        marker = data[place]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if found is not None:
                raise ValueError("it is a JPEG with two frame headers")
            height, width = struct.unpack_from(">HH", data, place + 4)
            found = width, height
        if marker in (0xD9, 0xDA):
            if found is None:
                raise ValueError("it is a JPEG without a frame header")
            return found
        place += 1
        if not 0xD0 <= marker <= 0xD8 and marker != 0x01:  # these have no length
            (length,) = struct.unpack_from(">H", data, place)
            if length < 2:
                raise ValueError("it is a damaged JPEG")
            place += length
    raise ValueError(_MANY_PARTS)


_FORMATS = (
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    ("jpeg", re.compile(rb"\xff\xd8\xff"), _jpeg),
    ("gif", re.compile(rb"GIF8[79]a"), _gif),
    ("webp", re.compile(rb"(?s)RIFF....WEBP"), _webp),
)

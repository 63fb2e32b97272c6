"""Fetches the images of a request that has https URLs, after its admission.

It is imported only for requests that need it.
"""

import asyncio
from collections.abc import Sequence

from lambda_fn import limits
from lambda_fn.errors import InvalidRequest
from lambda_fn.http.fetch_image import FetchError, fetch
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Model
from lambda_fn.stream.images import Image, data_url, replaced

_ROOM = 100_000
"""Bytes of an invocation that are kept for what the function adds to the text."""


async def with_images(
    request: ChatRequest, images: Sequence[Image], model: Model, text_size: int
) -> ChatRequest:
    """Return the request with a data URL in place of each https URL.

    All are fetched at once. Together with the text, of `text_size` bytes in the body, they must
    fit into one invocation.

    Raises:
        InvalidRequest: an image could not be fetched, is not an image, or is too large.

    """
    tasks = [asyncio.ensure_future(_url(image, model)) for image in images]
    try:
        urls = [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if text_size + sum(map(len, urls)) > limits.MAX_INVOCATION - _ROOM:
        raise _invalid(
            images[0],
            "the images do not fit into one request: it takes "
            f"{(limits.MAX_INVOCATION - _ROOM) * 3 // 4} bytes of them",
            "image_too_large",
        )
    return replaced(request, urls)


async def _url(image: Image, model: Model) -> str:
    if image.width:
        return image.url
    try:
        data = await fetch(image.url, model.image_hosts, limits.MAX_IMAGE_BYTES)
    except FetchError as error:
        raise _invalid(
            image, f"the image could not be fetched: {error}", "invalid_image_url"
        ) from None
    try:
        return data_url(data)
    except ValueError as error:
        raise _invalid(image, str(error), "invalid_image_format") from None


def _invalid(image: Image, why: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{image.path}': {why}.", param=image.path, code=code)

"""Fetches the images of a request that has https URLs, after its admission.

It is imported only for requests that need it.
"""

import asyncio
from collections.abc import Sequence

from lambda_fn import limits
from lambda_fn.http.fetch_image import FetchError, fetch
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Model
from lambda_fn.stream.images import Image, check_together, invalid, replaced, with_data

_ROOM = 100_000
"""Bytes of an invocation that are kept for what the function adds to the text."""
_AT_ONCE = 4
"""Fetches at once. Together they have the memory of so many images, before they are too many."""


async def with_images(
    request: ChatRequest, images: Sequence[Image], model: Model, text_size: int
) -> ChatRequest:
    """Return the request with a data URL in place of each https URL.

    A few are fetched at once, until they are too many. Together with the text, of `text_size` bytes
    in the body, they must fit into one invocation.

    Raises:
        InvalidRequest: an image could not be fetched, is not an image, or is too large.

    """
    fetching = _Fetching(model, limits.MAX_INVOCATION - _ROOM - text_size)
    tasks = [asyncio.ensure_future(fetching.fetched(image)) for image in images]
    try:
        async with asyncio.timeout(limits.IMAGE_TIMEOUT):
            found = [await task for task in tasks]
    except TimeoutError:
        raise invalid(
            images[0],
            f"the images could not be fetched within {limits.IMAGE_TIMEOUT:g} s",
            "invalid_image_url",
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    check_together(found)
    return replaced(request, [image.url for image in found])


class _Fetching:
    """Fetches images whose data URLs have at most `room` characters together."""

    def __init__(self, model: Model, room: int) -> None:
        self._model = model
        self._room = room
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def fetched(self, image: Image) -> Image:
        """Return an image with its data URL and its size."""
        if not image.width:
            async with self._turns:
                self._check_room(image)
                image = with_data(image, await self._data(image))
        self._room -= len(image.url)
        self._check_room(image)
        return image

    async def _data(self, image: Image) -> bytes:
        try:
            return await fetch(image.url, self._model.image_hosts, limits.MAX_IMAGE_BYTES)
        except FetchError as error:
            raise invalid(
                image, f"the image could not be fetched: {error}", "invalid_image_url"
            ) from None

    def _check_room(self, image: Image) -> None:
        if self._room < 0:
            raise invalid(
                image,
                "the images do not fit into one request: it takes "
                f"{(limits.MAX_INVOCATION - _ROOM) * 3 // 4} bytes of them",
                "image_too_large",
            )

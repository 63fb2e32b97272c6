"""Images that are none, that are far larger than they look, and URLs that lead into the network."""

import asyncio
import struct
import zlib
from typing import Any

import httpx

from lambda_fn import limits
from tests.attack.target import Findings, Target
from tests.support import pictures

KIND = "images"

_HOST = "i.example.com"
"""A host on the deployment's list. No resolver knows it."""
_MANY = 2**19
_URLS = {
    "the address of the metadata": "https://169.254.169.254/latest/meta-data",
    "the same by a name on the list": "https://169.254.169.254.example.com/",
    "the same as a number": "https://2852039166/",
    "the same in hexadecimal": "https://0xa9fea9fe/",
    "the same in octal": "https://0251.0376.0251.0376/",
    "the same with percent signs": "https://%31%36%39.254.169.254/",
    "the same in IPv6": "https://[::ffff:169.254.169.254]/",
    "plain HTTP": f"http://{_HOST}/a.png",
    "localhost": "https://localhost/a.png",
    "localhost in IPv6": "https://[::1]/a.png",
    "address 0": "https://0/",
    "a user like a host": f"https://{_HOST}@169.254.169.254/",
    "a fragment like a host": f"https://169.254.169.254#@{_HOST}/",
    "a backslash": f"https://169.254.169.254\\@{_HOST}/",
    "another port": f"https://{_HOST}:8443/",
    "a line feed": f"https://{_HOST}/\r\nx: y",
    "a tab": f"https://{_HOST[:3]}\t{_HOST[3:]}/",
    "a name of 70,000 characters": f"https://{'a' * 70_000}.example.com/",
    "a path of 70,000 characters": f"https://{_HOST}/{'a' * 70_000}",
    "a bracket": "https://[",
    "an empty name": "https://.example.com/",
    "a file": "file:///etc/passwd",
    "FTP": "ftp://169.254.169.254/",
    "many parameters": "data:image/" + ";a" * 40_000 + ";base64,",
    "a page": pictures.data_url(b"<!doctype html><script>", "html"),
    "a drawing": pictures.data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"),
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_LARGE = pictures.png(50_000, 50_000)
_BYTES = {
    "a bomb": _LARGE,
    "a bomb behind a small header": pictures.png(1, 1)[:33] + _LARGE[8:],
    "a bomb behind a small frame": pictures.jpeg(1, 1)[:-10] + pictures.jpeg(60_000, 60_000)[2:],
    "a picture larger than its screen": pictures.gif(1, 1, own=(60_000, 60_000)),
    "a PNG of chunks": _LARGE[:33] + _chunk(b"tEXt", b"") * (_MANY // 4) + _LARGE[33:],
    "a JPEG of segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * _MANY + pictures.jpeg()[2:],
    "a GIF of blocks": pictures.gif()[:19] + b"\x21\xfe" + b"\x01a" * _MANY + b"\0\x2c" + bytes(9),
    "a PNG that is cut": pictures.png()[:20],
    "nothing": b"",
    "a page": b"<!doctype html><script>",
}
_SOME = pictures.data_url(pictures.png())


async def attack(target: Target, findings: Findings) -> None:
    """Send each image to be answered, as a chat and as a message, and to be counted."""
    turns = asyncio.Semaphore(4)
    async with target.eyes.client() as client:

        async def send(name: str, path: str, content: list[Any], *statuses: int) -> None:
            body = {
                "model": target.eyes.model,
                "max_tokens": 4,
                "messages": [{"role": "user", "content": content}],
            }
            async with turns:
                try:
                    answer = await client.post(path, json=body)
                except httpx.HTTPError as error:
                    findings.check(f"{name}, {path}", False, repr(error))
                    return
            if statuses == (200,):
                findings.check(f"{name}, {path}", answer.status_code == 200, answer.text)
            else:
                findings.refusal(f"{name}, {path}", answer, *statuses)

        async with asyncio.TaskGroup() as group:

            def all_ways(name: str, url: str, *statuses: int) -> None:
                part = [{"type": "image_url", "image_url": {"url": url}}]
                group.create_task(send(name, "/v1/chat/completions", part, *statuses))
                block = [{"type": "image", "source": _source(url)}]
                for path in ("/v1/messages", "/v1/messages/count_tokens"):
                    group.create_task(send(name, path, block, *statuses))

            for name, url in _URLS.items():
                all_ways(name, url, 400)
            for name, data in _BYTES.items():
                all_ways(name, pictures.data_url(data), 400)
            all_ways("a good image", _SOME, 200)
            part = {"type": "image_url", "image_url": {"url": _SOME}}
            chat = "/v1/chat/completions"
            group.create_task(send("4,096 images", chat, [part] * 4096, 400))
            group.create_task(send("a video", chat, [{**part, "type": "video_url"}], 400))
        largest = pictures.data_url(pictures.png() + bytes(limits.MAX_BODY_WITH_IMAGES))
        await send("a body over the limit", chat, [{**part, "image_url": {"url": largest}}], 413)
        # 50 MB: the edge ends it, in its own form
        huge = b"x" * 50_000_000
        try:
            status = (await client.post(chat, content=huge)).status_code
        except httpx.HTTPError:
            status = 413  # the connection was closed while the body was sent
        findings.check("a body of 50 MB", status == 413, status)


def _source(url: str) -> dict[str, str]:
    """Return Anthropic's form of an image."""
    prefix = "data:image/png;base64,"
    if not url.startswith(prefix):
        return {"type": "url", "url": url}
    data = url.removeprefix(prefix)
    return {"type": "base64", "media_type": "image/png", "data": data}

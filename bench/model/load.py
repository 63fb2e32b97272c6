"""Send the same requests to a served container, with a client that does as little as possible."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field

BODY = {
    "messages": [{"role": "user", "content": "Tell me a story about a lighthouse."}],
    "max_tokens": 100,
    "temperature": 0.8,
}


@dataclass
class Tally:
    """The figures of some streams.

    `seconds` is wall time. `cpu` is the CPU time of the process that generates, in seconds.
    """

    tokens: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    ttft: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Return tokens a second, milliseconds to the first token, and CPU microseconds a token."""
        cuts = statistics.quantiles(self.ttft, n=100) if len(self.ttft) > 1 else self.ttft * 99
        return {
            "tokens_s": round(self.tokens / self.seconds, 1),
            "ttft_p50_ms": round(cuts[49] * 1000, 2),
            "ttft_p99_ms": round(cuts[98] * 1000, 2),
            "cpu_us_token": round(self.cpu / self.tokens * 1e6, 1),
            "requests": len(self.ttft),
        }


async def measure(port: int, streams: int, seconds: float) -> Tally:
    """Keep this many streams open for some seconds. The last ones are read to their end."""
    tally = Tally()
    end = time.perf_counter() + seconds
    payload = json.dumps(BODY).encode()
    head = (
        f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
    )

    async def stream() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(head + payload)
            first, rest = True, b""
            while not rest.endswith(b"\r\n0\r\n\r\n"):
                data = await reader.read(65536)
                if not data:
                    raise ConnectionError("the server closed the connection")
                if first and b'"type":"delta"' in data:
                    first = False
                    tally.ttft.append(time.perf_counter() - began)
                rest = rest[-400:] + data
            if b'"type":"end"' not in rest:
                raise ValueError(f"no whole answer: {rest[-200:]!r}")
            tally.tokens += int(rest.rpartition(b'"completion_tokens":')[2].partition(b"}")[0])
        writer.close()

    await asyncio.gather(*(stream() for _ in range(streams)))
    tally.seconds = time.perf_counter() - end + seconds
    return tally

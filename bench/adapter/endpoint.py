"""The stand-in endpoint: SageMaker's streaming call over HTTP/1.1.

    python -m bench.adapter.endpoint [MILLISECONDS]        prints its port

Its answers are encoded in advance. It is one thread over epoll that writes to the sockets itself.
Each token is a separate frame, chunk and `send`. Paced answers begin after so many milliseconds.
Without a rate, the streams take turns after each token, so a reader that finds several tokens at
once was too slow.
"""

import heapq
import select
import socket
import sys
import time

from bench.adapter.frames import answer, parse_prompt

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
    b"x-amzn-sagemaker-content-type: application/jsonlines\r\ntransfer-encoding: chunked\r\n\r\n"
)
_TURNS = 16  # sends between two checks of the other sockets


class _Stream:
    """One connection and its answer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self.rest = b""
        self.parts: tuple[bytes, ...] = ()
        self.ending = b""
        self.position = 0
        self.rate = 0
        self.began = 0.0
        self.blocked = False

    @property
    def over(self) -> bool:
        return self.position > len(self.parts)

    def ask(self, data: bytes) -> bool:
        """Read bytes of a request. Return True if it is complete, so that the answer may begin."""
        self.request += data
        head, separator, body = self.request.partition(b"\r\n\r\n")
        if not separator:
            return False
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) < length:
            return False
        dialect = head.split(b"/", 3)[2].decode()
        tokens, self.rate = parse_prompt(body)
        self.parts, self.ending = answer(dialect, tokens)
        self.request, self.rest, self.position = body[length:], _HEAD, 0
        self.began = time.perf_counter()
        return True

    def due(self, delay: float) -> float:
        return self.began + delay + self.position / self.rate

    def send(self) -> bool:
        """Send the next piece. Return False if the socket is full."""
        if not self.rest:
            self.rest = (
                self.parts[self.position] if self.position < len(self.parts) else self.ending
            )
            self.position += 1
        try:
            sent = self.sock.send(self.rest)
        except BlockingIOError:
            return False
        self.rest = self.rest[sent:]
        return not self.rest


class Endpoint:
    """The server, with all its streams."""

    def __init__(self, listener: socket.socket, delay: float = 0.0) -> None:
        """Serve connections that `listener` accepts. Paced answers begin after `delay` seconds."""
        self._listener = listener
        self._delay = delay
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._streams: dict[int, _Stream] = {}
        self._flat: list[_Stream] = []
        self._paced: list[tuple[float, int, _Stream]] = []

    def serve(self) -> None:
        """Serve until killed."""
        while True:
            self._look()
            for _ in range(_TURNS):
                if not self._flat:
                    break
                self._flat = [stream for stream in self._flat if self._turn(stream)]
            now = time.perf_counter()
            while self._paced and self._paced[0][0] <= now:
                _, number, stream = heapq.heappop(self._paced)
                if self._turn(stream):
                    heapq.heappush(self._paced, (stream.due(self._delay), number, stream))

    def _look(self) -> None:
        wait = 60.0
        if self._flat or self._paced:
            wait = 0.0 if self._flat else self._paced[0][0] - time.perf_counter()
        if wait > 0:
            select.select([self._epoll], [], [], wait)  # finer than epoll's milliseconds
        for number, events in self._epoll.poll(0):
            if number == self._listener.fileno():
                self._accept()
            elif events & select.EPOLLOUT:
                self._epoll.modify(number, select.EPOLLIN)
                self._streams[number].blocked = False
                self._begin(self._streams[number])
            else:
                self._read(self._streams[number])

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams[sock.fileno()] = _Stream(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(stream)
        elif stream.ask(data):
            while stream.rest and stream.send():
                pass
            self._begin(stream)

    def _begin(self, stream: _Stream) -> None:
        if stream.rate:
            due = stream.due(self._delay)
            heapq.heappush(self._paced, (due, stream.sock.fileno(), stream))
        else:
            self._flat.append(stream)

    def _turn(self, stream: _Stream) -> bool:
        """Send one token. Return whether there is another one."""
        if stream.sock.fileno() < 0:
            return False
        try:
            if stream.send():
                return not stream.over
        except OSError:
            self._drop(stream)
            return False
        stream.blocked = True
        self._epoll.modify(stream.sock.fileno(), select.EPOLLOUT)
        return False

    def _drop(self, stream: _Stream) -> None:
        self._streams.pop(stream.sock.fileno(), None)
        self._epoll.unregister(stream.sock.fileno())
        stream.sock.close()


def main() -> None:
    """Listen on loopback, print the port, and serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    Endpoint(listener, float(sys.argv[1]) / 1e3 if len(sys.argv) > 1 else 0.0).serve()


if __name__ == "__main__":
    main()

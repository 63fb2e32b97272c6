"""Files that have no size, as devices and pipes have none."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def sending(path: Path, data: bytes) -> Iterator[Path]:
    """Make a named pipe that sends these bytes to its first reader, and yield its path."""
    os.mkfifo(path)

    def send() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            pipe.write(data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield path
    thread.join()

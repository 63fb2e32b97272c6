"""Signals that end a command: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal ended the command; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        super().__init__()
        self.number = number


@contextmanager
def ending() -> Iterator[None]:
    """Raise Ended within the block at the first signal; later ones are ignored.

    A signal that is ignored already, as SIGHUP is below `nohup`, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt within the block at SIGINT, which else ends the process.

    SIGINT that is ignored, as below `nohup`, stays ignored.
    """
    ends = signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    if ends:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ends:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def undivided() -> Iterator[None]:
    """Hold back signals that would end the command, until the block is left."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGHUP:  # the terminal is gone, and printing to it would fail
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.__stdout__, sys.__stderr__):
            # isatty() is false of a terminal that is gone; its file is still a character device.
            if stream is not None and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    raise Ended(number)

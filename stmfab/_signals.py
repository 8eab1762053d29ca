"""SIGTERM and Ctrl-C as exceptions that get through, so that workers and temporary files are cleared away first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM, on its way out: 143 is what a shell reports for it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


_raised: list[BaseException] = []  # by a signal, in the context that is open


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into ``Terminated``, in the main thread; further ones are ignored on the way out.

    Ctrl-C raises ``KeyboardInterrupt`` as always, unless it was ignored before; both are kept for ``raise_again``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: _terminate}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        handlers[signal.SIGINT] = _interrupt
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        _raised.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_again() -> None:
    """Raise what a signal raised and somebody swallowed: Python does so in a callback of its garbage collector."""
    if _raised:
        raise _raised[0]


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _raised.append(Terminated())
    raise _raised[0]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _raised.append(KeyboardInterrupt())
    raise _raised[0]

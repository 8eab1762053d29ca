"""What the user sees while a dataset is made: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

LINE_EVERY_s = 10.0  # a log of a day's run stays short enough to read


class Progress(Protocol):
    """Something that is told how many samples are done."""

    def start(self, done: int, total: int) -> None:
        """Begin with ``done`` of ``total`` samples there already."""

    def show(self, done: int) -> None:
        """Show that ``done`` samples are there."""

    def close(self) -> None:
        """Leave the screen as a reader wants to find it."""


class Silent:
    """No progress at all, for use from Python."""

    def start(self, done: int, total: int) -> None:
        """Show nothing."""

    def show(self, done: int) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Lines:
    """A line every ten seconds: for logs, pipes and batch systems."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.first = self.total = self.shown = 0
        self.begun = self.last = 0.0

    def start(self, done: int, total: int) -> None:
        """Begin to count time and samples."""
        self.first = self.shown = done
        self.total = total
        self.begun = self.last = time.monotonic()

    def show(self, done: int) -> None:
        """Print a line if the last one is long ago."""
        now = time.monotonic()
        if now - self.last < LINE_EVERY_s or done == self.shown:
            return
        self.last, self.shown = now, done
        rate = (done - self.first) / (now - self.begun)
        left_s = (self.total - done) / rate
        print(
            f"{done}/{self.total} samples, {rate:.1f} samples/s, {duration(left_s)} left", file=self.stream, flush=True
        )

    def close(self) -> None:
        """Do nothing: the outcome is printed by whoever asked."""


class Bar:
    """A tqdm bar that is redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        from tqdm import tqdm

        self.make, self.stream = tqdm, stream

    def start(self, done: int, total: int) -> None:
        """Draw the bar."""
        self.bar = self.make(total=total, initial=done, unit=" samples", file=self.stream, dynamic_ncols=True)

    def show(self, done: int) -> None:
        """Redraw the bar."""
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it was last drawn."""
        self.bar.close()


def on_terminal(stream: TextIO = sys.stderr) -> Progress:
    """Return a bar if a person is watching, else plain lines."""
    return Bar(stream) if stream.isatty() else Lines(stream)


def duration(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> [duration(s) for s in (0.25, 42, 200, 7300, 180_000)]
    ['0.2 s', '42 s', '3 min 20 s', '2 h 1 min', '50 h']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours >= 10:
        return f"{hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""The engine as a process: requests in on stdin, events out on stdout, one shot at a time, every shot ends exactly once.

The protocol has a private copy of fd 1, and fd 1 itself points at stderr, so that nothing a library prints can reach
the wire. A thread reads; this thread shoots. The end of stdin means cancel and leave.
"""
from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator

from . import device, families
from .errors import Cut, EngineBroken, Remedy, ShotError, SoraError, WireError
from .protocol import (LONGEST_LINE, REQUESTS, Cancel, Cancelled, Done, Estimate, Estimated, Event, Failed, Progress, Quit, Ready, Request, Shoot, Shot,
                       Unload, Unloaded, read, write)
from .release import ENGINE_VERSION

log = logging.getLogger(__name__)
GRACE = 10.0            # seconds between the end of stdin and leaving without waiting for the step under way
BLOCK = 1 << 16         # bytes a read


class Wire:
    """The writing end. Once the other side is gone, what is said is dropped."""

    def __init__(self, descriptor: int):
        self._file, self._lock = os.fdopen(descriptor, "w", encoding="utf-8", newline="\n"), threading.Lock()
        self.open = True

    @classmethod
    def of_stdout(cls) -> "Wire":
        """Takes fd 1 for the protocol and points it at stderr."""
        own = os.dup(1)
        os.dup2(2, 1)
        return cls(own)

    def say(self, event: Event) -> None:
        with self._lock:
            if not self.open:
                return
            try:
                self._file.write(write(event))
                self._file.flush()
            except OSError as error:
                self.open = False
                log.warning("nobody listens any more: %s", error)


def lines(descriptor: int) -> Iterator[str]:
    """Lines from a descriptor. One that is too long comes out cut short (but longer than LONGEST_LINE), the rest of it is dropped."""
    held, dropping = b"", False
    while block := os.read(descriptor, BLOCK):
        *whole, held = (held + block).split(b"\n")
        for line in whole:
            if not dropping:
                yield line.decode("utf-8", "replace")
            dropping = False
        if dropping:
            held = b""
        elif len(held) > LONGEST_LINE:
            yield held.decode("utf-8", "replace") + "?"
            held, dropping = b"", True
    if held and not dropping:
        yield held.decode("utf-8", "replace")


class Line:
    """Requests in order of arrival, and which shot is rolling. Cancel never waits in line."""

    def __init__(self, wire: Wire):
        self._wire, self._changed = wire, threading.Condition()
        self._waiting: deque[Shoot | Unload | Estimate] = deque()
        self._rolling, self._leaving = "", False
        self.cut = threading.Event()        # of the shot that is rolling

    def accept(self, request: Request) -> None:
        """Called by the reading thread."""
        with self._changed:
            if isinstance(request, Cancel):
                self._cancel(request.shot)
            elif isinstance(request, Quit):
                self._leave()
            elif isinstance(request, Shoot) and request.shot.id in self._known():
                self._wire.say(Failed.of("", ShotError(f"The shot {request.shot.id!r} is already under way.")))
            else:
                if isinstance(request, Estimate):       # an older question is not asked any more
                    self._waiting = deque(one for one in self._waiting if not isinstance(one, Estimate))
                self._waiting.append(request)
            self._changed.notify_all()

    def following(self) -> Shoot | Unload | Estimate | None:
        """The next request, waited for; None once it is time to leave."""
        with self._changed:
            self._rolling = ""
            self._changed.wait_for(lambda: self._waiting or self._leaving)
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            self.cut.clear()
            if self._leaving:
                self.cut.set()
            if isinstance(request, Shoot):
                self._rolling = request.shot.id
            return request

    def _known(self) -> set[str]:
        return {self._rolling, *(request.shot.id for request in self._waiting if isinstance(request, Shoot))}

    def _cancel(self, shot: str) -> None:
        if shot == self._rolling:
            self.cut.set()
            return
        for request in [request for request in self._waiting if isinstance(request, Shoot) and request.shot.id == shot]:
            self._waiting.remove(request)
            self._wire.say(Cancelled(shot=shot))

    def _leave(self) -> None:
        self._leaving = True
        self.cut.set()
        for shot in [request.shot.id for request in self._waiting if isinstance(request, Shoot)]:
            self._cancel(shot)
        self._waiting.clear()


def listen(descriptor: int, line: Line, wire: Wire) -> None:
    """Reads requests until stdin ends; then cancels, and leaves even if a step never returns."""
    for text in lines(descriptor):
        if not text.strip():
            continue
        try:
            line.accept(read(text, REQUESTS))
        except WireError as error:
            log.warning("%s", error)
            wire.say(Failed.of("", error))
    line.accept(Quit())
    threading.Timer(GRACE, os._exit, (0,)).start()


def perform(shot: Shot, line: Line, wire: Wire, studio) -> None:
    """Shoots one shot and says how it ended, once."""
    from . import shoot
    try:
        take = shoot.roll(shot, wire.say, line.cut, studio)
    except Cut:
        wire.say(Cancelled(shot=shot.id, printed=shoot.printed_count(shot)))
    except SoraError as error:
        log.warning("%s: %s", shot.id, error)
        wire.say(Failed.of(shot.id, error))
    except Exception as error:      # the one boundary: whatever a shot meets, the engine lives on and the shot ends
        log.exception("%s failed", shot.id)
        wire.say(Failed(shot=shot.id, code="failed", sentence=f"The engine met something unforeseen: {type(error).__name__}: {error}.",
                        remedy=Remedy(action="show_log", label="Show Log")))
    else:
        wire.say(Done(shot=shot.id, take=shot.out, notes=take.notes))


def foresee(shot: Shot, wire: Wire, studio) -> None:
    """Says what the shot would need."""
    try:
        wire.say(studio.estimate(shot))
    except SoraError as error:
        wire.say(Estimated(shot=shot.id, fits=False, note=error.sentence, remedy=error.remedy))
    except Exception:       # as in `perform`: a question must not end the engine
        log.exception("what %s needs could not be estimated", shot.id)
        wire.say(Estimated(shot=shot.id, note="What this needs could not be estimated.", remedy=Remedy(action="show_log", label="Show Log")))


def warm() -> None:
    """Imports what the first shot needs while nothing else is asked for."""
    try:
        device.torch_module()
    except EngineBroken as error:
        log.error("%s", error)      # the first shot fails with the same sentence and its remedy
        return
    from . import shoot  # noqa: F401


def serve() -> int:
    """Runs until stdin ends or Quit. Returns the exit code."""
    wire = Wire.of_stdout()
    wire.say(Ready(engine=ENGINE_VERSION, device=device.announced(), families=families.specs(), pid=os.getpid(), slow=device.slow()))
    line = Line(wire)
    threading.Thread(target=listen, args=(0, line, wire), name="listen", daemon=True).start()
    warming = threading.Thread(target=warm, name="warm", daemon=True)
    warming.start()
    import psutil  # noqa: F401  # reads slow files of the kernel's while the other thread imports torch
    studio = None
    while (request := line.following()) is not None:
        if warming.is_alive() and isinstance(request, Shoot):
            wire.say(Progress(shot=request.shot.id, stage="load", note="The engine is starting"))
        while warming.is_alive() and not line.cut.is_set():
            warming.join(0.02)
        if studio is None and not line.cut.is_set():
            from .shoot import Studio
            studio = Studio()
        if isinstance(request, Unload):
            if studio:
                studio.unload()
            wire.say(Unloaded())
        elif isinstance(request, Estimate):
            if studio:
                foresee(request.shot, wire, studio)
        elif line.cut.is_set():
            wire.say(Cancelled(shot=request.shot.id))
        else:
            perform(request.shot, line, wire, studio)
    sys.stderr.flush()
    return 0

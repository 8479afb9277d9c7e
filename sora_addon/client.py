"""The engine as a child process: requests out, events in, death said in a sentence. Knows nothing of bpy.

Whoever calls `poll` from time to time hears the engine; nothing here waits for it, and no thread runs. A shot that was sent
gets exactly one ending (Done, Failed or Cancelled), also when the engine dies or hangs.
"""
from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..engine import protocol
from ..engine.errors import REPAIR, EngineBroken, EngineDied, EngineMissing, Remedy, SoraError, VersionError, WireError
from . import child
from .pipes import Incoming, Outgoing

log = logging.getLogger(__name__)

CANCEL_WITHIN = 20.0            # seconds a cut may take before the engine is killed
READY_WITHIN = 240.0            # seconds: the first import of torch from a slow disk takes minutes
GRACE = 3.0                     # seconds between Quit and the end by force
LONGEST_LOG = 4_000_000         # bytes, after which the log becomes <log>.1

RESTART = Remedy(action="restart_engine", label="Restart Engine")
_leaving: list[Engine] = []     # stopped, and not gone yet


class Engine:
    """One engine process. `root` is the extension's folder, `log_path` takes the engine's stderr."""

    def __init__(self, python: Path, root: Path, log_path: Path, *, cancel_within: float = CANCEL_WITHIN,
                 ready_within: float = READY_WITHIN, settings: dict[str, str] | None = None):
        self.settings = settings or {}                  # environment variables of the engine's, such as SORA_MODELS
        self.python, self.root, self.log_path = Path(python), Path(root), Path(log_path)
        self.cancel_within, self.ready_within = cancel_within, ready_within
        self.ready: protocol.Ready | None = None
        self.child: subprocess.Popen | None = None
        self.shots: dict[str, protocol.Shot] = {}       # sent, without an ending yet
        self._incoming: Incoming | None = None
        self._outgoing: Outgoing | None = None
        self._deadlines: dict[str, float] = {}          # shots being cut -> when patience ends
        self._refused: SoraError | None = None          # why this side ended the engine, or it could not be started
        self._over, self._stopped, self._started = True, False, 0.0
        self._leave_by = 0.0                            # when patience ends with one that was stopped or says no more

    # ------------------------------------------------------------ life
    def start(self) -> None:
        """Start the process; Ready arrives by `poll`, and so does the reason why it cannot be started. Raises EngineMissing."""
        if not self.python.exists():
            raise EngineMissing(f"The engine's Python is not at {self.python}.",
                                Remedy(action="install_engine", label="Install Engine"))
        self._over, self._started = False, time.monotonic()
        try:
            self._begin()
        except OSError as error:
            self._refused = EngineBroken(f"{self.python} does not start: {error.strerror or error}.", REPAIR)

    def _begin(self) -> None:
        """Start the child, its stderr appended to the log. Raises OSError."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        _rotate(self.log_path)
        command = [str(self.python), "-X", "utf8", "-u", "-m", "engine", "serve"]
        env = child.environment(PYTHONPATH=str(self.root), PYTHONSAFEPATH="1", **self.settings)
        with self.log_path.open("ab") as stderr:
            self._log_start = stderr.tell()
            self.child = child.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=env,
                                     cwd=self.log_path.parent)
        self._incoming, self._outgoing = Incoming(self.child), Outgoing(self.child.stdin)

    @property
    def alive(self) -> bool:
        """True from start until the death or the stop has been handed over by `poll`."""
        return not self._over and not self._stopped

    def stop(self, grace: float = GRACE, wait: bool = False) -> None:
        """Quit, close stdin, and end by force after `grace` seconds: here if `wait`, else when `see_out` finds it still there."""
        if self._over or self._stopped:
            return
        self._stopped = True
        if self.child is None:
            return
        self._outgoing.put(protocol.write(protocol.Quit()).encode("ascii"))
        self._outgoing.close()
        self._leave_by = time.monotonic() + grace
        if not wait:
            _leaving.append(self)
            return
        try:
            self.child.wait(grace)
        except subprocess.TimeoutExpired:
            self._end_by_force()
            self.child.wait()
        self._incoming.close()

    def left(self) -> bool:
        """Has the process ended? One whose time is up is ended by force."""
        if self.child.poll() is not None:
            self._incoming.close()
            return True
        if time.monotonic() > self._leave_by:
            self._end_by_force()
        return False

    def _end_by_force(self) -> None:
        log.warning("the engine did not leave in time and is ended")
        child.kill(self.child)

    # ------------------------------------------------------------ requests
    def send(self, request: protocol.Request) -> None:
        """Queue a request. A Shoot after death is answered by a Failed, as any other."""
        if isinstance(request, protocol.Shoot):
            self.shots[request.shot.id] = request.shot
        if isinstance(request, protocol.Cancel) and request.shot in self.shots:
            self._deadlines.setdefault(request.shot, time.monotonic() + self.cancel_within)
        if self._outgoing and self.alive:
            self._outgoing.put(protocol.write(request).encode("ascii"))

    # ------------------------------------------------------------ events
    def poll(self, budget: float = 0.002) -> list[protocol.Event]:
        """What the engine said since the last call; takes about `budget` seconds at most."""
        events, end = [], time.perf_counter() + budget
        self._check_patience()
        while not self._over:
            heard = self._heard()
            if heard is None:
                break
            events += heard
            if time.perf_counter() > end:
                break
        if self._over and self.shots:
            events += self._endings(EngineDied("The engine is not running.", RESTART))
        return events

    def _heard(self) -> list[protocol.Event] | None:
        """What comes of one look: None when there is nothing to hear yet."""
        if self.child is None:                          # it could not be started
            return self._death(0)
        self._outgoing.flush()
        line = self._incoming.line()
        if line is not None:
            return self._noted(line)
        if self._incoming.code is not None:
            return self._death(self._incoming.code)
        if self._incoming.ended and not self._stopped:
            self._leave_by = self._leave_by or time.monotonic() + GRACE
            self.left()
        return None

    def _noted(self, line: bytes) -> list[protocol.Event]:
        """A line of the engine's. Garbage is told of, but for a line that broke off: then a death will be."""
        if self._refused:                               # what a refused engine still says is not heard
            return []
        try:
            event = protocol.read(line.decode("utf-8", "replace"), protocol.EVENTS)
        except WireError as error:
            whole = line.endswith(b"\n")
            log.warning("the engine wrote what is no event%s: %r", "" if whole else " and stopped in its middle", line[:200])
            if whole and isinstance(error, VersionError):
                self._refuse(error)
            return [protocol.Failed.of("", error)] if whole and not self._refused else []
        if isinstance(event, protocol.Ready):
            self.ready = event
        if isinstance(event, protocol.ENDINGS):
            self.shots.pop(event.shot, None)
            self._deadlines.pop(event.shot, None)
        return [event]

    def _check_patience(self) -> None:
        now = time.monotonic()
        if self._over or self._refused or self._stopped or self.child is None:
            return
        if any(now > deadline for deadline in self._deadlines.values()):
            self._refuse(EngineDied("The engine did not answer the cut and was restarted.", RESTART))
        elif self.ready is None and now > self._started + self.ready_within:
            self._refuse(EngineBroken(f"The engine has not started within {self.ready_within:.0f} seconds.", REPAIR))

    def _refuse(self, error: SoraError) -> None:
        self._refused = self._refused or error
        child.kill(self.child)

    def _death(self, code: int) -> list[protocol.Event]:
        """The process has ended: an ending for every shot that was sent, or one Failed that belongs to no shot."""
        self._over = True
        if self.child:
            self._incoming.close()
            self._outgoing.close()
        error = self._refused or self._cause(code)
        if self._stopped and not self.shots:
            return []
        cut = [protocol.Cancelled(shot=shot, printed=frames_on_disk(self.shots.pop(shot)))
               for shot in list(self._deadlines) if shot in self.shots]
        log.warning("the engine ended: %s", error)
        return cut + (self._endings(error) or ([] if cut else [protocol.Failed.of("", error)]))

    def _endings(self, error: SoraError) -> list[protocol.Event]:
        failed = []
        for shot in list(self.shots):
            del self.shots[shot]
            died = isinstance(error, EngineDied)
            remedy = Remedy(action="shoot_again", label="Shoot Again", value=shot) if died else error.remedy
            failed.append(protocol.Failed(shot=shot, code=error.code, sentence=error.sentence, remedy=remedy))
        return failed

    def _cause(self, code: int) -> SoraError:
        last = last_line(self.log_path, self._log_start)
        if self.ready is None:
            return EngineBroken(f"The engine does not start: {last or why(code)}", REPAIR)
        return EngineDied(f"The engine {why(code)}" + (f" Its last words: {last}" if last else ""), RESTART)


def see_out() -> bool:
    """Ends those by force that were stopped and do not leave in time. True while one is still there."""
    _leaving[:] = [engine for engine in _leaving if not engine.left()]
    return bool(_leaving)


def why(code: int) -> str:
    """What an exit code means, as the end of a sentence that begins with “The engine”."""
    if code in (-9, 137):
        return "was killed by the system, most likely because memory ran out."
    if code in (-15, -2, -1):
        return "was ended from outside."
    if code < 0 and sys.platform != "win32":
        return f"crashed ({signal.Signals(-code).name}), which is often a driver's fault."
    if code & 0xFFFFFFFF in (0xC0000017, 0xC000012D):
        return "ended because memory ran out."
    if code & 0xFFFFFFFF in (0xC0000005, 0xC0000409):
        return "crashed (access violation), which is often a driver's fault."
    return "left in the middle of its work." if code == 0 else f"ended with code {code}."


def last_line(path: Path, start: int = 0) -> str:
    """The last line of a log that says something, from byte `start` on; "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - 8000))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return ""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1][:300] if said else ""


def frames_on_disk(shot: protocol.Shot) -> int:
    """How many frames of a shot are printed."""
    return sum(1 for _ in (Path(shot.out) / "frames").glob("plate.*"))


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > LONGEST_LOG:
        path.replace(path.with_name(path.name + ".1"))

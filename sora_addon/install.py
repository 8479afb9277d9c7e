"""The engine's own Python environment: found, made, taken up again after an interruption, repaired. Knows nothing of bpy.

It is made in `<folder>.partial` and renamed when the engine's doctor has found it well, so that `<folder>` is always whole
and an old one works until the new one does. The work is a straight line that rests while a child works; `poll` moves it on.
"""
from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from ..engine.errors import REPAIR, Cut, DiskFull, EngineBroken, EngineMissing, FolderError, Remedy, SoraError
from . import child
from .claim import lock
from .pipes import Incoming

log = logging.getLogger(__name__)

STAMP = "sora.json"                         # in the finished environment: what it was made from
PYTHONS = ("3.13", "3.12", "3.11")          # what the pinned packages have wheels for
BACKENDS = ("cpu", "cuda", "rocm", "mps")
TORCH = "https://download.pytorch.org/whl/"
# Bytes on disk, download included. CPU: 1.36 GB measured with the pinned packages on Linux, plus 0.5 of download; the
# others follow their wheels' published sizes.
NEEDED = {"cpu": 2_000_000_000, "mps": 2_000_000_000, "cuda": 9_000_000_000, "rocm": 16_000_000_000}
INSTALL = Remedy(action="install_engine", label="Install Engine")
RESUME = Remedy(action="install_engine", label="Resume")
ASK = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
PYTHON_WITHIN, DOCTOR_WITHIN = 30., 600.    # seconds until one that does not answer is ended
FORGET = "import shutil, sys; [shutil.rmtree(folder, ignore_errors=True) for folder in sys.argv[1:]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A line of progress: step `step` of `steps`."""

    sentence: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    python: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Cut (its code is `cut`) or failed; what was downloaded and unpacked is used next time."""

    error: SoraError


# ---------------------------------------------------------------- what is there
def python_of(environment: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return Path(environment) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find_engine_python(preference: str, environment: Path) -> Path:
    """The Python that the artist named, or that of the installed environment. Raises EngineMissing."""
    if preference:
        named = Path(preference).expanduser()
        if not named.is_file():
            raise EngineMissing(f"The engine's Python is not at {named}.", INSTALL)
        return named.absolute()
    python = python_of(environment)
    if not python.is_file():
        partial = condition(environment) == "partial"
        raise EngineMissing("The engine's installation was interrupted." if partial else "The engine is not installed yet.",
                            RESUME if partial else INSTALL)
    return python.absolute()


def condition(folder: Path, requirements: Path | None = None) -> str:
    """`missing`, `partial` (interrupted), `broken`, `stale` (made from other requirements) or `ready`. Reads two small files."""
    folder = Path(folder)
    if not folder.exists():
        return "partial" if _partial(folder).exists() else "missing"
    stamp = _stamp(folder)
    if not stamp or not python_of(folder).is_file():
        return "broken"
    return "stale" if requirements and stamp.get("requirements") != _hash(requirements) else "ready"


def best_backend() -> str:
    """What this machine's hardware asks for, by the presence of its drivers; starts nothing."""
    if sys.platform == "darwin":
        return "mps" if os.uname().machine == "arm64" else "cpu"
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return "cuda"
    if sys.platform == "linux" and (Path("/dev/kfd").exists() or shutil.which("rocminfo")):
        return "rocm"
    return "cpu"


def torch_index(backend: str) -> str:
    """The index that has torch for this backend, or "" where the common one has it."""
    if sys.platform == "darwin" or (backend == "cuda" and sys.platform == "linux"):
        return ""
    return TORCH + {"cpu": "cpu", "cuda": "cu130", "rocm": "rocm7.2"}[backend]


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def _stamp(folder: Path) -> dict:
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _hash(requirements: Path) -> str:
    return hashlib.sha256(Path(requirements).read_bytes()).hexdigest()


# ---------------------------------------------------------------- making it
class Install:
    """One installation. `root` is the extension's folder; `python` is the base Python, "" for the first that serves.

    `repair` makes everything anew; otherwise an interrupted installation is taken up where it was.
    """

    STEPS = 6

    def __init__(self, folder: Path, root: Path, *, backend: str = "", python: str = "", repair: bool = False,
                 needed: int | None = None):
        self.folder, self.root = Path(folder).absolute(), Path(root)
        self.requirements = self.root / "engine" / "requirements.txt"
        self.backend = backend or best_backend()
        self.partial, self.log_path = _partial(self.folder), self.folder.with_name(self.folder.name + ".log")
        self.repair, self.python = repair, python
        self.needed = NEEDED[self.backend] if needed is None else needed
        self._said: list[Said | Finished | Stopped] = []
        self._line: Generator[None] | None = None
        self._child: subprocess.Popen | None = None
        self._cut = False
        self._step = 0

    def start(self) -> None:
        """Begin; returns at once."""
        self._line = self._work()

    def poll(self) -> list[Said | Finished | Stopped]:
        """Goes on as far as it can without waiting: what was said since the last call. After Finished or Stopped nothing follows."""
        if self._line is not None and next(self._line, self) is self:
            self._line = None
        said, self._said = self._said, []
        return said

    def cancel(self) -> None:
        """Stop soon; ends with Stopped."""
        self._cut = True
        if self._child:
            child.kill(self._child)

    # ------------------------------------------------------------ the straight line
    def _work(self) -> Generator[None]:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with self.folder.with_name(self.folder.name + ".lock").open("w") as held:
                self._alone(held)
                yield from self._make()
                self._said.append(Finished(python=python_of(self.folder)))
        except SoraError as error:
            self._said.append(Stopped(error=error))
        except OSError as error:
            self._said.append(Stopped(error=FolderError(f"{self.folder} cannot be made: {error.strerror or error}.",
                                                        Remedy(action="choose_folder", label="Choose a Folder"))))

    def _make(self) -> Generator[None]:
        self._say("Looking at the disk and for a Python")
        self._require_disk()
        base = yield from self._base()
        python = python_of(self.partial)
        self._say(f"Making an environment with {base}")
        if self.repair or _stamp(self.partial) != self._recipe(base):
            yield from self._run(base, "-c", FORGET, str(self.partial))
        if not python.is_file():
            yield from self._run(base, "-m", "venv", str(self.partial))
            (self.partial / STAMP).write_text(json.dumps(self._recipe(base)), encoding="utf-8")
        _forget_half_packages(self.partial)
        self._say(f"Installing torch for {self.backend}, the largest part")
        index = torch_index(self.backend)
        for torch in self._torch():
            yield from self._pip(python, *(("--index-url", index) if index else ()), torch)
        self._say("Installing the other packages")
        yield from self._pip(python, "-r", str(self.requirements))
        self._say("Asking the engine's doctor")
        yield from self._examine(python)
        self._say("Moving it into place")
        yield from self._move(base)

    def _say(self, sentence: str) -> None:
        self._step += 1
        self._said.append(Said(sentence=sentence, step=self._step, steps=self.STEPS))

    def _alone(self, file) -> None:
        try:
            lock(file)
        except OSError as error:
            raise FolderError("Another Blender is installing the engine into this folder.") from error

    def _require_disk(self) -> None:
        free = shutil.disk_usage(self.folder.parent).free
        if free < self.needed:
            raise DiskFull(f"The engine needs about {self.needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free at {self.folder.parent}.",
                           Remedy(action="free_disk", label="Show Folder", value=str(self.folder.parent)))

    def _base(self) -> Generator[None, None, str]:
        """The first Python that is new enough and can make environments. Raises EngineMissing."""
        candidates = [self.python] if self.python else [sys.executable, *(f"python{version}" for version in PYTHONS), "python3", "python"]
        for candidate in candidates:
            found = shutil.which(candidate)
            if found and (yield from self._answers(found)) in PYTHONS:
                return found
        raise EngineMissing(f"The engine needs Python {PYTHONS[-1]} to {PYTHONS[0]} with its venv module; none was found"
                            + (f" at {self.python}." if self.python else "."), INSTALL)

    def _answers(self, python: str) -> Generator[None, None, str]:
        """What a Python says of itself; "" where it says nothing within half a minute."""
        try:
            _, said, _ = yield from self._asked([python, "-c", ASK], child.environment(), PYTHON_WITHIN)
        except OSError as error:
            log.info("%s is no Python for the engine: %s", python, error)
            return ""
        return said.strip()

    def _recipe(self, base: str) -> dict:
        return {"requirements": _hash(self.requirements), "backend": self.backend, "base": str(base)}

    def _torch(self) -> list[str]:
        """The line that pins torch, which has an index of its own."""
        lines = self.requirements.read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip().startswith("torch==")]

    # ------------------------------------------------------------ children
    def _pip(self, python: Path, *arguments: str) -> Generator[None]:
        try:
            yield from self._run(python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", *arguments)
        except EngineBroken as error:
            raise _explained(error.sentence, self.folder.parent) from error

    def _run(self, python: Path | str, *arguments: str) -> Generator[None]:
        """Run to the end; lines go to the log and to `poll`. Raises Cut or EngineBroken with the last lines."""
        self._go_on()
        last: deque[str] = deque(maxlen=6)
        with self.log_path.open("a", encoding="utf-8") as written:
            self._child = child.start([str(python), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, env=child.environment(network=True), cwd=self.folder.parent)
            incoming = Incoming(self._child)
            while incoming.code is None:
                yield
                while (raw := incoming.line()) is not None:
                    line = raw.decode("utf-8", "replace").strip()
                    written.write(line + "\n")
                    if line:
                        last.append(line)
                        self._said.append(Said(sentence=line[:200], step=self._step, steps=self.STEPS))
            incoming.close()
        self._go_on()
        if incoming.code:
            raise EngineBroken("\n".join(last) or f"{arguments[:3]} ended with code {incoming.code}.", REPAIR)

    def _asked(self, command: list[str], env: dict[str, str], patience: float) -> Generator[None, None, tuple[int, str, str]]:
        """Exit code, output and errors of a child; one that has not ended after `patience` seconds is ended. Raises Cut, OSError."""
        self._go_on()
        asked = child.Asked(command, env=env, cwd=self.folder.parent)
        self._child, end = asked.child, time.monotonic() + patience
        while not asked.over:
            if time.monotonic() > end:
                child.kill(self._child)
            yield
        self._go_on()
        return asked.child.returncode, *asked.said()

    def _go_on(self) -> None:
        if self._cut:
            raise Cut("The installation was stopped.")

    def _examine(self, python: Path) -> Generator[None]:
        """The engine's own doctor decides whether the packages are well. Raises EngineBroken."""
        env = child.environment(PYTHONPATH=str(self.root), PYTHONSAFEPATH="1")
        code, answer, trouble = yield from self._asked([str(python), "-X", "utf8", "-m", "engine", "doctor", "--json"], env, DOCTOR_WITHIN)
        try:
            findings = json.loads(answer)
        except ValueError as error:
            said = trouble.strip().splitlines() or [f"it ended with code {code}"]
            raise EngineBroken(f"The installed engine does not start: {said[-1][:300]}", REPAIR) from error
        ill = [finding for finding in findings if not finding["well"] and (finding["remedy"] or {}).get("action") == "repair_engine"]
        if ill:
            raise EngineBroken(f"{ill[0]['what']}: {ill[0]['found']}", REPAIR)

    def _move(self, base: str) -> Generator[None]:
        """Swap the new environment in, tell it its new place, and examine it there."""
        old = self.folder.with_name(self.folder.name + ".old")
        yield from self._run(base, "-c", FORGET, str(old))
        if self.folder.exists():
            self.folder.rename(old)
        self.partial.rename(self.folder)
        # An environment knows its place in pyvenv.cfg and in its scripts: the first is written again, of the second
        # only Python itself is ever used (`python -m ...`).
        yield from self._run(base, "-m", "venv", "--without-pip", str(self.folder))
        try:
            yield from self._examine(python_of(self.folder))
        except EngineBroken:
            self.folder.rename(self.partial)
            if old.exists():
                old.rename(self.folder)
            raise
        yield from self._run(base, "-c", FORGET, str(old))


def _forget_half_packages(environment: Path) -> None:
    """pip writes RECORD last: a package without one was interrupted, though pip would take it for installed."""
    for packages in ("lib/python*/site-packages", "Lib/site-packages"):        # named: a search through all of torch would hold Blender up
        for about in environment.glob(f"{packages}/*.dist-info"):
            if not (about / "RECORD").exists():
                shutil.rmtree(about)


def _explained(said: str, folder: Path) -> SoraError:
    """pip's last lines -> an error in the artist's language."""
    if "No space left" in said:
        return DiskFull(f"The disk of {folder} is full.", Remedy(action="free_disk", label="Show Folder", value=str(folder)))
    if any(sign in said for sign in ("NewConnectionError", "Temporary failure in name", "ProxyError", "Read timed out", "ConnectTimeout", "SSLError")):
        return EngineBroken("The packages' server cannot be reached; nothing that was downloaded is lost.", RESUME)
    if "No matching distribution" in said:
        return EngineBroken(f"There is no package for this Python and machine: {said.splitlines()[-1]}", RESUME)
    return EngineBroken(f"pip could not install: {said.splitlines()[-1]}", RESUME)

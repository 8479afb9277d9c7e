"""The pinned Python environments under `.venv`: makes them, checks them, says what a machine lacks. Standard library only.

    python3 scripts/environments.py [NAME ...]      make and check these (all without a name)
    python3 scripts/environments.py --libraries     the system packages that Blender's module needs, for apt-get

A stamp, the hash of what was asked for, is written last: an environment whose stamp is missing or different is brought
up to date, and one whose making was interrupted is made again from scratch.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
LIBRARIES = ("libx11-6", "libxi6", "libxfixes3", "libxrender1", "libxkbcommon0", "libgl1", "libsm6", "libice6", "libxxf86vm1",
             "libgomp1", "libegl1", "libegl-mesa0", "libgl1-mesa-dri")
STAMP, UNFINISHED = "sora.stamp", "sora.unfinished"


class Missing(Exception):
    """The machine lacks something; the text is one sentence that says what, and what to install."""


class Broken(Missing):
    """The machine has what is needed, and yet the environment could not be made or does not import."""


@dataclass(frozen=True)
class Environment:
    """`pythons` in order of preference; `requirements` are pip's arguments; `imports` must work in the finished environment."""

    name: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]
    imports: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def stamp(self) -> str:
        """Hash of everything that the environment is made of."""
        files = [Path(ROOT / name).read_bytes() for name in self.requirements if name.endswith(".txt")]
        return hashlib.sha256(repr((self.pythons, self.requirements, files)).encode()).hexdigest()

    def made(self) -> bool:
        """Whether it stands as its requirements say."""
        stamp = self.folder / STAMP
        return self.python.exists() and stamp.exists() and stamp.read_text() == self.stamp()


def _blender(version: str, wheel: str, python: str) -> Environment:
    requirements = (f"bpy=={wheel}", "-r", "scripts/requirements-test.txt")
    return Environment(f"blender-{version}", (python,), requirements, ("bpy", "pytest", "OpenEXR"))


ENVIRONMENTS = {environment.name: environment for environment in (
    Environment("plain", ("3.11", "3.13"), ("numpy==2.4.6", "-r", "scripts/requirements-test.txt"), ("numpy", "pytest")),
    Environment("engine", ("3.11", "3.13"), ("-r", "engine/requirements.txt", "-r", "scripts/requirements-test.txt"),
                ("torch", "numpy", "safetensors", "av", "OpenEXR", "cv2", "typer", "rich", "pytest")),
    _blender("4.5", "4.5.15", "3.11"),
    _blender("5.0", "5.0.1", "3.11"),
    _blender("5.2", "5.2.3", "3.13"),
)}
BLENDERS = tuple(name for name in ENVIRONMENTS if name.startswith("blender-"))


# ---------------------------------------------------------------- interpreters
def interpreter(versions: tuple[str, ...]) -> Path:
    """The first working interpreter of one of `versions` that can make environments. Raises Missing."""
    for version in versions:
        for command in _candidates(version):
            found = _answers(command, version)
            if found:
                return found
    wanted = " or ".join(versions)
    raise Missing(f"Python {wanted} with its venv module was not found; install it (for instance `pyenv install {versions[0]}`, "
                  f"or `apt-get install python{versions[0]} python{versions[0]}-venv`) and run this again.")


def _candidates(version: str):
    yield [sys.executable]
    yield [f"python{version}"]
    if os.name == "nt":
        yield ["py", f"-{version}"]
    for folder in _pyenv_versions():
        if folder.name == version or folder.name.startswith(version + "."):
            yield [str(folder / "bin" / f"python{version}")]


def _pyenv_versions() -> list[Path]:
    root = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    return sorted(Path(root, "versions").glob("*"), reverse=True)


def _answers(command: list[str], version: str) -> Path | None:
    """The interpreter behind `command`, outside any environment, when it is of `version` and has venv and pip's installer."""
    if not shutil.which(command[0]):
        return None
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], getattr(sys, '_base_executable', sys.executable), sep='\\n')"
    answer = subprocess.run([*command, "-c", ask], capture_output=True, text=True)
    lines = answer.stdout.splitlines()
    return Path(lines[1]) if answer.returncode == 0 and len(lines) == 2 and lines[0] == version else None


# ---------------------------------------------------------------- making
def ready(name: str, say=print) -> Path:
    """The environment's Python; makes or mends the environment first where needed. Raises Missing."""
    environment = ENVIRONMENTS[name]
    with alone(name):
        if not environment.made():
            _make(environment, say)
    _import(environment)
    return environment.python


def _make(environment: Environment, say) -> None:
    base, began = interpreter(environment.pythons), time.monotonic()
    unfinished = environment.folder / UNFINISHED
    if unfinished.exists() or not environment.python.exists():
        shutil.rmtree(environment.folder, ignore_errors=True)
        say(f"Making .venv/{environment.name} with {base} (once; this can take some minutes) ...")
        environment.folder.mkdir(parents=True)
        unfinished.touch()
        _run([str(base), "-m", "venv", str(environment.folder)], environment)
    else:
        say(f"Bringing .venv/{environment.name} up to date ...")
        (environment.folder / STAMP).unlink(missing_ok=True)
        unfinished.touch()
    _run([str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", *environment.requirements], environment)
    (environment.folder / STAMP).write_text(environment.stamp())
    unfinished.unlink()
    say(f"Made .venv/{environment.name} in {time.monotonic() - began:.0f} s.")


def _run(command: list[str], environment: Environment) -> None:
    """Runs a step of the making with its output in a log. Raises Broken with the end of it."""
    log = FOLDER / f"{environment.name}.log"
    with log.open("w") as output:
        code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise Broken(f".venv/{environment.name} could not be made (`{' '.join(command[1:4])} ...` ended with {code}; all of it is in {log}):\n{tail}")


def _import(environment: Environment) -> None:
    """Imports the environment's modules. Raises Missing for a system library, Broken for anything else, in one sentence."""
    lines = "import " + ", ".join(environment.imports) + "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)"    # Blender 4.5 can hang at exit
    result = subprocess.run([str(environment.python), "-c", lines], capture_output=True, text=True, cwd=FOLDER)
    if result.returncode == 0:
        return
    library = re.search(r"(lib[\w.+-]+): cannot open shared object file", result.stderr)
    if library:
        raise Missing(f"The system library {library[1]} is missing; install what Blender needs: apt-get install -y {' '.join(LIBRARIES)}")
    last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    raise Broken(f".venv/{environment.name} is broken ({last}); delete that folder and run this again.")


@contextmanager
def alone(name: str):
    """Only one process makes an environment at a time; another one waits."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("a+") as lock:
        if os.name == "nt":
            import msvcrt
            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    asked.add_argument("--libraries", action="store_true", help="print the system packages that Blender's module needs")
    options = asked.parse_args()
    if options.libraries:
        print(*LIBRARIES)
        return 0
    if set(options.names) - set(ENVIRONMENTS):
        asked.error(f"there are: {', '.join(ENVIRONMENTS)}")
    failures = 0
    for name in options.names or ENVIRONMENTS:
        try:
            print(f"{name}: {ready(name)}")
        except Missing as missing:
            print(f"{name}: {missing}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

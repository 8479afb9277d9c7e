"""A stand-in engine: speaks the real protocol as a real process, and behaves as its first argument says.

`python_for(folder, behaviour)` gives a “Python” that starts it whatever it is asked to run, so that the client, the pump
and the panels use it exactly as they use the real one. POSIX only.
"""
from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path

BEHAVIOURS = ("prints", "fails", "dies", "killed", "garbage", "other_version", "truncated", "hangs_on_cancel", "slow", "silent",
              "does_not_start", "stubborn", "overlong", "poses", "large_without_card")


def python_for(folder: Path, behaviour: str) -> Path:
    """An executable in `folder` that starts this file with `behaviour`."""
    assert behaviour in BEHAVIOURS
    path = Path(folder) / f"python that {behaviour}"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u "{Path(__file__).resolve()}" {behaviour} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def pixels(shade: int) -> bytes:
    """An 8x8 grey PNG, RGB, as the engine writes previews."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + bytes([shade]) * 24) * 8
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def seen(folder: str | Path, step: int) -> Path:
    """The file that an engine which poses waits for after each preview."""
    return Path(folder) / f"{step}.seen"


def wait_for(path: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < until:
        time.sleep(.01)


class ScriptedEngine:
    """Answers requests in the order in which they come; a shot runs in a thread so that Cancel is heard."""

    def __init__(self, protocol, errors, behaviour: str):
        self.protocol, self.errors, self.behaviour = protocol, errors, behaviour
        self.cancelled: set[str] = set()
        self.lock = threading.Lock()

    def say(self, message) -> None:
        self.write(self.protocol.write(message))

    def write(self, text: str) -> None:
        with self.lock:
            sys.stdout.write(text)
            sys.stdout.flush()

    def run(self) -> None:
        if self.behaviour == "does_not_start":
            sys.exit("ModuleNotFoundError: No module named 'torch'")
        if self.behaviour == "silent":
            time.sleep(60)
        large = self.behaviour == "large_without_card"
        spec = self.protocol.FamilySpec(name="blockout", label="Scripted", note="Stands in", licence="GPL-3.0-or-later", plans=large)
        slow = self.protocol.Finding(what="GPU", found="A Card is not used.", well=False, remedy=self.errors.REPAIR) if large else None
        ready = self.protocol.write(self.protocol.Ready(engine="scripted", device="cpu", families=(spec,), pid=os.getpid(), slow=slow))
        self.write(ready.replace('"v":1', '"v":99') if self.behaviour == "other_version" else ready)
        for line in sys.stdin:
            request = self.protocol.read(line, self.protocol.REQUESTS)
            if isinstance(request, self.protocol.Quit):
                break
            self.answer(request)
        if self.behaviour == "stubborn":
            time.sleep(60)
        os._exit(0)

    def answer(self, request) -> None:
        match request:
            case self.protocol.Shoot():
                threading.Thread(target=self.shoot, args=(request.shot,), daemon=True).start()
            case self.protocol.Cancel() if self.behaviour != "hangs_on_cancel":
                self.cancelled.add(request.shot)
            case self.protocol.Estimate():
                self.estimate(request.shot)
            case self.protocol.Unload():
                self.say(self.protocol.Unloaded())

    def estimate(self, shot) -> None:
        """Ten gigabytes are free, and every frame of a megapixel takes one."""
        need = shot.frames * shot.size.width * shot.size.height * 1000
        remedy = None if need <= 10e9 else self.errors.Remedy(action="set_frames", label="Use 9 Frames", value="9")
        self.say(self.protocol.Estimated(shot=shot.id, plan=shot.plan or "turns", bytes=need, free=10_000_000_000, fits=remedy is None, remedy=remedy))

    def shoot(self, shot) -> None:
        self.misbehave(shot)
        frames = Path(shot.out) / "frames"
        frames.mkdir(parents=True, exist_ok=True)
        for index in range(shot.frames):
            if shot.id in self.cancelled:
                return self.say(self.protocol.Cancelled(shot=shot.id, printed=index))
            if index == 2:
                self.stumble(shot)
            if self.behaviour in ("slow", "hangs_on_cancel"):
                time.sleep(0.2)
            path = frames / f"plate.{shot.numbered(index):04d}.png"
            path.write_bytes(pixels(index * 5 % 256))
            reel = self.pose(shot, index) if self.behaviour == "poses" else None
            self.say(self.protocol.Progress(shot=shot.id, stage="denoise", step=index + 1, steps=shot.frames, eta=1.0, preview=str(path), reel=reel))
            if reel:
                wait_for(seen(reel.folder, index + 1))
        self.finish(shot)

    def pose(self, shot, step: int):
        """Three frames, lighter from step to step."""
        reel = self.protocol.Reel(folder=str(Path(shot.out) / "preview"), pattern="%02d.png", count=3, fps=30.0)
        Path(reel.folder).mkdir(exist_ok=True)
        for index, name in enumerate(reel.names()):
            (Path(reel.folder) / name).write_bytes(pixels(100 * index + 10 * step))
        return reel

    def misbehave(self, shot) -> None:
        if self.behaviour == "garbage":
            self.write("Loading weights:  12%|###\n")
            self.write('{"v":1,"type":"Confetti"}\n')
        if self.behaviour == "overlong":
            self.write("x" * (self.protocol.LONGEST_LINE + 10) + "\n")

    def stumble(self, shot) -> None:
        if self.behaviour == "fails":
            remedy = self.errors.Remedy(action="set_frames", label="Use 5 Frames", value="5")
            self.say(self.protocol.Failed(shot=shot.id, code="out_of_memory", sentence="Too long for this machine.", remedy=remedy))
            sys.exit()
        if self.behaviour == "dies":
            sys.stderr.write("RuntimeError: the lamp broke\n")
            os._exit(3)
        if self.behaviour == "killed":
            os.kill(os.getpid(), 9)
        if self.behaviour == "truncated":
            self.write(self.protocol.write(self.protocol.Done(shot=shot.id, take=shot.out))[:-12])
            os._exit(0)

    def finish(self, shot) -> None:
        protocol = self.protocol
        files = protocol.Files(folder="frames", pattern="plate.%04d.png", first=shot.frame_start, count=shot.frames, colourspace="sRGB")
        take = protocol.Take(id=shot.id, shot=shot, files=files, native=shot.size, native_frames=shot.frames, device="cpu",
                             created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), engine={"engine": "scripted"},
                             seconds={"denoise": 2.0}, peak_bytes=1000)
        (Path(shot.out) / protocol.TAKE_FILE).write_text(protocol.as_json(take), encoding="utf-8")
        self.say(protocol.Done(shot=shot.id, take=shot.out, notes=("Scripted.",)))


if __name__ == "__main__":
    from importlib import import_module
    sys.path.insert(0, os.environ["PYTHONPATH"])
    ScriptedEngine(import_module("engine.protocol"), import_module("engine.errors"), sys.argv[1]).run()

"""memory: peak resident memory of a 1440-frame shot over that of a 49-frame one, both at 832x480 with a depth guide."""
from __future__ import annotations

import os
import subprocess
import sys

import stand

LONG, SHORT = 1440, 49


def peak(where: stand.Path, frames: int) -> int:
    """Peak bytes of one `python -m engine shoot`, measured by the system. Raises RuntimeError when it fails."""
    guide = stand.depth_guide(where / f"depth {frames}", frames)
    command = [sys.executable, "-m", "engine", "shoot", "--prompt", stand.PROMPT, "--seed", "7", "--size", "832x480", "--frames", str(frames),
               "--steps", "2", *(["--model", stand.MODEL] if stand.MODEL else []), "--guide", f"depth={guide.path}", "--out", str(where / f"take {frames}")]
    child = subprocess.Popen(command, cwd=stand.ROOT, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"The shot of {frames} frames ended with {child.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure() -> None:
    with stand.folder() as where:
        short = peak(stand.Path(where), SHORT)
        stand.say(f"{SHORT} frames: {short / 1e6:.0f} MB")
        long = peak(stand.Path(where), LONG)
        stand.say(f"{LONG} frames: {long / 1e6:.0f} MB")
    stand.report("memory", "x", {"short_frames": SHORT, "short_mb": short / 1e6, "long_frames": LONG, "long_mb": long / 1e6}, ratio=long / short)


if __name__ == "__main__":
    measure()

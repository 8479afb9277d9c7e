"""A prompt and a blocked-out street become a plate on the timeline. Makes its own environments on the first run.

    python3 scripts/demo.py [--blend FILE] [--prompt TEXT] [--negative TEXT] [--seed N] [--size 832x480] [--model MODEL] [--out DIR]

In DIR (out/demo) afterwards: shot.blend with the take on the timeline, in the compositor, as camera background and as
backdrop; sora/<take>, which is never overwritten; contact.png, guides above result; proxy.mp4.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environments

PROMPT = "a street with a red car passing behind a stone pillar, a stone arch, brick buildings on asphalt at sunset, camera pushes in, cinematic"
BLENDERS = ("blender-5.0", "blender-5.2", "blender-4.5")        # the first that this machine can have
NAMES = {"load": "load the model", "text": "read the prompt", "encode": "encode", "denoise": "denoise",
         "decode": "decode", "upscale": "up-scale", "write": "write frames", "proxy": "proxy", "waiting": "wait for the engine"}


def asked() -> argparse.Namespace:
    reading = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reading.add_argument("--blend", type=Path, metavar="FILE", help="a scene of yours in place of the street; the file itself is not changed")
    reading.add_argument("--prompt", default=PROMPT)
    reading.add_argument("--negative", default="")
    reading.add_argument("--seed", type=int, default=7)
    reading.add_argument("--model", default="", help="which model of the family, or the folder of one")
    reading.add_argument("--size", help="size of the frames, such as 832x480; the scene's render size without it")
    reading.add_argument("--out", type=Path, default=environments.ROOT / "out" / "demo", metavar="DIR")
    options = reading.parse_args()
    if options.blend and not options.blend.is_file():
        reading.error(f"{options.blend} is not there")
    if options.size and not re.fullmatch(r"\d+x\d+", options.size):
        reading.error(f"{options.size} is not a size; write it as 832x480")
    return options


# ---------------------------------------------------------------- set-up, in the Python that started this
def set_up_and_go_on() -> int:
    """Makes what is missing, then runs this script again in the engine's environment, which has rich and reads EXR."""
    asked()
    began = time.monotonic()
    try:
        engine = environments.ready("engine")
        blender = _a_blender()
    except environments.Missing as missing:
        sys.exit(str(missing))
    waited = time.monotonic() - began
    if waited > 20:
        print(f"Set-up took {waited:.0f} s; it is not needed again.", flush=True)
    return subprocess.run([str(engine), __file__, *sys.argv[1:]], env={**os.environ, "SORA_DEMO_BLENDER": str(blender)}).returncode


def _a_blender() -> Path:
    """The first Blender that this machine can have. Raises Missing with the reason of the first."""
    reasons = []
    for name in BLENDERS:
        try:
            return environments.ready(name)
        except environments.Missing as missing:
            reasons.append(missing)
    raise reasons[0]


# ---------------------------------------------------------------- the demo, in the engine's environment
def run() -> int:
    options, began, seconds = asked(), time.monotonic(), {}
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with progress() as show:
        told = follow(command(options, out), out / "blender.log", show, seconds)
    if "failed" in told:
        print(f"{told['failed']}\nBlender's own words are in {out / 'blender.log'}, the engine's in {out / 'engine.log'}.", file=sys.stderr)
        return 1
    take = Path(told["take"])
    seconds |= told["seconds"]
    clock = time.monotonic()
    files = deliver(take, out)
    seconds["contact sheet, proxy"] = time.monotonic() - clock
    table(seconds, time.monotonic() - began)
    for sentence in told["notes"]:
        print(f"  {sentence}")
    print(*[f"{name:12} {path}" for name, path in {"take": take, "scene": out / "shot.blend", **files}.items()], sep="\n")
    return 0


def command(options: argparse.Namespace, out: Path) -> tuple[list[str], dict[str, str]]:
    """The command that makes the take inside Blender, and its environment."""
    wish = {"blend": str(options.blend.resolve()) if options.blend else "", "prompt": options.prompt, "negative": options.negative,
            "model": options.model, "seed": options.seed, "size": options.size or "", "out": str(out)}
    surroundings = {**os.environ, "SORA_ENGINE_PYTHON": sys.executable, "SORA_ENGINE_LOG": str(out / "engine.log")}
    return [os.environ["SORA_DEMO_BLENDER"], str(environments.ROOT / "scripts" / "one_take.py"), json.dumps(wish)], surroundings


def follow(call: tuple[list[str], dict[str, str]], log: Path, show, seconds: dict[str, float]) -> dict:
    """Runs Blender, shows what it says of its progress, keeps the rest in `log`; returns its last word."""
    told = {"failed": "Blender ended before the take was there."}
    with log.open("w", encoding="utf-8") as rest:
        child = subprocess.Popen(call[0], env=call[1], stdout=subprocess.PIPE, stderr=rest, text=True, encoding="utf-8", errors="replace")
        for line in child.stdout:
            if not line.startswith("@"):
                rest.write(line)
                continue
            word = json.loads(line[1:])
            if "stage" in word:
                show(word["stage"], word["step"], word["steps"], word.get("note", ""))
            else:
                told = word
        child.wait()
    return told


def deliver(take: Path, out: Path) -> dict[str, Path]:
    """The contact sheet and the proxy of the take, beside the scene."""
    import contact
    files = {"contact": contact.save(take, out / "contact.png")}
    if (take / "proxy.mp4").is_file():
        files["proxy"] = Path(shutil.copyfile(take / "proxy.mp4", out / "proxy.mp4"))
    return files


# ---------------------------------------------------------------- what is seen
@contextmanager
def progress():
    """A function `show(stage, step, steps, note)`: a bar on a terminal, a line for each stage elsewhere."""
    if not sys.stdout.isatty():
        yield _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    with Progress(TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}")) as bars:
        tasks = {}

        def show(stage: str, step: int, steps: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(NAMES.get(stage, stage), total=max(1, steps), note=note)
            bars.update(tasks[stage], completed=step if steps else 1, total=max(1, steps), note=note)
        yield show


def _lines():
    seen = set()

    def show(stage: str, step: int, steps: int, note: str) -> None:
        if stage not in seen:
            seen.add(stage)
            print(f"{NAMES.get(stage, stage)} ... {note}".rstrip(), flush=True)
    return show


def table(seconds: dict[str, float], total: float) -> None:
    """Stages and seconds, in the order in which they happened."""
    rows = [(NAMES.get(stage, stage), f"{spent:8.1f}") for stage, spent in seconds.items() if spent >= .05] + [("all", f"{total:8.1f}")]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        shown = Table("stage", "seconds")
        for row in rows:
            shown.add_row(*row)
        Console().print(shown)
    else:
        print("", *[f"{name:24}{spent}" for name, spent in rows], sep="\n")


if __name__ == "__main__":
    sys.exit(run() if "SORA_DEMO_BLENDER" in os.environ else set_up_and_go_on())

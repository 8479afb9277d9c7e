"""overhead: a warm shot through the wire over the same model called in a plain script that writes the same frames."""
from __future__ import annotations

import json
import subprocess
import sys
import time

import stand

ROUNDS, FRAMES = 5, 49


def plain(folder: str) -> None:
    """The plain script: the model loaded once; then for each line on stdin one clip, and its seconds on stdout."""
    import cv2
    from engine import clip, families, guides
    from engine.device import chosen
    model = families.family("blockout").load(families.weights("blockout", stand.MODEL), chosen())
    for number, line in enumerate(sys.stdin):
        shot = stand.protocol.decode(json.loads(line), stand.protocol.Shot)
        out, began = stand.Path(folder) / f"plain {number}", time.perf_counter()
        out.mkdir()
        native = model.native(shot.size)
        readers = {guide.kind: guides.Reader(guide, shot) for guide in shot.guides}
        small = {kind: reader.read(0, shot.frames, native) for kind, reader in readers.items()}
        window = families.Window(frames=shot.frames, size=native, seed=clip.seed(shot.seed, 0), steps=shot.steps, guidance=shot.guidance,
                                 text=model.text(shot.prompt), negative=model.text(shot.negative), guides=small)
        for latent in model.sample(window):
            pass
        at = 0
        for chunk in model.decode(latent, window):
            full = {kind: reader.read(at, len(chunk), shot.size) for kind, reader in readers.items()}
            for frame in model.deliver(chunk, shot.size, full):
                at += 1
                cv2.imwrite(str(out / f"{at:04d}.png"), cv2.cvtColor((frame * 255 + .5).clip(0, 255).astype("uint8"), cv2.COLOR_RGB2BGR))
        print(time.perf_counter() - began, flush=True)


def wired(running, shot) -> float:
    """Seconds of the shot through the wire, from its sending to Done."""
    began = time.perf_counter()
    running.send(stand.protocol.Shoot(shot=shot))
    stand.until(running, stand.done)
    return time.perf_counter() - began


def measure() -> None:
    import dataclasses
    wire, script = [], []
    with stand.folder() as where:
        where = stand.Path(where)
        guide = stand.depth_guide(where / "depth", FRAMES)
        shot = stand.shot(where, "first", frames=FRAMES, guides=(guide,), steps=8, guidance=3.0)
        child = subprocess.Popen([sys.executable, __file__, "plain", str(where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with stand.engine(where) as running:
            for turn in range(ROUNDS + 1):
                child.stdin.write(json.dumps(dataclasses.asdict(shot)) + "\n")
                child.stdin.flush()
                seconds = float(child.stdout.readline())
                following = dataclasses.replace(shot, id=f"take {turn}", out=str(where / f"take {turn}"))
                if (spent := wired(running, following)) and turn:           # the first round warms both
                    wire.append(spent)
                    script.append(seconds)
                    stand.say(f"plain {seconds:.2f} s, wire {spent:.2f} s")
        child.stdin.close()
        child.wait()
    stand.report("overhead", "x", {"wire_s": stand.median(wire), "plain_s": stand.median(script), "frames": FRAMES, "rounds": ROUNDS},
                 ratio=stand.median(wire) / stand.median(script))


if __name__ == "__main__":
    plain(sys.argv[2]) if sys.argv[1:2] == ["plain"] else measure()

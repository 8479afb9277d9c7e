"""write: 1080p frames a second into EXR half and 16-bit PNG, the engine's printer against a plain loop of the same libraries."""
from __future__ import annotations

import threading
import time

import numpy as np
import stand

from engine.frames import Printer
from engine.protocol import Size

FRAMES, ROUNDS, SIZE = 24, 3, Size(1920, 1080)


def pictures() -> list[np.ndarray]:
    """Four different frames with gradients, edges and a little grain, (1080, 1920, 3) sRGB 0..1, used in turn."""
    noise = np.random.default_rng(1)
    y, x = np.mgrid[0:SIZE.height, 0:SIZE.width].astype(np.float32)
    base = np.stack([x / SIZE.width, y / SIZE.height, ((x // 120 + y // 120) % 2) * .6], -1)
    return [np.clip(np.roll(base, 40 * i, 1) + noise.normal(0, .004, base.shape).astype(np.float32), 0, 1).astype(np.float32) for i in range(4)]


def plain_exr(frames, folder) -> None:
    import OpenEXR
    for index, frame in enumerate(frames, 1):
        linear = np.where(frame <= .04045, frame / 12.92, ((frame + .055) / 1.055) ** 2.4)
        pixels = np.ascontiguousarray(linear.astype(np.float16))
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"RGB": pixels}).write(str(folder / f"plate.{index:04d}.exr"))


def plain_png16(frames, folder) -> None:
    import cv2
    for index, frame in enumerate(frames, 1):
        whole = (np.clip(frame, 0, 1) * 65535 + .5).astype(np.uint16)
        cv2.imwrite(str(folder / f"plate.{index:04d}.png"), cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))


def printed(frames, folder, kind: str) -> None:
    shot = stand.shot(folder, "printed", frames=len(frames), size=SIZE, format=kind)
    with Printer(shot, threading.Event()) as printer:
        for index, frame in enumerate(frames):
            printer.print(index, lambda frame=frame: frame)
        printer.finish()


def rate(write, *arguments) -> float:
    with stand.folder() as where:
        began = time.perf_counter()
        write(*arguments[:1], stand.Path(where), *arguments[1:])
        return FRAMES / (time.perf_counter() - began)


def measure() -> None:
    four = pictures()
    frames = [four[i % 4] for i in range(FRAMES)]
    detail = {"frames": FRAMES, "size": str(SIZE), "rounds": ROUNDS}
    for kind, plain in (("exr", plain_exr), ("png16", plain_png16)):
        rates = {"plain": [], "engine": []}
        for _ in range(ROUNDS):
            rates["plain"].append(rate(plain, frames))
            rates["engine"].append(rate(printed, frames, kind))
            stand.say(f"{kind}: plain {rates['plain'][-1]:.2f} fps, engine {rates['engine'][-1]:.2f} fps")
        detail |= {f"{kind}_plain_fps": stand.median(rates["plain"]), f"{kind}_engine_fps": stand.median(rates["engine"]),
                   f"{kind}_ratio": stand.median(rates["engine"]) / stand.median(rates["plain"])}
    stand.report("write", "x", detail, ratio=min(detail["exr_ratio"], detail["png16_ratio"]))


if __name__ == "__main__":
    measure()

"""What the landing tests share: small takes whose frames tell which they are, and renders read back as numbers."""
import itertools
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

from sora.engine import protocol

STEP = 10           # grey level per frame: frame i (from 0) is (i + 1) * STEP
COUNT = itertools.count()


def write_png(path, pixels):
    """(h, w, 3) uint8, top row first."""
    rows = b"".join(b"\x00" + row.tobytes() for row in np.ascontiguousarray(pixels))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) & 0xFFFFFFFF)

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
                     + chunk(b"IEND", b""))


def picture(index, width=32, height=18):
    """Flat grey of the frame with a red corner at the top left."""
    pixels = np.full((height, width, 3), (index + 1) * STEP % 256, np.uint8)
    pixels[: height // 3, : width // 4] = (220, 20, 20)
    return pixels


def make_take(folder, start=10, count=5, size=(32, 18), frame=picture, **shot):
    """A take on disk as the engine leaves it, and its folder."""
    name = shot.pop("id", f"take{next(COUNT)}")
    home = Path(folder) / name
    (home / "frames").mkdir(parents=True)
    for i in range(count):
        write_png(home / "frames" / f"plate.{start + i:04d}.png", frame(i, *size))
    asked = protocol.Shot(**dict(dict(id=name, family="blockout", prompt="a red car", seed=1, size=protocol.Size(*size), frames=count, fps=24.0,
                                      out=str(home), frame_start=start), **shot))
    files = protocol.Files(folder="frames", pattern="plate.%04d.png", first=start, count=count, colourspace="sRGB")
    take = protocol.Take(id=name, shot=asked, files=files, native=asked.size, native_frames=count, device="cpu", created="2026-01-01T00:00:00Z",
                         engine={}, seconds={}, peak_bytes=0)
    (home / "take.json").write_text(protocol.as_json(take), encoding="utf-8")
    return take, home


def make_linear_take(folder, level, start, count, size=(32, 18)):
    """A take of linear EXR frames, all of one level."""
    take, home = make_take(folder, start=start, count=count, size=size)
    for path in (home / "frames").iterdir():
        image = bpy.data.images.new("linear", *size, float_buffer=True, is_data=True)
        image.pixels.foreach_set(np.tile(np.array([level, level, level, 1], np.float32), size[0] * size[1]))
        image.file_format, image.filepath_raw = "OPEN_EXR", str(path.with_suffix(".exr"))
        image.save()
        bpy.data.images.remove(image)
        path.unlink()
    return replace(take, files=replace(take.files, pattern="plate.%04d.exr", colourspace="Linear Rec.709")), home


def fresh(view="Standard", width=32, height=18):
    """Blender's start-up scene, small, with one sample and without dither."""
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    settle(scene, view, width, height)
    return scene


def settle(scene, view="Standard", width=32, height=18):
    render = scene.render
    render.resolution_x, render.resolution_y, render.engine, render.dither_intensity = width, height, "CYCLES", 0.0
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.view_settings.view_transform = view
    render.image_settings.file_format = "PNG"


def rendered(scene, frame, folder):
    """The scene's render at a frame as (h, w, 4) in 0..255, top row first."""
    path = Path(folder) / f"render{next(COUNT)}.png"
    scene.frame_set(frame)
    scene.render.filepath, scene.render.image_settings.color_mode, scene.render.image_settings.color_depth = str(path), "RGBA", "8"
    bpy.ops.render.render(write_still=True, scene=scene.name)
    return pixels_of(path)


def pixels_of(path):
    image = bpy.data.images.load(str(path), check_existing=False)
    image.alpha_mode = "CHANNEL_PACKED"
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    width, height = image.size
    bpy.data.images.remove(image)
    return values.reshape(height, width, 4)[::-1] * 255


def far_off(seen, index, size=(32, 18)):
    """Largest difference in 0..255 between a render and the take's frame `index`."""
    return float(np.abs(seen[..., :3] - picture(index, *size)).max())

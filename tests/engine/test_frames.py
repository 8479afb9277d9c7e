"""Frames on disk: exact pixels, whole files or none, refusals in words."""
import struct
import subprocess
import sys
import threading
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from engine import frames, light
from engine.errors import Cut, FolderError
from engine.protocol import Shot, Size
from engine.proxy import Proxy

SIZE = Size(64, 48)


def a_shot(folder, **fields) -> Shot:
    return Shot(**{"id": "t", "family": "blockout", "prompt": "a red car", "seed": 2 ** 40 + 1, "size": SIZE, "frames": 6, "fps": 24.0, "out": str(folder), **fields})


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((SIZE.height, SIZE.width, 3), np.float32)


def read_png(path: Path) -> np.ndarray:
    import cv2
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB)


def read_exr(path: Path):
    import OpenEXR
    file = OpenEXR.File(str(path))
    return file.channels()["RGB"].pixels.copy(), file.header()


def texts(path: Path) -> dict[str, str]:
    """iTXt chunks of a PNG, read by the book."""
    encoded, at, found = path.read_bytes(), 8, {}
    while at < len(encoded):
        length, kind = struct.unpack(">I4s", encoded[at:at + 8])
        body = encoded[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", encoded[at + 8 + length:at + 12 + length])[0]
        if kind == b"iTXt":
            key, text = body.split(b"\0\0\0\0\0")
            found[key.decode()] = text.decode()
        at += 12 + length
    return found


@pytest.mark.parametrize("layout", ["contiguous", "reversed", "transposed", "sliced"])
@pytest.mark.parametrize("kind", ["png", "png16", "exr"])
def test_pixels_are_those_given_whatever_their_layout(tmp_path, kind, layout):
    image = picture()
    given = {"contiguous": image, "reversed": image[::-1, ::-1].copy()[::-1, ::-1], "transposed": np.asfortranarray(image),
             "sliced": np.repeat(image, 2, 1)[:, ::2]}[layout]
    path = tmp_path / "ü 汉 {#%}.x"
    printed = frames.write_frame(path, frames.quantised(given, frames.HIGHEST[kind]), kind, {"sora:seed": "1099511627777"})
    assert printed.size == path.stat().st_size and [one.name for one in tmp_path.iterdir()] == [path.name]
    if kind == "exr":
        found, header = read_exr(path)
        assert found.dtype == np.float16 and np.abs(found - light.linear(image)).max() < 6e-4 and header["sora:seed"] == "1099511627777"
        assert np.allclose(header["chromaticities"], frames.REC709)
    else:
        highest = 255 if kind == "png" else 65535
        found = read_png(path)
        assert found.dtype == (np.uint8 if kind == "png" else np.uint16) and (found == np.floor(image * np.float32(highest) + np.float32(0.5))).all()
        assert texts(path)["sora:seed"] == "1099511627777"


def test_the_curve_is_that_of_srgb():
    assert np.allclose(light.linear(np.array([0, 0.04045, 0.5, 1.0])), [0, 0.0031308, 0.2140411, 1], atol=1e-6)
    assert light.halves(light.SRGB)[0] == 0 and light.halves(light.SRGB)[-1] == 1


def test_logc3_is_arris_curve():
    """Points of ARRI's own table for exposure index 800: black, 18 % grey, and where the curve ends."""
    assert np.allclose(light.of_logc3(np.array([0.092809, 0.391007, 1.0])), [0, 0.18, 55.08], atol=[1e-6, 1e-4, 0.01])
    either = light.E * light.CUT + light.F + np.array([-1e-7, 1e-7])
    assert np.ptp(light.of_logc3(either)) < 1e-5, "its two parts meet"
    steps = np.arange(0, 65536, 97)
    assert np.allclose(light.linear(light.display()[steps] / 65535), light.of_logc3(steps / 65535).clip(0, 1), atol=1e-4)


@pytest.mark.parametrize("kind", ["png", "png16", "exr"])
def test_light_above_white_is_kept_in_exr_alone(tmp_path, kind):
    codes = np.linspace(0, 1, 64 * 48 * 3, dtype=np.float32).reshape(48, 64, 3)
    bright = light.of_logc3(codes)
    whole, shown = frames.developed(codes, kind, light.LOGC3)
    frames.write_frame(tmp_path / "a.x", whole, kind, frames.labels(a_shot(tmp_path, format=kind), light.LOGC3), light.LOGC3)
    seen = np.rint(light.shown(bright) * 255)
    assert np.abs(shown - seen).max() <= 1 and shown.dtype == np.uint8
    if kind == "exr":
        found, header = read_exr(tmp_path / "a.x")
        assert found.max() > 50 and np.allclose(found, bright, rtol=2e-3, atol=2e-4) and "LogC3" in header["sora:content"]
    else:
        found = read_png(tmp_path / "a.x")
        assert np.abs(found / (257 if kind == "png16" else 1) - seen).max() <= 1


def test_out_of_range_pixels_stay_in_range(tmp_path):
    image = np.full((8, 8, 3), 1.5, np.float32)
    image[0] = -0.5
    frames.write_frame(tmp_path / "a.png", frames.quantised(image, 255), "png", {})
    assert read_png(tmp_path / "a.png")[0].max() == 0 and read_png(tmp_path / "a.png")[1:].min() == 255


@pytest.mark.parametrize("kind", ["png", "png16", "exr"])
def test_a_shot_is_printed_in_order_with_scene_numbers(tmp_path, kind):
    shot = a_shot(tmp_path, format=kind, frame_start=98)
    with frames.Printer(shot, threading.Event()) as printer:
        for index in range(6):
            printer.print(index, partial(picture, index))
        printed = printer.finish()
    assert [one.name for one in printed] == [f"frames/{name}" for name in frames.files(shot).names()]
    assert frames.files(shot).names()[0] == f"plate.0098.{'exr' if kind == 'exr' else 'png'}"
    if kind == "png":
        assert all((read_png(tmp_path / one.name) == np.floor(picture(index) * np.float32(255) + np.float32(0.5))).all() for index, one in enumerate(printed))


def test_a_cut_stops_printing_and_leaves_whole_files(tmp_path):
    cut = threading.Event()
    with pytest.raises(Cut), frames.Printer(a_shot(tmp_path, frames=100), cut) as printer:
        for index in range(100):
            printer.print(index, partial(picture, index))
            if index == 20:
                cut.set()
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert 10 < len(names) < 30 and all(name.startswith("plate.") for name in names)


def test_a_folder_that_is_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "frames").write_text("in the way")
    with pytest.raises(FolderError) as refused, frames.Printer(a_shot(tmp_path), threading.Event()):
        pass
    assert refused.value.remedy.action == "choose_folder"


FULL_DISK = """
import resource, sys, threading
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from engine import frames, light
from engine.errors import DiskFull
image = frames.quantised(np.random.default_rng(0).random((256, 256, 3), np.float32), frames.HIGHEST[sys.argv[3]])
frames.write_frame(Path(sys.argv[2], "small.x"), image[:32, :32], sys.argv[3], {})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    frames.write_frame(Path(sys.argv[2], "large.x"), image, sys.argv[3], {})
except DiskFull as error:
    sys.exit(7 if error.remedy.action == "free_disk" else 8)
"""


@pytest.mark.parametrize("kind", ["png", "png16", "exr"])
def test_a_full_disk_says_so_and_keeps_what_was_printed(tmp_path, kind):
    child = subprocess.run([sys.executable, "-c", FULL_DISK, str(Path(__file__).resolve().parents[2]), str(tmp_path), kind], capture_output=True, text=True)
    assert child.returncode == 7, child.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.x"]


def test_the_film_has_the_right_colours_frames_and_tags(tmp_path):
    import av
    from av.video.reformatter import Colorspace
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    shot = a_shot(tmp_path, size=Size(66, 48), frames=10, fps=23.976)
    bands = np.repeat(np.array(colours, np.uint8)[None], [17, 17, 16, 16], 1).repeat(48, 0)
    with Proxy(shot, threading.Event()) as film:
        for index in range(10):
            film.add(index, bands)
        assert film.complete() == "proxy.mp4"
    assert [path.name for path in tmp_path.iterdir()] == ["proxy.mp4"]
    encoded = (tmp_path / "proxy.mp4").read_bytes()
    assert encoded.index(b"moov") < encoded.index(b"mdat")
    with av.open(str(tmp_path / "proxy.mp4")) as opened:
        stream, pictures = opened.streams.video[0], list(opened.decode(video=0))
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert len(pictures) == 10 and float(stream.average_rate) == pytest.approx(23.976, abs=1e-3) and (context.width, context.height) == (66, 48)
    found = pictures[5].reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray()
    for place, colour in zip((8, 25, 42, 58), colours):
        assert np.abs(found[24, place].astype(int) - colour).max() <= 4


def test_a_film_that_is_left_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), Proxy(a_shot(tmp_path), threading.Event()) as film:
        film.add(0, np.zeros((48, 64, 3), np.uint8))
        raise RuntimeError("left")
    assert list(tmp_path.iterdir()) == []



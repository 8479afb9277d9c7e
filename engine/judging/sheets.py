"""Contact sheets that a person can judge: one layout in twelve looks, text only, Blender's scenes with their results below, pictures of subjects."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..blockout import data, upscale
from ..clip import FOR_DELIVERY
from . import exam as exams
from . import shown
from .blender import Scene
from .studio import Studio, Wish, takes

if TYPE_CHECKING:
    from PIL import Image

LOOKS = ("realistic, at noon, on grass, a red {}", "at sunset, on sand, an orange {}", "at night, on asphalt, a blue {}", "noir style, black and white, a {}",
         "watercolour painting, a green {} on grass", "blueprint style, a {}", "neon style at night, a purple {}", "clay render of a {} under an overcast sky",
         "comic book style, a yellow {} on sand at sunset", "papercraft, a red {} on grass at noon", "documentary footage, a blue {} on asphalt",
         "1980s sci-fi film, an orange {} on asphalt at night, in the rain")
TEXTS = ("a red car on a city street at noon, static shot, realistic", "a yellow ball on sand at sunset, camera pushes in", "a blue cube to the left of a white cone on grass",
         "a purple cylinder on snow, camera orbits left", "a figure walking in a courtyard under an overcast sky", "a green car driving on a street at night, neon style",
         "a stone arch in a courtyard, watercolour painting", "an orange cone on asphalt, camera rises, noir style")
NATIVE, SCALE, SHOWN = (128, 72), 2, (0, .5, 1.)                # pixels of a clip; sheet pixels each; which frames of it
INK, PAPER, MARGIN, LINE = (235, 235, 235), (24, 24, 24), 8, 20


def _still(frame: Tensor, width: int, height: int) -> np.ndarray:
    """(3, h, w) in [-1, 1] -> uint8 (height, width, 3)."""
    shown = upscale.bicubic(frame, height, width).clamp(-1, 1) if frame.shape[1:] != (height, width) else frame
    return ((shown.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


def _strip(video: Tensor, width: int, full: dict[str, Tensor] | None = None) -> np.ndarray:
    """A clip (3, T, h, w) as a row of stills; up-scaled along full-size guides as a shot would be, where there are some."""
    height, stills = width * video.shape[2] // video.shape[3], []
    for share in SHOWN:
        at = round(share * (video.shape[1] - 1))
        frame = video[:, at]
        if full:
            frame = upscale.joint_bilateral(frame, *(full[kind][0, :, at] if kind in full else None for kind in FOR_DELIVERY)).clamp(-1, 1)
        stills.append(_still(frame, width, height))
    return np.concatenate(stills, 1)


def _layout(guides: dict[str, Tensor]) -> Tensor:
    """Depth and normals as a grey solid view (3, T, h, w) in [-1, 1], lit from the upper left."""
    light = torch.tensor([-.45, .6, .66]).view(3, 1, 1, 1)
    there = (guides["depth"][0] > 0).float()
    shade = (.35 + .6 * (guides["normal"][0] * light).sum(0, keepdim=True).clamp(min=0)) * (.5 + .5 * guides["depth"][0].sqrt()) * there
    return shade.expand(3, -1, -1, -1) * 2 - 1


def _page(cells: list[tuple[str, list[np.ndarray]]], columns: int) -> "Image.Image":
    """Cells of a caption above some strips, laid out in columns."""
    from PIL import Image, ImageDraw, ImageFont

    face, wide = ImageFont.load_default(size=13), cells[0][1][0].shape[1]
    tall = LINE + sum(strip.shape[0] for strip in cells[0][1]) + MARGIN
    page = Image.new("RGB", (columns * (wide + MARGIN) + MARGIN, -(-len(cells) // columns) * tall + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    for n, (caption, strips) in enumerate(cells):
        x, y = MARGIN + n % columns * (wide + MARGIN), MARGIN + n // columns * tall
        while pen.textlength(caption, face) > wide:
            caption = caption.rstrip("…")[:-1] + "…"
        pen.text((x, y), caption, fill=INK, font=face)
        page.paste(Image.fromarray(np.concatenate(strips)), (x, y + LINE))
    return page


def _layout_scene(found: list[Scene]) -> tuple[Wish, dict[str, Tensor], str]:
    """A shot of the layout that is shown in every look, its full-size guides, and its subject."""
    if found:
        scene = next((scene for scene in found if "arch" in scene.prompt), found[0])
        wish = scene.wish(0)
        return wish, _given(scene, wish), scene.truth["shape"]
    w, h = NATIVE
    clip = data.clip(exams.SEEDS + 700, exams.FRAMES, h, w, kind="objects", style="photo", count=2)
    exam = exams.Exam.of([clip])
    full = exams.guides_of([data.Clip(clip.rgb, *data.geometry(clip.scene, 2 * h, 2 * w), "", clip.scene)])
    return Wish(prompt="", seed=0, guides=exam.guides, size=NATIVE, frames=exams.FRAMES, **exam.flown(0)), full, clip.scene.things[0].word


def _given(scene: Scene, wish: Wish) -> dict[str, Tensor]:
    """The full-size guides that a shot of a scene has."""
    return {kind: scene.full[kind] for kind in wish.guides}


def looks(studio: Studio, found: list[Scene]) -> "Image.Image":
    layout, full, subject = _layout_scene(found)
    width = layout.size[0] * SCALE
    cells = [("the layout", [_strip(_layout(full), width)])]
    for seed, look in enumerate(LOOKS):
        prompt = look.format(subject)
        cells.append((prompt, [_strip(studio.clip(replace(layout, prompt=prompt, seed=seed))[0], width, full)]))
    return _page(cells, 3)


def text(studio: Studio) -> "Image.Image":
    clips = [(t, studio.clip(Wish(prompt=t, seed=seed, size=NATIVE))[0]) for seed, t in enumerate(TEXTS)]
    return _page([(t, [_strip(clip, NATIVE[0] * SCALE)]) for t, clip in clips], 2)


def blender(studio: Studio, found: list[Scene], count: int = 5) -> "Image.Image":
    """`count` of Blender's scenes, each above what the family made of it by the prompt, and below that by the colours of its materials too."""
    chosen = [found[i * len(found) // count] for i in range(min(count, len(found)))]
    cells = []
    for seed, scene in enumerate(chosen):
        width, ways = scene.size[0] * SCALE, ((), ("albedo",)) if takes(studio, "albedo") else ((),)
        wishes = [scene.wish(seed, more=more) for more in ways]
        cells.append((scene.prompt, [_strip(_layout(scene.full), width), *(_strip(studio.clip(wish)[0], width, _given(scene, wish)) for wish in wishes)]))
    return _page(cells, 2)


def subject(studio: Studio, count: int = 6) -> "Image.Image":
    """Pictures of a subject, each beside what the family makes along one layout without it and with it; the words do not say how it looks."""
    cells = []
    for seed in range(count):
        scene, prompt, picture = shown.sitting(seed)
        guides = exams.guides_of([data.Clip(np.zeros(0), *data.geometry(scene, *NATIVE[::-1]), prompt, scene)])
        wish = Wish(prompt=prompt, seed=seed, guides={"depth": guides["depth"]}, size=NATIVE)
        width = NATIVE[0] * SCALE // 2
        seen = np.pad(_still(picture[0], NATIVE[1], NATIVE[1]), ((0, 0), (0, len(SHOWN) * width - NATIVE[1]), (0, 0)), constant_values=PAPER[0])
        cells.append((prompt, [seen, *(_strip(studio.clip(one)[0], width) for one in (wish, replace(wish, reference=picture)))]))
    return _page(cells, 3)


def write(folder: Path, studio: Studio, found: list[Scene]) -> list[Path]:
    """The sheets as PNG; Blender's only where it has rendered scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"looks.png": looks(studio, found), "text.png": text(studio)} | ({"blender.png": blender(studio, found)} if found else {})
    pages |= {"subject.png": subject(studio)} if studio.references else {}
    for name, page in pages.items():
        page.save(folder / name)
    return [folder / name for name in pages]

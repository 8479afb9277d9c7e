"""How strictly a shot keeps to each guide: one strength, or, keyed or driven as anything in Blender, another one for some frames.

What moves is read as Blender itself evaluates it, on a copy of the scene without its objects, frame by frame; the engine gets runs of
equal strengths, so it has the very values that the timeline shows.
"""
from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from bpy_extras import anim_utils

from ..engine.protocol import FamilySpec, Guide, Shot, Span
from .passes.stage import staged

KINDS = ("depth", "normal", "albedo", "beauty", "edges", "layout", "vector")        # a mask is all or nothing, and a camera is where it is


def field(kind: str) -> str:
    """The settings' property of a kind's strength."""
    return f"strength_{kind}"


def now(settings, kind: str) -> float:
    """How strictly a kind of guide is kept to, 0 to 1, at the current frame."""
    return round(getattr(settings, field(kind)), 4) if kind in KINDS else 1.0


def animated(scene, kind: str) -> bool:
    """Whether a kind's strength is keyed, driven or in a strip of the scene's non-linear animation."""
    moved, path = scene.animation_data, f"sora.{field(kind)}"
    if moved is None or kind not in KINDS:
        return False
    played = [(moved.action, moved.action_slot), *((strip.action, strip.action_slot) for track in moved.nla_tracks for strip in track.strips)]
    return any(driver.data_path == path for driver in moved.drivers) or any(_curve(action, slot, path) for action, slot in played)


def _curve(action, slot, path: str):
    """The F-curve of a property in an action, or None."""
    channels = anim_utils.action_get_channelbag_for_slot(action, slot) if action and slot else None
    return channels.fcurves.find(path) if channels else None


# ---------------------------------------------------------------- scene -> shot
def over(scene, shot: Shot, spec: FamilySpec) -> tuple[Guide, ...]:
    """The shot's guides with their strengths in each frame; where the family keeps one throughout, that of the first frame."""
    moving = [guide.kind for guide in shot.guides if animated(scene, guide.kind)]
    if not moving:
        return shot.guides
    each = _sampled(scene, shot, moving)
    return tuple(_strung(guide, each[guide.kind], spec.spans) if guide.kind in each else guide for guide in shot.guides)


def _sampled(scene, shot: Shot, kinds: list[str]) -> dict[str, list[float]]:
    """kind -> the strength in each of the shot's frames. The scene stays at its own frame."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with staged(scene, shot, shot.frame_start) as stage:
        stage.clear()
        for index in range(shot.frames):
            stage.scene.frame_set(shot.numbered(index))
            settings = stage.scene.evaluated_get(stage.layer.depsgraph).sora
            for kind in kinds:
                found[kind].append(now(settings, kind))
    return found


def _strung(guide: Guide, each: list[float], spans: bool) -> Guide:
    """The guide with the first frame's strength, and the others' as runs."""
    runs, at = [], 0
    for strength, frames in groupby(each):
        last = at + len(list(frames)) - 1
        if strength != each[0]:
            runs.append(Span(first=at, last=last, strength=strength))
        at = last + 1
    return replace(guide, strength=each[0], spans=tuple(runs) if spans else ())


# ---------------------------------------------------------------- shot -> scene
def restore(scene, shot: Shot, spec: FamilySpec) -> None:
    """Puts a shot's strengths back, keyed where they were not the same throughout; other keys of theirs go. The reverse of `over`."""
    given = {guide.kind: guide for guide in shot.guides}
    for kind in [kind for kind in spec.guides if kind in KINDS]:
        _clear(scene, kind)
        guide = given.get(kind)
        setattr(scene.sora, field(kind), guide.strength if guide else 1.0)
        if guide and guide.spans:
            _key(scene, shot, guide)


def _clear(scene, kind: str) -> None:
    path, moved = f"sora.{field(kind)}", scene.animation_data
    if moved is None:
        return
    scene.driver_remove(path)
    curve = _curve(moved.action, moved.action_slot, path)
    if curve is not None:
        anim_utils.action_get_channelbag_for_slot(moved.action, moved.action_slot).fcurves.remove(curve)


def _key(scene, shot: Shot, guide: Guide) -> None:
    """A key at the beginning of each run, held until the next; the current frame's strength is shown at once."""
    each = [guide.strength] * shot.frames
    for span in guide.spans:
        each[span.first:span.last + 1] = [span.strength] * (span.last + 1 - span.first)
    for index, strength in enumerate(each):
        if index == 0 or strength != each[index - 1]:
            setattr(scene.sora, field(guide.kind), strength)
            scene.keyframe_insert(f"sora.{field(guide.kind)}", frame=shot.numbered(index))
    for point in _curve(scene.animation_data.action, scene.animation_data.action_slot, f"sora.{field(guide.kind)}").keyframe_points:
        point.interpolation = "CONSTANT"
    setattr(scene.sora, field(guide.kind), each[min(max(scene.frame_current - shot.frame_start, 0), shot.frames - 1)])

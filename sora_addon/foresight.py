"""What the shot as it is set would need of the device's memory, as an engine says that runs anyway; none is started for this.

Drawing calls `of`, which notes the question; the pump asks it once it has stood still for a moment, and brings the answer.
"""
from __future__ import annotations

import dataclasses
import time

from ..engine import protocol
from ..engine.errors import SoraError
from . import beside, places, shot, strengths

SETTLED = 0.4               # seconds without a change, after which a question is asked

_answer: protocol.Estimated | None = None
_wanted: protocol.Shot | None = None        # the question as the panels drew it last
_since = 0.0                                # when it became that
_asked = ""                                 # the id of the question that was sent last


def of(context, spec) -> protocol.Estimated | None:
    """What the shot would need; None while nobody has answered, or where the settings make no shot."""
    global _wanted, _since
    question = _question(context.scene, spec)
    if question != _wanted:
        _wanted, _since = question, time.monotonic()
    return _answer if question and _answer and _answer.shot == question.id else None


def _question(scene, spec) -> protocol.Shot | None:
    """A shot of which only what takes memory is said; its id tells it from any other."""
    settings = scene.sora
    try:
        (start, frames), size = shot.frame_range(scene, spec), shot.delivered(scene, spec)
    except SoraError:
        return None                         # Frames and Size says why
    try:
        loras = beside.loras(settings, spec, places.models_folder())
    except SoraError:
        return None                         # the list of LoRAs says why
    asked = protocol.Shot(
        id="", family=spec.name, model=settings.model_name, prompt="", seed=0, size=size, frames=frames, out="", loras=loras,
        fps=scene.render.fps / scene.render.fps_base, preset=shot.asked_preset(settings, spec),
        plan=shot.asked_plan(settings), two_stages=shot.two_stages(settings, spec), **shot.drafted(settings, spec),
        **shot.guidance(settings, spec), **shot.limits(settings, spec),
        source=protocol.Guide(kind="beauty", path="") if spec.source and settings.source_from != "NONE" else None,
        references=tuple(row.image for row in settings.references if row.on) if spec.references else (),
        guides=tuple(protocol.Guide(kind=kind, path="", strength=1.0 if strengths.animated(scene, kind) else strengths.now(settings, kind))
                     for kind in shot.wanted_guides(settings, spec)),
        keyframes=tuple(protocol.Keyframe(frame=frame, path="") for frame in beside.still_frames(settings, spec, start, frames)))
    return dataclasses.replace(asked, id=protocol.as_json(asked))


def waits() -> bool:
    """Whether a question is to be asked."""
    return _wanted is not None and _wanted.id != _asked


def ask(engine) -> None:
    """Send the question to an engine that is ready and idle, once it has settled."""
    global _asked
    if waits() and time.monotonic() - _since >= SETTLED:
        _asked = _wanted.id
        engine.send(protocol.Estimate(shot=_wanted))


def heard(answer: protocol.Estimated) -> None:
    """The engine's answer."""
    global _answer
    _answer = answer


def outdated() -> None:
    """Memory is another now: a shot ended, a model was freed, an engine began or ended. The question is asked again."""
    global _asked
    _asked = ""


def forget() -> None:
    """Nothing is known any more."""
    global _answer, _wanted, _asked
    _answer, _wanted, _asked = None, None, ""

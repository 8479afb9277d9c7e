"""A rehearsal in advance: what drafts by magnitudes go by, learned before the first of them is shot. Shoots nothing."""
from __future__ import annotations

import threading
from pathlib import Path

from . import check, device, families, presets, rehearsal
from .clock import Clock
from .errors import CHOOSE, FolderError, ModelError
from .protocol import MAGNITUDE, Shot, Size
from .sampling.draft import Draft
from .shoot import Say, held
from .studio import Studio

Ratios = dict[str, list[float]]


def asked(family: str, model: str, steps: int, guidance: float, preset: str) -> Shot:
    """A shot that stands for all drafts with these settings; 0 and below 0 are the model's own. Raises ModelError, ShotError."""
    spec = families.family(family).SPEC
    if not spec.magnitudes:
        raise ModelError(f"{spec.label} makes no drafts by magnitudes, so it has nothing to rehearse.", CHOOSE)
    shot = Shot(id="rehearsal", family=family, model=model, prompt=rehearsal.PROMPT, seed=0, size=spec.sizes.nearest(Size(416, 240)),
                frames=rehearsal.FRAMES, fps=24.0, out="", steps=steps, guidance=guidance, preset=preset, draft=True, draft_by=MAGNITUDE)
    check.numbers(shot)
    return presets.applied(shot)


def learned(shot: Shot, say: Say, cut: threading.Event, studio: Studio, again: bool = False) -> tuple[Path, str, Ratios]:
    """The file, under which name, and for each transformer how much its steps change; what is known already is learned `again` where asked.

    Raises Cut, SoraError.
    """
    folder, key = rehearsal.home(shot), rehearsal.key(shot)
    if folder is None:
        raise FolderError("What would be learned cannot be kept: the environment switches off the folder for it (SORA_CACHE is empty).")
    clock, known = Clock(shot, say), rehearsal.kept(folder).get(key)

    def work(place: device.Device, plan: str) -> Ratios:
        model = studio.model(shot, plan)
        studio.fit(model, shot, plan)
        studio.dress(model, shot)
        if not rehearsal.possible(Draft(0.0), model):
            raise ModelError("Memory suffices only to bring this model block by block, where drafts skip nothing; rehearse a smaller one.", CHOOSE)
        return rehearsal.learn(shot, model, studio, clock, cut)
    if again or known is None:
        known = held(shot, clock, cut, studio, work)
        if rehearsal.kept(folder).get(key) != known:        # what was there before may still be
            raise FolderError(f"What was learned cannot be kept: {folder / rehearsal.FILE} cannot be written; let it be written, and rehearse again.")
    return folder / rehearsal.FILE, key, known

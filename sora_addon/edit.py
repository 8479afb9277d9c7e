"""Where a scene's frames play in the edit: the sequencer of that scene itself, or of another one that shows it as a strip."""
from __future__ import annotations

from . import compat


def shift(sequenced, scene, first: int, last: int) -> int:
    """How many frames later the frames first..last of `scene` play in the sequencer of `sequenced`; 0 where it shows none of them."""
    if sequenced == scene or sequenced.sequence_editor is None:
        return 0
    for strip in sequenced.sequence_editor.strips_all:
        if strip.type == "SCENE" and strip.scene == scene:
            start, after = compat.strip_span(strip)
            later = compat.strip_content_start(strip) - scene.frame_start
            if first + later < after and start <= last + later:
                return later
    return 0

"""Ways out that several refusals of a shot share. Standard library only."""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from .errors import CHOOSE, ModelError, Remedy
from .protocol import Shot


def without_stills(shot: Shot, frames: Iterable[int] | None = None, ends: bool = True) -> Remedy:
    """Leaves out the stills at `frames`, counted from 0 within the shot, or all of them.

    With `ends`, the fields of the first and the last frame are emptied as well where these frames are among them.
    """
    if frames is None:
        return Remedy(action="leave_out", label="Leave the Stills Out", value="use_keyframes")
    asked = sorted(set(frames))
    fields = [field for field, frame in (("first_image", 0), ("last_image", shot.frames - 1)) if ends and frame in asked]
    return Remedy(action="leave_out", label="Leave It Out" if len(asked) == 1 else "Leave Them Out",
                  value=" ".join(["stills_at", *(str(shot.numbered(frame)) for frame in asked), *fields]))


def with_guide(kind: str) -> Remedy:
    """Switches a guide on."""
    return Remedy(action="use_guide", label=f"Use the {kind.title()} Guide", value=kind)


def with_still(shot: Shot, frame: int) -> Remedy:
    """Asks for a picture that the clip shows at `frame`, counted from 0 within the shot."""
    return Remedy(action="add_still", label="Choose a Picture", value=str(shot.numbered(frame)))


LEAVE_LORAS = Remedy(action="leave_out", label="Leave the LoRAs Out", value="loras")


@contextlib.contextmanager
def without_loras(way: Remedy = LEAVE_LORAS) -> Iterator[None]:
    """A ModelError that would have another model chosen leads out by this `way` instead: it is the LoRAs that do not fit."""
    try:
        yield
    except ModelError as error:
        if error.remedy != CHOOSE:
            raise
        raise ModelError(error.sentence, way) from error

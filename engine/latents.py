"""Final latents, kept with the take as they were sampled: frames can be decoded again, in another format or size, without sampling."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Remedy, ShotError
from .frames import replace, told
from .light import SRGB
from .protocol import LATENTS, Shot, Size

if TYPE_CHECKING:
    from torch import Tensor

    from .clip import Stretch

AGAIN = Remedy(action="shoot_again", label="Shoot Again")


def keep(shot: Shot, stretch: Stretch, native: Size, coding: str, latent: Tensor) -> Path:
    """Writes a window's clean latent (1, C, T, h, w); `coding` is how its pictures code light. Raises DiskFull or FolderError."""
    from safetensors.torch import save
    path = _file(shot.out, stretch.index)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise told(error, path.parent) from error
    said = {**_clip(shot), "native": str(native), "light": coding, **_place(stretch)}
    written = save({"latent": latent.detach().contiguous().cpu()}, said)
    replace(path, lambda partial: partial.write_bytes(written))         # save_file would make a file that nobody else may read
    return path


def check(shot: Shot) -> None:
    """Refuses a shot whose `latents` are not there, or of another clip. Raises ShotError."""
    _agree(_said(_file(shot.latents, 0)), _clip(shot), shot)


def native(shot: Shot) -> Size:
    """The size at which they were sampled, whatever the shot's is now. Raises ShotError."""
    return Size.parse(_said(_file(shot.latents, 0)).get("native", ""))


def coded(shot: Shot) -> str:
    """How their pictures code light, as engine.light knows it. Raises ShotError."""
    return _said(_file(shot.latents, 0)).get("light", SRGB)


def agree(shot: Shot, stretch: Stretch) -> Path:
    """The file of a window's latent, if it is of that window of the shot's clip. Raises ShotError."""
    path = _file(shot.latents, stretch.index)
    _agree(_said(path), {**_clip(shot), **_place(stretch)}, shot)
    return path


def read(shot: Shot, stretch: Stretch) -> Tensor:
    """A window's latent, on the CPU. Raises ShotError."""
    from safetensors.torch import load_file
    return load_file(agree(shot, stretch))["latent"]


def _file(take: str, window: int) -> Path:
    return Path(take, LATENTS, f"{window:04d}.safetensors")


def _clip(shot: Shot) -> dict[str, str]:
    return {"family": shot.family, "model": shot.model, "frames": str(shot.frames), "fps": f"{shot.fps:.6g}"}


def _place(stretch: Stretch) -> dict[str, str]:
    return {"first": str(stretch.start), "length": str(stretch.frames)}


def _said(path: Path) -> dict[str, str]:
    """What a file says of itself. Raises ShotError."""
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, "pt") as file:
            if "latent" not in file.keys():
                raise ShotError(f"{path} holds no latent.", AGAIN)
            return file.metadata() or {}
    except FileNotFoundError as error:
        raise ShotError(f"{path.parent.parent.name or path} kept no latents from which frames could be made again.", AGAIN) from error
    except (OSError, SafetensorError) as error:
        raise ShotError(f"{path} cannot be read: {error}.", AGAIN) from error


def _agree(said: dict[str, str], wanted: dict[str, str], shot: Shot) -> None:
    for name, value in wanted.items():
        if said.get(name) != value:
            raise ShotError(f"The latents in {Path(shot.latents).name} are of another clip: their {name} is {said.get(name) or 'not known'}, not {value}.",
                            AGAIN)

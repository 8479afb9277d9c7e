"""The families of models this engine can shoot with: an explicit list. Standard library only until one is loaded.

A family is one file with `SPEC` (a protocol.FamilySpec) and `load(folder, device) -> Model` as described below. It may have
`folder(model) -> Path`, where its models do not lie in the models folder ("" is its default), `check(shot, folder)`, which refuses
what one model of the family cannot do although another can, `area(folder)`, pixels of the largest picture, where its models
differ, `made(folder) -> Size`, where they make pictures of one size only, `given(shot) -> footprint.Given`, what a shot gives them that
takes memory, `notes(shot)`, what its takes say of it, `light(shot)`, how its pictures code light, where that is not as displays do,
`second(shot)`, the LoRAs of its second stage, `refines(folder)`, as in its SPEC, where its models differ, `TOGETHER`, frames sampled
at once, where that is less than its window, `TOKEN`, pixels of a token's side, where a folder's configuration does not say, `rehearsals(folder)`,
the folder in which rehearsals are kept, where that is not the model's, `rate(folder)`, its models' frames a second, where they differ,
and `rehearsed(slope)`, the fields of a Window that a rehearsal cannot do without, made of the pictures `slope` (frames, h, w, 1), which
rise from 0 at the top to 1 at the bottom.
A new family is one new file and one line here; families never import each other.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import CHOOSE, WEIGHTS, ModelError
from ..protocol import Defaults, FamilySpec, Size
from ..models import admission
from . import blockout, cogvideox, ltx2, sana_wm, skyreels, vace, wan

FAMILIES = {family.SPEC.name: family for family in (blockout, wan, vace, ltx2, sana_wm, skyreels, cogvideox)}
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One stretch of a shot that is sampled at once. Arrays are at the native size; images are sRGB from 0 to 1."""

    frames: int                             # on the family's grid
    size: Size                              # native
    seed: int                               # this window's own
    steps: int
    guidance: float
    text: Any                               # what Model.text gave for the prompt and the negative prompt
    negative: Any
    guides: dict[str, Any] = field(default_factory=dict)        # kind -> float32 (frames, h, w, C), as engine.guides reads them
    strengths: dict[str, float] = field(default_factory=dict)   # kind -> 0..1
    tail: Any = None                        # Tensor (overlap, 3, h, w): the last frames of the window before
    stills: dict[int, Any] = field(default_factory=dict)        # frame in the window -> float32 (h, w, 3)
    spans: dict[str, Any] = field(default_factory=dict)         # kind -> float32 (frames,), where the strength differs between frames
    references: tuple[Any, ...] = ()        # float32 (h, w, 3) each, of any size
    source: Any = None                      # float32 (frames, h, w, 3): a clip to begin from
    source_latent: Any = None               # Tensor: what its frames were decoded from, where a take kept it
    change: float = 1.0                     # how much of `source` is made anew, 0..1
    cameras: Any = None                     # engine.camera.Cameras, one for each frame, for pictures of `size`
    near: float = 0.0                       # metres to the nearest and the farthest thing in the shot; 0: nobody said
    far: float = 0.0
    fps: float = 24.0
    index: int = 0                          # which of the shot's windows
    guidance_low: float = -1.0              # of the expert for little noise; below 0: as `guidance`
    guided: range | None = None             # steps with guidance; None: all
    draft: Any = None                       # engine.sampling.draft.Draft, which counts, or Learning; None: every block in every step
    preset: Any = None                      # protocol.Preset, whose schedule is kept to
    compiled: bool = False                  # the transformer's blocks are compiled where they can be
    two_stages: bool = False                # in two stages: the first at half of `size`
    precise: bool = False                   # its files have more than 8 bits a colour


class Model(Protocol):
    """Loaded weights. Tensors stay on the device; only `deliver` gives arrays.

    A model of a family whose SPEC has `loras` also has `wear(loras) -> tuple[str, ...]`, called before every shot with what the
    shot wants on (path, strength), which raises ModelError and returns notes; where some are for one of two experts, `experts` says for each
    which, as a place in protocol.EXPERTS; where it has a second stage, those of that are `later`,
    and `doubled(size)` is its size then, as `native`. One whose SPEC has `audio` has `sound(fps, frames)`,
    which gives float32 (channels, samples) and samples a second of the shot sampled last. `fit(needed, floor, asked) -> plan.Plan`
    is there where the model can be kept in memory in several ways: it goes over to the plan `asked` for, or to the fastest one from `floor`
    on that fits, which `placing.plan` names from the moment it is tried, `native_fps` where its frame rate is another one than its family's. One whose SPEC has `refines` has
    `refiner(prompt, strength, seed)`: None where its weights have none, otherwise one clip's way through it, with `times`, how much wider
    and higher frames become, and `steps(frames, guides)`, which gives the next frames (n, 3, H, W) of the next (n, 3, h, w) once a step,
    the last ones for good, along Tensors (n, C, H, W). `completed(prompt)` is there where a prompt gets words that it lacks, after its own.
    `encoded`, a diffusers_line.remembered.Encoded, is there where `sample` encodes guides, stills or a source clip, and takes long for it.
    """

    window: int                             # frames sampled at once, on the grid
    overlap: int                            # frames that a window shares with the one before, on the grid

    def native(self, size: Size) -> Size:
        """The size that the model itself makes for a shot of `size`."""

    def text(self, prompt: str) -> Any:
        """The prompt's embedding; worth keeping."""

    def not_understood(self, prompt: str) -> tuple[str, ...]:
        """Words that the model does not know."""

    def sample(self, window: Window) -> Iterator[Any]:
        """One estimate of the clean latent a step; the last one is the result."""

    def glimpse(self, latent: Any, window: Window) -> Any:
        """A quick look at an estimate: float32 (n, h, w, 3), sRGB 0..1, the latent frames `engine.clock.moments`, of any size."""

    def decode(self, latent: Any, window: Window) -> Iterator[Any]:
        """The window's native frames as they come: Tensors (n, 3, h, w), sRGB 0..1."""

    def deliver(self, frames: Any, size: Size, guides: dict[str, Any]) -> Any:
        """Native frames -> float32 (n, height, width, 3) of `size`; `guides` are at that size."""


def specs() -> tuple[FamilySpec, ...]:
    """What every family takes and gives, in the order of the list."""
    return tuple(family.SPEC for family in FAMILIES.values())


def family(name: str):
    """The family's module. Raises ModelError."""
    if name not in FAMILIES:
        raise ModelError(f"There is no family called {name!r}; there are: {', '.join(FAMILIES)}.", CHOOSE)
    return FAMILIES[name]


def weights(name: str, model: str) -> Path:
    """The folder of a family's model: a name the family knows, or an absolute path. Raises ModelError; pickles are refused."""
    folder = Path(model) if Path(model).is_absolute() else _folder(name, model)
    if not folder.is_dir():
        raise ModelError(f"The model {model or family(name).SPEC.models[0]!r} is not there: {folder} is not a folder.", WEIGHTS)
    if (folder / "model_index.json").is_file():
        admission.check_folder(folder)
        return folder
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if pickles:
        raise ModelError(f"{folder} holds {pickles[0]}, which could run a program when opened; only safetensors are loaded.", WEIGHTS)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} holds no weights (*.safetensors).", WEIGHTS)
    return folder


def own(name: str, model: str) -> Defaults:
    """The steps and the guidance of a family's model; "" is its default, or the first one installed. Raises ModelError, FolderError."""
    spec = family(name).SPEC
    if not model and spec.defaults:
        from ..models import store
        model = store.Store(store.default_folder()).find(name).name
    return spec.own(model)


def two_experts(folder: Path) -> bool:
    """Whether a model's folder has a transformer for much noise and one for little."""
    return all((folder / part).is_dir() for part in ("transformer", "transformer_2"))


def _folder(name: str, model: str) -> Path:
    """Where a model lies by its name; "" is the family's default, or the first one installed. Raises ModelError, FolderError."""
    if hasattr(family(name), "folder"):
        return family(name).folder(model)
    from ..models import store
    return store.resolve(name, model)


def lora(name: str, wanted: str) -> Path:
    """The file of a LoRA: one of the models folder for the family `name`, or an absolute path. Raises ModelError, FolderError."""
    from ..models import recognise, store
    if not Path(wanted).is_absolute():
        kept = store.Store(store.default_folder())
        found = kept.named(wanted)
        if found.kind != "lora":
            raise ModelError(f"{wanted} is a model, not a LoRA.", CHOOSE)
        kept.check(found)
        if found.family != name:                # one of a family with the same transformer fits as well
            recognise.agree(found.path, name, lora=True)
        return found.path
    if not Path(wanted).is_file():
        raise ModelError(f"The LoRA {wanted} is not there.", CHOOSE)
    recognise.agree(Path(wanted), name, lora=True)
    return Path(wanted)

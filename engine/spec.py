"""What a family of models takes and gives: what the panel is built from. Standard library only, as the wire that it travels by."""
from __future__ import annotations

from dataclasses import dataclass

from .grids import FrameGrid, SizeGrid

EXPERTS = ("both", "high", "low")           # the transformers that a LoRA is for: all, the one for much noise, the one for little


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA of the models folder, or a safetensors file by its absolute path. Two of the same name give it two strengths, one for each expert."""

    name: str
    strength: float = 1.0
    expert: int = 0                         # of a model with two transformers: one of EXPERTS by its place


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A few steps with weights that were distilled to them, chosen at once: steps, guidance, schedule and LoRAs go together."""

    name: str
    label: str
    note: str                               # one sentence for the panel
    source: str                             # the address where its numbers are documented
    models: tuple[str, ...]                 # of the family, for which it is made; imported ones are tried
    steps: int
    guidance: float
    loras: tuple[Lora, ...]                 # by their names in the catalogue
    shift: float = 1.0                      # of the noise levels towards noise
    renews: bool = False                    # noise anew between steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The frame rate of one model of a family, where it is another one than its family's."""

    model: str
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What one model of a family is documented to be shot with."""

    model: str
    steps: int
    guidance: float
    guidance_low: float = -1.0              # of the expert for little noise, where it is another one; below 0: as `guidance`
    source: str = ""                        # the address where its numbers are documented; "": its family's


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The room that one model of a family takes, as the catalogue has it. Bytes; 0: not documented."""

    model: str
    disk: int = 0                           # all of its files
    memory: int = 0                         # its transformer in 16 bits, one where it has two; 8 bits take half of that
    note: str = ""                          # what the documentation says of its size


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """What a family of models takes and gives. The panel is built from this, so a new family needs no new panel."""

    name: str
    label: str
    note: str                               # one sentence for the panel: what it is good for
    licence: str
    guides: tuple[str, ...] = ()
    spans: bool = False                     # a guide's strength may be another one in some frames
    keyframes: bool = False
    shared: int = 1                         # pictures of a take that carry its motion on where another shot joins it, by stills at as many frames
    source: bool = False                    # takes a source clip (remix, extend)
    changes: bool = False                   # keeps as much of the source clip as the shot says
    negative: bool = True
    frames: FrameGrid = FrameGrid()
    sizes: SizeGrid = SizeGrid()
    longest: int = 1440                     # frames
    native_fps: float = 0.0                 # 0: one image for each of the shot's frames, at any rate
    rates: tuple[Rate, ...] = ()            # of models that have another one
    native_area: int = 0                    # pixels; 0: the shot's own size, otherwise frames are up-scaled from about this area
    steps: int = 8
    guidance: float = 3.0
    defaults: tuple[Defaults, ...] = ()     # of models that are shot otherwise
    models: tuple[str, ...] = ()
    weights: tuple[Weights, ...] = ()       # the room that they take; none for what comes with the engine
    experts: tuple[str, ...] = ()           # those of them that have two transformers, one for much noise and one for little
    references: int = 0                     # pictures of a subject that a shot may have
    loras: bool = False
    kin: tuple[str, ...] = ()               # other families whose LoRAs fit as well: they have the same transformer
    audio: bool = False                     # sound comes with the pictures
    plans: bool = False                     # its models can be kept in memory in several ways
    window: int = 0                         # frames sampled at once at most; 0: it depends on the weights
    drafts: float = 0.0                     # change of the first block below which a draft skips the others; 0: it makes none
    magnitudes: float = 0.0                 # error of the magnitudes up to which a draft by them skips steps; 0: it makes none
    refines: float = 0.0                    # strength of its refiner unless a shot says otherwise, 0..1; 0: it has none
    second: int = 0                         # steps of a second stage, which makes each side twice as long; 0: it has none
    presets: tuple[Preset, ...] = ()        # ways of shooting in a few steps
    compiles: bool = False                  # its transformers can be compiled
    limits: bool = False                    # guidance can be limited to some of the steps

    def own(self, model: str) -> Defaults:
        """What `model` is shot with where a shot does not say: what is documented of it, or the family's numbers for one that nobody knows."""
        return next((one for one in self.defaults if one.model == model), Defaults(model=model, steps=self.steps, guidance=self.guidance))

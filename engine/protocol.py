"""The wire: every value that passes between Blender and the engine, and how it is written as one line of JSON.

Standard library only, imported by both sides with relative imports. Unknown fields are ignored, so that a newer
side may say more; another VERSION is refused with a remedy. Pixels never pass here: they travel as files.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path

from .errors import FolderError, Remedy, SoraError, VersionError, WireError
from .grids import FrameGrid, Size, SizeGrid
from .spec import EXPERTS, Defaults, FamilySpec, Lora, Preset, Rate, Weights

VERSION = 1
LONGEST_LINE = 4_000_000        # characters; a shot with 5,000 camera matrices stays a file, so nothing honest is longer

GUIDE_KINDS = ("depth", "normal", "albedo", "beauty", "mask", "edges", "layout", "vector", "camera")
FORMATS = ("png", "png16", "exr")
LANDINGS = ("strip", "compositor", "camera", "backdrop")
FIRST_BLOCK, MAGNITUDE = DRAFTS = "first_block", "magnitude"     # what says that a step would change little: the first block, or what was learned
PROCESSOR = "cpu"           # the plan that leaves the card alone
PLANS = ("full", "turns", "int8", "fp8", "blocks", PROCESSOR)        # ways of keeping a model in memory, from the fastest to the slowest
STAGES = ("waiting", "guides", "load", "text", "encode", "denoise", "decode", "write", "proxy")


# ---------------------------------------------------------------- the shot
@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A guide's own strength in the frames `first`..`last`, both included, counted from 0 within the shot."""

    first: int
    last: int
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A sequence of images of one kind, one file for each of the shot's frames, or a `camera.json`. One that is longer is cut, of one
    that is shorter the last frame holds, and the take says so.

    `path` is a folder with numbered EXR (or PNG) files, several kinds may share one multi-layer folder;
    for `camera` and `layout` it is a JSON file. `near` and `far` are metres, fixed over the shot, for depth only.
    """

    kind: str
    path: str
    near: float | None = None
    far: float | None = None
    strength: float = 1.0
    spans: tuple[Span, ...] = ()            # frames in which it is another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe:
    """A still that the clip must show. `frame` counts from 0 within the shot."""

    frame: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One frozen request. Paths are absolute; `frame_start` is the scene frame of the first image."""

    id: str                                 # also the name of the take's folder
    family: str
    prompt: str
    seed: int
    size: Size                              # pixels of the delivered frames
    frames: int
    fps: float
    out: str                                # the take's folder
    model: str = ""                         # "": the family's default
    negative: str = ""
    frame_start: int = 1
    steps: int = 0                          # 0: the model's own
    guidance: float = -1.0                  # below 0: the model's own
    guidance_low: float = -1.0              # of the expert for little noise, where the model has two; below 0: goes with `guidance`
    guided_from: float = 0.0                # share of the steps before which, and after which, there is no guidance:
    guided_until: float = 1.0               # none is left out from 0 to 1
    format: str = "png"
    guides: tuple[Guide, ...] = ()
    keyframes: tuple[Keyframe, ...] = ()
    source: Guide | None = None             # a clip to begin from, kind "beauty"; a strength of 1 changes it altogether
    references: tuple[str, ...] = ()        # image files of the subject
    loras: tuple[Lora, ...] = ()
    landings: tuple[str, ...] = ()
    landing: dict[str, str] = dataclasses.field(default_factory=dict)   # options of the landings: scene, camera, channel, distance
    name: str = ""                          # what the artist calls it
    latents: str = ""                       # a take's folder: what it kept is decoded once more, and nothing sampled
    plan: str = ""                          # one of PLANS; "": the fastest that fits
    preset: str = ""                        # one of the family's; its LoRAs are worn beside those of `loras`
    compiled: bool = False                  # the transformer's blocks are compiled first, which pays for many shots of one size
    draft: bool = False                     # steps that would change little are skipped: faster, and not quite the same picture
    draft_by: str = FIRST_BLOCK             # one of DRAFTS, for a draft
    refine_strength: float = -1.0           # how much a second model may draw anew in the finished frames, 0..1; below 0: the family's default
    refine_prompt: str = ""                 # what it is told; "": the shot's own prompt
    two_stages: bool = False                # sampled at half the size, then made twice as large and refined in a second stage

    @property
    def limited(self) -> bool:
        """Whether some steps do without guidance."""
        return (self.guided_from, self.guided_until) != (0.0, 1.0)

    @property
    def deep(self) -> bool:
        """Whether its files have more than 8 bits a colour."""
        return self.format != "png"

    def numbered(self, index: int) -> int:
        """Scene frame (and file number) of the image `index`, which counts from 0."""
        return self.frame_start + index


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a take's images are: `folder/pattern % number`, relative to the take, for `count` numbers from `first`."""

    folder: str
    pattern: str                            # "plate.%04d.png"
    first: int
    count: int
    colourspace: str                        # Blender's name of it: "sRGB" or "Linear Rec.709"

    def names(self) -> list[str]:
        """File names in order, without the folder."""
        return [self.pattern % number for number in range(self.first, self.first + self.count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """What `take.json` says of one finished result. Paths are relative to the take's folder, so that it may move."""

    id: str
    shot: Shot
    files: Files
    native: Size                            # what the model itself made, before up-scaling
    native_frames: int                      # before trimming
    device: str
    created: str                            # ISO 8601, UTC
    engine: dict[str, str]                  # versions
    seconds: dict[str, float]               # per stage, and "total"
    peak_bytes: int                         # process memory (CPU) or device memory (GPU)
    notes: tuple[str, ...] = ()             # what was padded, trimmed, resampled, up-scaled
    not_understood: tuple[str, ...] = ()    # words of the prompt that the model does not know
    proxy: str = ""
    sound: str = ""                         # a WAV file as long as the frames, "" for families without
    refined: Size | None = None             # what the second model made of the native frames, before up-scaling
    plan: str = ""                          # how the model was kept in memory: one of PLANS
    planned_bytes: int = 0                  # what that was estimated to need; peak_bytes is what it did
    evaluations: int = 0                    # of transformer blocks, for a draft
    skipped: int = 0                        # of them
    version: int = VERSION

    @property
    def elapsed(self) -> float:
        """Seconds from the request to the last file. Stages that ran beside each other add up to more."""
        return self.seconds.get("total", sum(self.seconds.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's: what was looked at, what was found, and a remedy where it is wrong."""

    what: str
    found: str
    well: bool
    remedy: Remedy | None = None


TAKE_FILE, SHOT_FILE, LATENTS = "take.json", "shot.json", "latents"      # in a take's folder; the last is a folder, one file a window


def read_take(folder: str | Path) -> Take:
    """The take in `folder`. Raises FolderError when it is missing, WireError when it is damaged."""
    return _read(Path(folder) / TAKE_FILE, Take)


def read_shot(folder: str | Path) -> Shot:
    """The shot as it was frozen in `folder`. Raises like read_take."""
    return _read(Path(folder) / SHOT_FILE, Shot)


@dataclass(frozen=True, slots=True)
class Loop:
    """What a shot shows of the take that it leads from the end of back to the beginning: `head` last pictures of it first, `tail` first ones last.

    Played after the take, again and again, only what lies between them is shown: no picture comes twice.
    """

    take: Path                              # folder
    head: int
    tail: int


def loop_of(shot: Shot) -> Loop | None:
    """The loop that a shot's stills make with a take, None where they make none. They lie in the take, as its frames or as pictures of them."""
    at = {still.frame: Path(still.path) for still in shot.keyframes}
    head = next(count for count in range(shot.frames + 1) if count not in at)
    tail = next(count for count in range(shot.frames + 1) if shot.frames - 1 - count not in at)
    if not (head and tail) or head + tail >= shot.frames:
        return None
    folder = at[0].parent.parent
    try:
        stems = [Path(name).stem for name in read_take(folder).files.names()]
    except SoraError:
        return None                         # stills from elsewhere
    shown = [path.stem if path.parent.parent == folder else "" for path in (at[frame] for frame in sorted(at))]
    return Loop(folder, head, tail) if shown[:head] == stems[-head:] and shown[-tail:] == stems[:tail] else None


def as_json(value) -> str:
    """A dataclass as indented JSON, for `take.json` and `shot.json`."""
    return json.dumps(dataclasses.asdict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path, kind):
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise WireError(f"{path} is damaged: {error}.") from error
    try:
        return decode(json.loads(text), kind)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{path} is damaged: {error}.") from error


# ---------------------------------------------------------------- messages
@dataclass(frozen=True, slots=True, kw_only=True)
class Shoot:
    shot: Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    shot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Asks what a shot would need; it is not shot, and neither its files nor its prompt are looked at."""

    shot: Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """First line of every engine."""

    engine: str                             # the engine's own version
    device: str
    families: tuple[FamilySpec, ...]
    pid: int
    slow: Finding | None = None             # why large models take hours on this device


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """A few small frames of the clip as it looks so far: `folder/pattern % index` for `count` indices from 0, written over again and again."""

    folder: str
    pattern: str                            # "%02d.png"
    count: int
    fps: float                              # images a second at which they last as long as what they show

    def names(self) -> list[str]:
        """File names in order, without the folder."""
        return [self.pattern % index for index in range(self.count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    shot: str
    stage: str
    step: int = 0
    steps: int = 0
    eta: float = -1.0                       # seconds; below 0: not known yet
    preview: str = ""                       # an image file, or ""
    reel: Reel | None = None                # the same, moving
    note: str = ""                          # for instance: waiting for another Blender


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    shot: str
    take: str                               # the take's folder
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """`shot` is "" when the request itself could not be read."""

    shot: str
    code: str
    sentence: str
    remedy: Remedy | None = None

    @classmethod
    def of(cls, shot: str, error: SoraError) -> "Failed":
        return cls(shot=shot, code=error.code, sentence=error.sentence, remedy=error.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    shot: str
    printed: int = 0                        # frames that are on disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """`shot` would need `bytes` of the device's `free` ones by `plan`; `plan` is "" where the family has no choice, or `note` says why."""

    shot: str
    plan: str = ""
    bytes: int = 0
    free: int = 0
    fits: bool = True
    note: str = ""
    remedy: Remedy | None = None


REQUESTS = (Shoot, Cancel, Unload, Estimate, Quit)
EVENTS = (Ready, Progress, Done, Failed, Cancelled, Unloaded, Estimated)
ENDINGS = (Done, Failed, Cancelled)
Request = Shoot | Cancel | Unload | Estimate | Quit
Event = Ready | Progress | Done | Failed | Cancelled | Unloaded | Estimated


def write(message: Request | Event) -> str:
    """The message as one line, newline included."""
    fields = {"v": VERSION, "type": type(message).__name__, **dataclasses.asdict(message)}
    return json.dumps(fields, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"


def read(line: str, kinds=REQUESTS + EVENTS) -> Request | Event:
    """One line -> message of one of `kinds`. Raises WireError or VersionError, never anything else."""
    if len(line) > LONGEST_LINE:
        raise WireError(f"A message of {len(line)} characters is longer than the wire takes.")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:       # ValueError: also a number of more digits than Python reads
        raise WireError(f"This is not a message: {line[:80]!r} ({error}).") from error
    if not isinstance(fields, dict) or "type" not in fields:
        raise WireError(f"This is not a message: {line[:80]!r}.")
    if fields.get("v") != VERSION:
        raise VersionError(f"The other side speaks version {fields.get('v')!r} of the wire, this one {VERSION}.",
                           Remedy(action="update_engine", label="Update Engine"))
    for kind in kinds:
        if kind.__name__ == fields["type"]:
            return decode(fields, kind)
    raise WireError(f"No message is called {str(fields['type'])[:40]!r} here.")


# ---------------------------------------------------------------- JSON -> dataclass
def decode(fields, kind):
    """A JSON object -> dataclass `kind`, checked field by field; unknown fields are ignored. Raises WireError."""
    if not isinstance(fields, dict):
        raise WireError(f"{kind.__name__} must be an object, not {type(fields).__name__}.")
    hints, values = _hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in fields:
            values[field.name] = _value(fields[field.name], hints[field.name], f"{kind.__name__}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WireError(f"{kind.__name__} lacks {field.name}.")
    return kind(**values)


@functools.cache
def _hints(kind) -> dict:
    """Field -> type: read from the source's annotations, which takes ten times as long as all the rest of a message."""
    return typing.get_type_hints(kind)


def _value(value, hint, where: str):
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return _value(value, next(choice for choice in inner if choice is not type(None)), where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(item, inner[0], where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {str(key): _value(item, inner[1], where) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return decode(value, hint)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise WireError(f"{where} cannot be {str(value)[:40]!r}.")

"""Scene settings -> protocol.Shot: the only such mapping. What cannot be shot is refused here, with a way out."""
from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import bpy

from ..engine import protocol
from ..engine.errors import Remedy, ShotError
from ..engine.protocol import FamilySpec, Guide, Shot, Size
from . import beside, families, footage, library, places, preferences, settings as choices, slate, strengths

NEEDS_CAMERA = ("camera", "backdrop")       # landings that mean nothing without one; every guide needs one
SENSIBLE_FRAMES = 49


def frozen(context) -> Shot:
    """The shot as it would be made now, with its folder made and `shot.json` in it; guides have no path yet.

    An unlocked seed is drawn anew and written back to the settings. Raises SoraError, most often ShotError.
    """
    scene, settings = context.scene, context.scene.sora
    spec = families.spec(settings.family_name)
    prompt, size, (start, frames) = spoken(settings), delivered(scene, spec), frame_range(scene, spec)
    if not prompt:
        raise ShotError("The prompt is empty.", Remedy(action="write_prompt", label="Write Prompt"))
    guides, landings, folder = wanted_guides(settings, spec), wanted_landings(settings), takes_folder(context)
    _require_camera(scene, guides, landings)
    more = {"keyframes": beside.stills(settings, spec, start, frames), "references": beside.references(settings, spec),
            "loras": beside.loras(settings, spec, places.models_folder())}
    clip = beside.source(context, spec, start, frames, folder)
    name = library.take_id(_title(prompt), datetime.now())
    if not settings.lock_seed:
        settings.seed = random.SystemRandom().randrange(2**31)
    shot = Shot(
        id=name, family=spec.name, model=settings.model_name, prompt=prompt, negative=settings.negative.strip() if spec.negative else "",
        seed=settings.seed, size=size, frames=frames, frame_start=start, fps=scene.render.fps / scene.render.fps_base,
        out=str(folder / name), steps=settings.steps, format=settings.format,
        guides=tuple(Guide(kind=kind, path="", strength=strengths.now(settings, kind)) for kind in guides),
        landings=landings, landing=landing(context), name=_title(prompt), plan=asked_plan(settings), preset=asked_preset(settings, spec),
        compiled=settings.compiled and spec.compiles,
        two_stages=two_stages(settings, spec), **drafted(settings, spec), **guidance(settings, spec), **limits(settings, spec), **refiner(settings, spec),
        **more)
    shot = replace(shot, guides=strengths.over(scene, shot, spec))
    if clip:
        shot = replace(shot, source=_source(shot, clip, settings.source_change if spec.changes else 1.0))
    slate.freeze(shot)
    return shot


def drafted(settings, spec: FamilySpec) -> dict:
    """Whether steps are skipped, and how."""
    return {"draft": settings.draft and spec.drafts > 0, "draft_by": settings.draft_by if spec.magnitudes else protocol.FIRST_BLOCK}


def guidance(settings, spec: FamilySpec) -> dict[str, float]:
    """How strictly the prompt is followed, by the expert for little noise otherwise where the model has two and the artist wants it."""
    from . import stock             # it looks after the engine, which reads these settings
    low = {"guidance_low": round(settings.guidance_low, 4)} if settings.split_guidance and stock.two_experts(spec, settings.model_name) else {}
    return {"guidance": settings.guidance, **low}


def is_guided(settings, spec: FamilySpec) -> bool:
    """Whether any step is."""
    return max(guidance(settings, spec).values()) > 1


def limits(settings, spec: FamilySpec) -> dict[str, float]:
    """Which share of the steps is guided, where it is not all of them."""
    if not (spec.limits and settings.limit_guidance and is_guided(settings, spec)):
        return {}
    return {"guided_from": round(settings.guided_from, 3), "guided_until": round(settings.guided_until, 3)}


def asked_preset(settings, spec: FamilySpec) -> str:
    """The preset's name, "" for none, or where the model has it not."""
    found = families.preset(spec, settings.model_name, settings.preset_name)
    return found.name if found else ""


# ---------------------------------------------------------------- words
def spoken(settings) -> str:
    """The prompt as one line: the linked text when there is one, otherwise the field."""
    written = settings.prompt_text.as_string() if settings.prompt_text else settings.prompt
    return " ".join(written.split())


def _title(prompt: str) -> str:
    """A few words that name the take for a person."""
    return " ".join(prompt.split()[:6])[:48].rstrip(" ,.;:")


# ---------------------------------------------------------------- time and size
def asked_range(scene) -> tuple[int, int]:
    """First and last scene frame of the shot, as asked. Raises ShotError when the preview range is off."""
    settings = scene.sora
    if settings.frame_source == "CUSTOM":
        return settings.frame_start, settings.frame_end
    if settings.frame_source == "SCENE":
        return scene.frame_start, scene.frame_end
    if not scene.use_preview_range:
        count = scene.frame_end - scene.frame_start + 1
        raise ShotError("The timeline has no preview range.", _use_frames(count))
    return scene.frame_preview_start, scene.frame_preview_end


def frame_range(scene, spec: FamilySpec) -> tuple[int, int]:
    """First scene frame and number of frames. Raises ShotError for what the family or file names cannot do."""
    start, end = asked_range(scene)
    count = end - start + 1
    if count < 1:
        raise ShotError(f"Frames {start} to {end} are no frames at all.", _use_frames(min(SENSIBLE_FRAMES, spec.longest)))
    if start < 0:
        raise ShotError(f"The shot begins at frame {start}; files are numbered by frame, so it must begin at 0 or later.", _use_frames(count))
    if count > spec.longest:
        raise ShotError(f"{count:,} frames are more than {spec.label} makes in one shot ({spec.longest:,}).", _use_frames(spec.longest))
    return start, count


def _use_frames(count: int) -> Remedy:
    return Remedy(action="set_frames", label=f"Use {count:,} Frames", value=str(count))


def asked_size(scene, spec: FamilySpec) -> Size:
    """The size as asked, off the grid or not (pixels)."""
    settings, render = scene.sora, scene.render
    if settings.size_source == "CUSTOM":
        return Size(settings.size_width, settings.size_height)
    part = render.resolution_percentage / 100
    full = Size(max(1, int(render.resolution_x * part)), max(1, int(render.resolution_y * part)))
    if settings.size_source == "RENDER":
        return full
    native = families.native_size(spec, full, two_stages(settings, spec))      # a model may draw smaller than anything that it delivers
    grow = max(1.0, spec.sizes.shortest / min(native.width, native.height))
    return Size(round(native.width * grow), round(native.height * grow))


def delivered(scene, spec: FamilySpec) -> Size:
    """The size on the family's grid that is nearest to the one asked for. Raises ShotError when that is far outside."""
    asked, grid = asked_size(scene, spec), spec.sizes
    longest, shortest = max(asked.width, asked.height), min(asked.width, asked.height)
    if grid.shortest <= shortest and longest <= grid.longest:
        return grid.nearest(asked)
    limit = grid.longest / longest if longest > grid.longest else grid.shortest / shortest
    fitting = grid.nearest(Size(round(asked.width * limit), round(asked.height * limit)))
    raise ShotError(f"{asked} is outside of what {spec.label} delivers: sides of {grid.shortest} to {grid.longest} pixels.",
                    Remedy(action="set_size", label=f"Use {fitting}", value=str(fitting)))


def two_stages(settings, spec: FamilySpec) -> bool:
    """Whether the clip goes through a second stage."""
    return settings.two_stages and spec.second > 0


def refiner(settings, spec: FamilySpec) -> dict:
    """How much a second model may draw anew, and what it is told, for families that have one."""
    if not spec.refines:
        return {}
    return {"refine_strength": round(settings.refine_strength, 4), "refine_prompt": settings.refine_prompt.strip() if settings.refine_strength else ""}


def asked_plan(settings) -> str:
    """The way of keeping the model in memory that the artist insists on; "" is the fastest that fits."""
    return "" if settings.plan == choices.AUTOMATIC else settings.plan


# ---------------------------------------------------------------- guides, stills, landings
def wanted_guides(settings, spec: FamilySpec) -> tuple[str, ...]:
    """Kinds of guides that are on and that the family takes, in the wire's order."""
    if not settings.use_guides:
        return ()
    return tuple(kind for kind in protocol.GUIDE_KINDS if kind in spec.guides and getattr(settings, f"guide_{kind}"))


def told(settings, spec: FamilySpec) -> bool:
    """Whether the scene says how things move, by a guide or a source clip: then every frame is made, whatever the model's own rate."""
    return any(kind != "camera" for kind in wanted_guides(settings, spec)) or spec.source and settings.source_from != "NONE"


def wanted_landings(settings) -> tuple[str, ...]:
    """Where the take goes when it is there, in the wire's order."""
    return tuple(name for name in protocol.LANDINGS if getattr(settings, f"land_{name}"))


def sees(scene) -> bool:
    """Whether the scene has a camera: its own, or one that a marker switches to."""
    return scene.camera is not None or any(marker.camera for marker in scene.timeline_markers)


def needs_camera(settings, spec: FamilySpec) -> bool:
    """A prompt alone needs no camera; guides and landings in space do."""
    return bool(wanted_guides(settings, spec)) or any(name in NEEDS_CAMERA for name in wanted_landings(settings))


def _require_camera(scene, guides, landings) -> None:
    if sees(scene) or not (guides or any(name in NEEDS_CAMERA for name in landings)):
        return
    what = "Guides are seen through a camera" if guides else "This landing needs a camera"
    raise ShotError(f"{what}, and the scene has none.", Remedy(action="add_camera", label="Add Camera from View"))


def _source(shot: Shot, clip: list[Path], change: float) -> Guide:
    """The clip as the engine reads it: a folder with one picture for each of the shot's frames. Raises FolderError or GuideError."""
    leave = Remedy(action="leave_out", label="Begin from Nothing", value="source")
    folder = clip[0].parent if footage.only(clip, leave) else footage.linked(clip, shot.frame_start, Path(shot.out) / footage.FOLDER)
    return Guide(kind="beauty", path=str(folder), strength=round(change, 4))


def landing(context) -> dict[str, str]:
    """Options of the landings and passes, as text: what the scene was called and looked through at this moment."""
    scene, settings = context.scene, context.scene.sora
    return {
        "scene": scene.name,
        "camera": scene.camera.name if scene.camera else "",
        "view_layer": context.view_layer.name,
        "mask": settings.mask_collection.name if settings.mask_collection else "",
        "layout": settings.layout_collection.name if settings.layout_collection else "",
        "selection": json.dumps(sorted(thing.name for thing in context.view_layer.objects.selected)) if _of_selection(settings) else "null",
        "channel": str(settings.strip_channel) if settings.strip_channel else "",
        "distance": f"{settings.backdrop_distance:.6g}" if settings.backdrop_distance else "",
        "film": "1" if settings.land_compositor and settings.film else "",
    }


def _of_selection(settings) -> bool:
    """Whether a guide may be of what is selected."""
    return settings.guide_mask or settings.guide_layout


# ---------------------------------------------------------------- folders
def takes_folder(context) -> Path:
    """Where this .blend's takes go: beside the saved file in `sora`, otherwise the folder of the preferences."""
    chosen = preferences.of(context)
    if bpy.data.filepath and chosen.takes_place == "BESIDE":
        return Path(bpy.data.filepath).resolve().parent / "sora"
    return Path(chosen.takes_folder).expanduser().resolve()


# ---------------------------------------------------------------- once more
def again(folder: Path, takes: Path, vary: bool = False, **otherwise) -> Shot:
    """The shot of a take as a new one, with the same seed or, to `vary`, another; fields may be `otherwise`. Raises FolderError or WireError.

    Guides that still lie in the take are used as they are, so that the same seed gives the same pixels; where one is
    gone, all are rendered again. A source clip that lies in the take is taken along.
    """
    before = protocol.read_take(folder).shot
    name = library.take_id(before.name, datetime.now())
    there = all(guide.path and Path(guide.path).exists() for guide in before.guides)
    shot = replace(
        before, id=name, out=str(takes / name), seed=random.SystemRandom().randrange(2**31) if vary else before.seed,
        guides=before.guides if there else tuple(replace(guide, path="") for guide in before.guides),
        **({"latents": ""} | otherwise))
    shot = replace(shot, source=_source_again(before, folder, shot))
    slate.freeze(shot)
    return shot


def developed(folder: Path, takes: Path, kind: str) -> Shot:
    """The shot of a take as a new one that decodes what was sampled once more, in the format `kind`. Raises SoraError."""
    if not Path(folder, protocol.LATENTS).is_dir():
        raise ShotError("This take kept no latents; shoot it again in the other format.", Remedy(action="shoot_again", label="Shoot Again"))
    return again(folder, takes, latents=str(folder), format=kind)


def _source_again(before: Shot, folder: Path, shot: Shot) -> Guide | None:
    """The source clip of a take that lies in `folder`, for another shot; what the take holds itself gets a second name there."""
    clip = before.source
    if clip is None or not Path(clip.path).is_relative_to(before.out):
        return clip
    kept = Path(folder) / Path(clip.path).relative_to(before.out)       # the take may have been moved since
    pictures = footage.numbered(kept, Remedy(action="choose_folder", label="Choose a Folder"))
    return replace(clip, path=str(footage.linked(list(pictures.values()), shot.frame_start, Path(shot.out) / footage.FOLDER)))


def restore(scene, shot: Shot) -> None:
    """Puts a shot back into the scene's settings, seed locked, so that Generate makes it again. The reverse of frozen."""
    from . import defaults          # it looks after the engine, which reads these settings
    settings, spec = scene.sora, families.spec(shot.family)
    settings.family, settings.model_name = spec.name, shot.model
    settings.prompt_text, settings.prompt, settings.negative = None, shot.prompt, shot.negative
    settings.frame_source, settings.frame_start, settings.frame_end = "CUSTOM", shot.frame_start, shot.numbered(shot.frames - 1)
    settings.size_source, settings.size_width, settings.size_height = "CUSTOM", shot.size.width, shot.size.height
    settings.seed, settings.lock_seed, settings.format = shot.seed, True, shot.format
    settings.compiled, settings.draft_by = shot.compiled, shot.draft_by
    settings.preset_name, preset = shot.preset, families.preset(spec, shot.model, shot.preset)
    settings.plan, settings.draft, settings.two_stages = shot.plan or choices.AUTOMATIC, shot.draft, shot.two_stages
    settings.limit_guidance = shot.limited
    if shot.limited:
        settings.guided_from, settings.guided_until = shot.guided_from, shot.guided_until
    if spec.refines:
        settings.refine_strength = shot.refine_strength if shot.refine_strength >= 0 else spec.refines
        settings.refine_prompt = shot.refine_prompt
    defaults.restore(settings, spec, shot, preset)
    brought = {lora.name for lora in preset.loras} if preset else set()
    shot = replace(shot, loras=tuple(lora for lora in shot.loras if lora.name not in brought))
    kinds = {guide.kind for guide in shot.guides}
    settings.use_guides = bool(kinds)
    for kind in spec.guides:
        setattr(settings, f"guide_{kind}", kind in kinds)
    strengths.restore(scene, shot, spec)
    beside.restore(settings, shot, spec, takes_folder(bpy.context))
    for name in protocol.LANDINGS:
        setattr(settings, f"land_{name}", name in shot.landings)
    settings.mask_collection = bpy.data.collections.get(shot.landing.get("mask", ""))
    settings.layout_collection = bpy.data.collections.get(shot.landing.get("layout", ""))
    settings.strip_channel = int(shot.landing.get("channel") or 0)
    settings.backdrop_distance = float(shot.landing.get("distance") or 0)
    settings.film = shot.landing.get("film") == "1"

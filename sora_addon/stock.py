"""What the panels know of the models on this machine, and the one errand about them that runs: fetch, check, import, remove.

Each is a child process that `tick` looks after; a timer calls it, and tests and scripts call it by hand. Drawing may call
`look` and the questions, nothing else; the network is used by `ask` and `get` alone, which buttons call.
"""
from __future__ import annotations

import logging
from pathlib import Path

import bpy

from ..engine.errors import EngineMissing, ModelError, Remedy, SoraError
from . import catalogue, home, places, pump

log = logging.getLogger(__name__)

BEAT = 0.25             # seconds between two looks
VERBS = {"ask": "Asking about", "pull": "Getting", "verify": "Verifying", "import": "Importing", "remove": "Removing", "empty": "Emptying the trash of"}

listing: catalogue.Listing | None = None
errand: catalogue.Errand | None = None
verb = about = ""                           # what the errand does, and to which model
step: catalogue.Step | None = None          # how far it is
plans: dict[str, catalogue.Plan] = {}       # what the hub said of models that were asked about
troubles: dict[str, SoraError] = {}         # model -> why its last errand failed; "" for what belongs to none
_reading: catalogue.Errand | None = None    # a list that is being made
_stale = True                               # the list is not what is on the disk, or there is none yet


# ---------------------------------------------------------------- what panels ask
def look() -> None:
    """Have the list made, unless it is there, is being made, or there is no engine to make it. Costs drawing nothing."""
    if _stale and _reading is None:
        _wake()


def lacking(family: str, model: str) -> catalogue.Model | None:
    """The model that a shot of the family needs and that is not here, as far as is known."""
    return listing.lacking(family, model) if listing else None


def imported(family: str) -> list[catalogue.Model]:
    """Models of the family that no catalogue has: they came from this machine."""
    return [model for model in (listing.of(family) if listing else ()) if model.is_here and model.kind in catalogue.WHOLE and not model.repository]


def meant(spec, model: str) -> str:
    """The name of the weights that a shot uses: "" are the first of the family that are here, or that there are where nobody knows yet."""
    here = (one.name for one in (listing.of(spec.name) if listing else ()) if one.is_here and one.kind in catalogue.WHOLE)
    return model or next(here, next(iter(spec.models), ""))


def two_experts(spec, model: str) -> bool:
    """Whether the weights `model` ("": the first that are here) have a transformer for much noise and one for little.

    Imported ones are looked at. Where nobody knows yet it is taken for true: the engine refuses what is for an expert that is not there.
    """
    if not spec.experts:
        return False
    model = meant(spec, model)
    if model in spec.models:
        return model in spec.experts
    known = listing.named(model) if listing else None
    return known is None or (Path(known.folder) / "transformer_2").is_dir()


# ---------------------------------------------------------------- what operators call
def refresh() -> None:
    """Read the models folder again. Raises EngineMissing."""
    global _stale
    places.engine_python()
    _stale = True
    _wake()


def elsewhere() -> None:
    """The models folder is another one: what was known of it is not true any more."""
    global listing, _stale
    listing, _stale = None, True


def ask(model: str) -> None:
    """Ask the hub what a download would bring. Raises ModelError, EngineMissing."""
    _require_online()
    _begin("ask", model, ("pull", model, "--ask"), online=True)


def get(model: str, licence: str) -> None:
    """Download a model, or go on with it; `licence` is the short name of the one that was accepted. Raises ModelError, EngineMissing."""
    _require_online()
    _begin("pull", model, ("pull", model, "--accept-licence", licence), online=True)


def verify(model: str) -> None:
    """Read every byte of a model again. Raises ModelError, EngineMissing."""
    _begin("verify", model, ("verify", model))


def bring(source: str, *options: str) -> None:
    """Import a folder or file; `options` as `models import` takes them. Raises ModelError, EngineMissing."""
    _begin("import", "", ("import", source, *options))


def remove(model: str) -> None:
    """Move a model to the trash of the models folder. Raises ModelError, EngineMissing."""
    pump.unload()                           # an engine that holds its files would keep them from moving on Windows
    _begin("remove", model, ("remove", model))


def empty_trash() -> None:
    """Delete what was removed. Raises ModelError, EngineMissing."""
    _begin("empty", "", ("remove", "--empty-trash"))


def stop() -> None:
    """End the errand; a download goes on from there when it is asked for again."""
    if errand:
        errand.stop()


def _require_online() -> None:
    if not bpy.app.online_access:
        raise ModelError("Blender may not go online; allow it in the preferences under System, Network.",
                         Remedy(action="allow_online", label="Allow Online Access"))


def _begin(what: str, model: str, arguments: tuple[str, ...], online: bool = False) -> None:
    global errand, verb, about, step
    if errand:
        raise ModelError(f"{VERBS[verb]} {about or 'models'} is not finished yet.")
    errand = catalogue.Errand(places.engine_python(), places.ROOT, arguments, places.engine_settings(), online)
    verb, about, step = what, model, None
    troubles.pop(model, None)
    errand.start()
    _wake()


# ---------------------------------------------------------------- the tick
def tick() -> float | None:
    """Looks whether anything was said. Seconds until the next look; None when nothing is under way."""
    _list()
    if errand:
        _hear()
    if _reading:
        _hear_list()
    return BEAT if errand or _reading else None


def _list() -> None:
    """Starts the reading of the list where it is stale."""
    global _reading, _stale
    if not _stale or _reading or errand:
        return
    try:
        _reading = catalogue.Errand(places.engine_python(), places.ROOT, ("list",), places.engine_settings())
    except EngineMissing as trouble:
        log.debug("no list of models without an engine: %s", trouble)
        return
    _stale = False
    _reading.start()


def _hear_list() -> None:
    global _reading, listing
    for said in _reading.poll():
        _reading = None
        match said:
            case catalogue.Finished(facts=facts):
                try:
                    listing = catalogue.listing(facts)
                    troubles.pop("", None)
                except SoraError as trouble:
                    troubles[""] = trouble
            case catalogue.Stopped(error=trouble):
                troubles[""] = trouble
        home.redraw()


def _hear() -> None:
    global errand, step, _stale
    for said in errand.poll():
        match said:
            case catalogue.Plan():
                plans[said.model] = said
            case catalogue.Step():
                step = said
            case catalogue.Finished():
                _end(None)
            case catalogue.Stopped(error=trouble):
                _end(trouble)
        home.redraw()


def _end(trouble: SoraError | None) -> None:
    global errand, step, _stale
    errand, step, _stale = None, None, True
    if trouble is None or trouble.code == "cut":
        troubles.pop(about, None)
    else:
        log.warning("%s %s: %s", verb, about, trouble)
        troubles[about] = trouble
    if trouble is None and verb == "ask" and not bpy.app.background:
        bpy.app.timers.register(_offer, first_interval=0.0)
    if verb != "ask":
        plans.pop(about, None)              # what is missing is something else now


def _offer() -> float | None:
    """The hub has answered: show the licence and the size, once the list is there, and let the artist accept."""
    if listing is None:
        return None if "" in troubles else BEAT
    window = bpy.context.window or bpy.context.window_manager.windows[0]
    with bpy.context.temp_override(window=window):
        bpy.ops.sora.get_model("INVOKE_DEFAULT", model=about)
    return None


def _wake() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=0.0, persistent=True)


def register():
    """Nothing runs before it is asked for."""


def unregister():
    global errand, listing, step, _reading, _stale
    for timer in (tick, _offer):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for running in (errand, _reading):
        if running:
            running.stop()
    errand = listing = step = _reading = None
    _stale = True
    plans.clear()
    troubles.clear()

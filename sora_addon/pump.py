"""The pump: guides out, events in, takes land. The one place where the engine's events meet bpy.

There is one pump in a Blender: this module. Panels read `slate`, `engine_ready`, `error`; operators call the functions
of the first section. `tick` is a plain callable that a timer calls, and that tests and scripts call by hand, because
timers never fire in background mode.
"""
from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import bpy

from ..engine import protocol
from ..engine.errors import EngineMissing, FolderError, GuideError, Remedy, SoraError
from . import client, families, foresight, home, passes, places, preferences, reel, takes
from .claim import Claims
from .slate import Cut, Failed, Printed, Queued, Rolling, Slate, freeze, owner, save

log = logging.getLogger(__name__)

slate = Slate()
engine: client.Engine | None = None
engine_ready: protocol.Ready | None = None      # None until the engine has said what it can do
error: Failed | None = None                     # what stands in the engine's way, with its remedy
holds_model = False                             # the engine has been shooting since its memory was freed last
longest_tick = 0.0                              # seconds on the main thread, guide frames and landings aside
longest_landing = 0.0                           # seconds

ENGINE_CODES = ("engine_missing", "engine_broken", "other_version")     # no shot can succeed before a remedy

_guides = None                                  # (shot id, generator) while guides are rendered
_rendering = False                              # a guide frame is being rendered at this moment
_unlanded: deque[str] = deque()
_claims = Claims()                              # says to other Blenders which shots are being looked after
_stale = False                                  # panels show something old


# ---------------------------------------------------------------- what operators call
def submit(context, shot: protocol.Shot) -> None:
    """Put a frozen shot on the slate and get going. Raises ShotError or FolderError."""
    shot = home.leaving(shot, context.scene)
    changed = slate.add(shot)
    _claims.take(shot, owner(shot))
    freeze(shot)
    _become(changed)
    wake()


def warm() -> None:
    """Start the engine unless it runs, so that the first shot need not wait. What is wrong stands in `error`."""
    try:
        _ensure_engine()
    except SoraError as trouble:
        _say(trouble)
    wake()


def foresee() -> None:
    """A shot is likely to follow: start the engine where it is installed. Where it is not, Generate says so."""
    if bpy.app.background:
        return                      # scripts set prompts without shooting, and nobody waits
    try:
        places.engine_python()
    except EngineMissing:
        return
    warm()


def cut(shot: str) -> None:
    """Cut a queued or rolling shot; what is printed stays."""
    _become(slate.cut(shot))
    if _guides and _guides[0] == shot:
        _close_guides()
        _become(slate.put(shot, Cut()))
    elif engine and shot in engine.shots:
        engine.send(protocol.Cancel(shot=shot))
    wake()


def retry(shot: str, render_guides: bool = False) -> None:
    """Queue a failed, cut or interrupted shot once more; rendered guides are used again unless `render_guides`.

    Raises ShotError when another Blender has taken it over, FolderError when its folder cannot be written.
    """
    global error
    entry = slate.find(shot)
    if entry is None:
        return
    _claims.take(entry.shot, owner(entry.shot))
    if render_guides:
        _become(slate.ready(replace(entry.shot, guides=tuple(replace(guide, path="") for guide in entry.shot.guides))))
    error = None
    _become(slate.retry(shot))
    wake()


def move(shot: str, by: int) -> None:
    """Move a shot on the slate, negative towards the beginning."""
    _become(slate.move(shot, by))


def remove(shot: str) -> None:
    """Take a shot that is not rolling off the slate; its folder stays."""
    _become(slate.remove(shot))


def clear() -> None:
    """Take off the slate what has ended."""
    _become(slate.clear())


def unload() -> None:
    """Free the model's memory while nothing is rolling."""
    if engine and engine_ready and not engine.shots:
        engine.send(protocol.Unload())


def restart() -> None:
    """Stop the engine and start another."""
    global error
    stop()
    error = None
    warm()


def resume(takes: str | Path) -> None:
    """Put what a former Blender left unfinished in the folder on the slate, held until the artist asks for it."""
    known = {entry.shot.id for entry in slate.entries}
    left = [entry for entry in Slate.resume(Path(takes)).entries if entry.shot.id not in known]
    if left:
        _become(Slate((*left, *slate.entries)), keep=False)


def stop(wait: bool = False) -> None:
    """Stop the engine, at once for the caller unless `wait`; a rolling shot is held on the slate."""
    global engine, engine_ready
    interrupt_guides("Interrupted: the engine was stopped.")
    for entry in slate.entries:
        if isinstance(entry.status, Rolling):
            _become(slate.put(entry.shot.id, Queued(held="Interrupted: the engine was stopped.")))
    if engine:
        engine.stop(wait=wait)
        if not wait:
            wake()                      # somebody has to look whether it leaves
    engine = engine_ready = None
    _freed()


# ---------------------------------------------------------------- the tick
def tick() -> float | None:
    """One turn: events in, the next shot, one landing, one guide frame. Seconds until the next; None when asleep."""
    global longest_tick, longest_landing
    started = time.perf_counter()
    _drain()
    _begin()
    _foresee()
    _redraw()
    longest_tick = max(longest_tick, time.perf_counter() - started)
    if not bpy.app.is_job_running("RENDER"):
        started = time.perf_counter()
        if _land():
            longest_landing = max(longest_landing, time.perf_counter() - started)
        _roll_guides()
    leaving = client.see_out()
    if _guides or _unlanded:
        return 0.01
    if slate.rolling or slate.following:
        return 0.1
    if engine or leaving:
        return 0.2 if leaving or foresight.waits() else 1.0
    return None


def run_until_idle(timeout: float = 600.0) -> None:
    """Tick by hand until nothing is queued, rolling or unlanded. Raises TimeoutError."""
    end = time.monotonic() + timeout
    while slate.rolling or slate.following or _unlanded:
        if time.monotonic() > end:
            raise TimeoutError(f"The slate is not empty after {timeout:.0f} seconds.")
        time.sleep(min(tick() or 0.0, 0.05))


def wake() -> None:
    """See to it that the timer runs."""
    global _stale
    _stale = True
    if not bpy.app.timers.is_registered(_beat):
        bpy.app.timers.register(_beat, first_interval=0.0, persistent=True)


def leave() -> None:
    """Blender ends: the engine with it; what was rolling is offered next time."""
    stop(wait=True)
    _claims.release()


def sleep() -> None:
    """The end of the pump: the extension is disabled."""
    global slate
    families.adopt(())          # the next engine may have others
    leave()
    foresight.forget()
    _unlanded.clear()
    slate = Slate()
    if bpy.app.timers.is_registered(_beat):
        bpy.app.timers.unregister(_beat)


def _beat() -> float | None:
    """The timer. A defect of ours fails the shot and shows its traceback, but does not end the pump."""
    finished = False
    try:
        pause = tick()
        finished = True
        return pause
    finally:
        if not finished:
            _after_defect()


def _after_defect() -> None:
    _close_guides()
    _unlanded.clear()
    if slate.rolling:
        _fail(slate.rolling.shot.id, SoraError("Something unforeseen went wrong; Blender's console says more.",
                                               Remedy(action="shoot_again", label="Shoot Again")))
    bpy.app.timers.register(lambda: wake(), first_interval=1.0)     # Blender drops a timer that raised


def _foresee() -> None:
    """Ask an engine that has nothing else to do what the next shot would need."""
    if engine and engine_ready and not engine.shots:
        foresight.ask(engine)


# ---------------------------------------------------------------- events in
def _drain() -> None:
    global engine, engine_ready, error
    if engine is None:
        return
    for event in engine.poll():
        match event:
            case protocol.Ready():
                engine_ready, error = event, None
                families.adopt(event.families)
                foresight.outdated()
            case protocol.Estimated():
                foresight.heard(event)
            case protocol.Unloaded():
                _freed()
            case protocol.Failed(shot=""):
                _say(event)
            case _:
                _hear(event)
        _mark_stale()
    if not engine.alive:
        engine = engine_ready = None
        _freed()
        _mark_stale()


def _freed() -> None:
    """The engine holds no model any more."""
    global holds_model
    holds_model = False
    foresight.outdated()
    reel.close()


def _hear(event: protocol.Event) -> None:
    """An event about one shot."""
    _become(slate.apply(event))
    reel.hear(event)
    if isinstance(event, protocol.ENDINGS):
        foresight.outdated()
    if isinstance(event, protocol.Done):
        _unlanded.append(event.shot)
    if isinstance(event, protocol.Failed) and event.code in ENGINE_CODES:
        _say(event)


def _say(trouble: SoraError | protocol.Failed) -> None:
    """Show what stands in the engine's way; where no shot can succeed before a remedy, the queue waits."""
    global error
    error = _failed(trouble)
    log.warning("%s", error.sentence)
    if trouble.code in ENGINE_CODES:
        for entry in slate.entries:
            _become(slate.hold(entry.shot.id, trouble.sentence))
    _mark_stale()


def _become(following: Slate, keep: bool = True) -> None:
    """The one place where the slate changes; each new status is kept on disk."""
    global slate
    before = {entry.shot.id: entry.status for entry in slate.entries}
    slate = following
    for entry in following.entries:
        if keep and type(before.get(entry.shot.id)) is not type(entry.status):
            _save(entry)
    _mark_stale()


def _save(entry) -> None:
    global error
    try:
        save(entry, _claims.name(entry.shot))
    except FolderError as trouble:
        log.warning("%s", trouble)
        error = _failed(trouble)


def _fail(shot: str, trouble: SoraError) -> None:
    _become(slate.put(shot, _failed(trouble)))


def _failed(trouble: SoraError | protocol.Failed) -> Failed:
    return Failed(code=trouble.code, sentence=trouble.sentence, remedy=trouble.remedy)


def _mark_stale() -> None:
    global _stale
    _stale = True


def _redraw() -> None:
    global _stale
    if _stale:
        _stale = False
        home.redraw()


# ---------------------------------------------------------------- shots out
def _begin() -> None:
    """Start the shot whose turn it is."""
    entry = slate.following
    if slate.rolling or entry is None:
        return
    try:
        _ensure_engine()
        wanted = tuple(guide for guide in entry.shot.guides if not guide.path)
        if wanted:
            _start_guides(entry.shot, wanted)
        else:
            _send(entry.shot)
    except SoraError as trouble:
        _fail(entry.shot.id, trouble)
        if trouble.code in ENGINE_CODES:
            _say(trouble)


def _send(shot: protocol.Shot) -> None:
    global holds_model
    _ensure_engine()
    holds_model = True
    note = "" if engine_ready else "The engine is starting"
    _become(slate.put(shot.id, Rolling(stage="waiting", note=note)))
    engine.send(protocol.Shoot(shot=shot))


def _ensure_engine() -> None:
    """Start the engine unless it runs. Raises EngineMissing, EngineBroken or FolderError."""
    global engine, engine_ready
    if engine and engine.alive:
        return
    started = client.Engine(places.engine_python(), places.ROOT, places.log_path(), settings=places.engine_settings())
    started.start()
    engine, engine_ready = started, None


def make_way() -> None:
    """Blender itself is about to render: give it the memory that a model holds, unless the artist would rather keep it loaded."""
    if holds_model and not _rendering and preferences.of(bpy.context).free_for_render:
        unload()


# ---------------------------------------------------------------- guides
def _start_guides(shot: protocol.Shot, wanted: tuple[protocol.Guide, ...]) -> None:
    global _guides
    _guides = shot.id, passes.roll(home.scene_of(shot), replace(shot, guides=wanted))
    _become(slate.put(shot.id, Rolling(stage="guides", steps=shot.frames)))


def _roll_guides() -> None:
    """Render one frame of guides, and send the shot off after the last."""
    global _rendering
    if _guides is None:
        return
    shot, frames = _guides
    _rendering = True
    try:
        home.scene_of(slate.find(shot).shot)
        done, total = next(frames)
        _become(slate.put(shot, Rolling(stage="guides", step=done, steps=total)))
    except StopIteration as finished:
        _guides_done(shot, finished.value)
    except SoraError as trouble:
        _close_guides()
        _fail(shot, trouble)
    except (RuntimeError, ReferenceError, OSError) as trouble:
        _close_guides()
        _fail(shot, GuideError(f"The guides could not be rendered: {trouble}.",
                               Remedy(action="render_guides", label="Render Again", value=shot)))
    finally:
        _rendering = False


def _guides_done(shot: str, rendered: tuple[protocol.Guide, ...]) -> None:
    global _guides
    _guides = None
    asked = slate.find(shot).shot
    made = {guide.kind: guide for guide in rendered}
    whole = replace(asked, guides=(*(made.pop(guide.kind, guide) for guide in asked.guides), *made.values()))
    try:
        freeze(whole)
        _become(slate.ready(whole))
        _send(whole)
    except SoraError as trouble:
        _fail(shot, trouble)


def interrupt_guides(held: str = "") -> None:
    """Leave the guides and queue their shot again, to begin them anew; with `held`, only when the artist asks."""
    if _guides:
        shot = _guides[0]
        _close_guides()
        _become(slate.put(shot, Queued(held=held)))


def _close_guides() -> None:
    """Leave the guides where they are; the pass puts the scene back."""
    global _guides
    if _guides is None:
        return
    (_shot, frames), _guides = _guides, None
    try:
        frames.close()
    except ReferenceError as trouble:
        log.info("the scene went before its guides: %s", trouble)


# ---------------------------------------------------------------- takes land
def _land() -> bool:
    """Land one printed take. False when none waits."""
    entry = slate.find(_unlanded.popleft()) if _unlanded else None
    if entry is None or not isinstance(entry.status, Printed):
        return False
    takes.arrived(bpy.context, Path(entry.status.take))
    said = home.land(entry.shot, Path(entry.status.take))
    _become(slate.put(entry.shot.id, replace(entry.status, notes=(*entry.status.notes, *said))))
    return True

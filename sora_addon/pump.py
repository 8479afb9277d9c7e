"""The pump: guides out, events in, takes land. The one place where the engine's events meet bpy.

There is one pump in a Blender: this module. Panels read `slate`, `engine_ready`, `error`, `longest_tick`; operators call
the functions of the first section. `tick` is a plain callable that a timer calls and that tests and scripts call by hand,
because timers never fire in background mode. Studios and tests name the engine's Python with SORA_ENGINE_PYTHON.
"""
from __future__ import annotations

import logging
import os
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import bpy

from ..engine import protocol
from ..engine.errors import FolderError, GuideError, Remedy, ShotError, SoraError
from . import client
from .claim import Claim
from .install import find_engine_python
from .slate import Cut, Failed, Printed, Queued, Rolling, Slate, freeze, save

log = logging.getLogger(__name__)

slate = Slate()
engine: client.Engine | None = None
engine_ready: protocol.Ready | None = None      # None until the engine has said what it can do
error: Failed | None = None                     # what stands in the engine's way, with its remedy
longest_tick = 0.0                              # seconds on the main thread, guide frames and landings aside
longest_landing = 0.0                           # seconds

ENGINE_CODES = ("engine_missing", "engine_broken", "other_version")     # no further shot can succeed before a remedy
SHOOT_AGAIN = Remedy(action="shoot_again", label="Shoot Again")

_guides = None                                  # (shot id, generator) while guides are rendered
_unlanded: deque[str] = deque()
_homes: dict[str, int] = {}                     # shot id -> the file load during which it was submitted
_loads = 0
_claim: Claim | None = None
_rendering = False                              # a guide frame is being rendered by us


# ---------------------------------------------------------------- what operators call
def submit(context, shot: protocol.Shot) -> None:
    """Put a frozen shot on the slate and get going. Raises ShotError or FolderError."""
    file = bpy.data.filepath
    shot = replace(shot, landing={"scene": context.scene.name, "file": file, **shot.landing})
    changed = slate.add(shot)
    freeze(shot)
    _hold_claim(Path(shot.out).parent)
    _homes[shot.id] = _loads
    _become(changed)
    wake()


def warm() -> None:
    """Start the engine if it is not running, so that the first shot need not wait. Says what is wrong in `error`."""
    try:
        _ensure_engine()
    except SoraError as trouble:
        _say(trouble)
    wake()


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
    """Queue a failed, cut or interrupted shot once more; its rendered guides are used again unless `render_guides`."""
    global error
    entry = slate.find(shot)
    if entry and render_guides:
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


def stop(wait: bool = False) -> None:
    """Stop the engine; a rolling shot is interrupted and stays on the slate."""
    global engine, engine_ready
    _close_guides()
    for entry in slate.entries:
        if isinstance(entry.status, Rolling):
            _become(slate.put(entry.shot.id, Queued(held="Interrupted: the engine was stopped.")))
    if engine:
        engine.stop(wait=wait)
    engine = engine_ready = None


def restart() -> None:
    """Stop the engine and start another."""
    global error
    stop()
    error = None
    warm()


def resume(takes: str | Path) -> None:
    """Put what a former Blender left unfinished in the folder on the slate, held until the artist asks for it."""
    _hold_claim(Path(takes))
    known = {entry.shot.id for entry in slate.entries}
    left = [entry for entry in Slate.resume(Path(takes)).entries if entry.shot.id not in known]
    _become(Slate((*left, *slate.entries)))


# ---------------------------------------------------------------- the tick
def tick() -> float | None:
    """One turn: events in, one landing, the next shot, one guide frame. Seconds until the next; None when asleep."""
    global longest_tick, longest_landing
    started = time.perf_counter()
    _drain()
    _begin()
    longest_tick = max(longest_tick, time.perf_counter() - started)
    if not bpy.app.is_job_running("RENDER"):
        started = time.perf_counter()
        if _land():
            longest_landing = max(longest_landing, time.perf_counter() - started)
        _roll_guides()
    if _guides or _unlanded:
        return 0.01
    if slate.rolling or slate.following:
        return 0.1
    return 1.0 if engine else None


def run_until_idle(timeout: float = 600.0) -> None:
    """Tick by hand until nothing is queued, rolling or unlanded. Raises TimeoutError."""
    end = time.monotonic() + timeout
    while slate.rolling or slate.following or _unlanded:
        if time.monotonic() > end:
            raise TimeoutError(f"The slate is not empty after {timeout:.0f} seconds.")
        time.sleep(min(tick() or 0.0, 0.05))


def wake() -> None:
    """See to it that the timer runs."""
    if not bpy.app.timers.is_registered(_beat):
        bpy.app.timers.register(_beat, first_interval=0.0, persistent=True)


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
    rolling = slate.rolling
    _close_guides()
    _unlanded.clear()
    if rolling:
        _fail(rolling.shot.id, SoraError("Something unforeseen went wrong in Blender; its console says more.", SHOOT_AGAIN))
    bpy.app.timers.register(lambda: wake(), first_interval=1.0)


# ---------------------------------------------------------------- events in
def _drain() -> None:
    global engine, engine_ready, error
    if engine is None:
        return
    for event in engine.poll():
        match event:
            case protocol.Ready():
                engine_ready, error = event, None
                redraw()
            case protocol.Failed(shot=""):
                _say(event)
            case _:
                _hear(event)
    if not engine.alive:
        engine = engine_ready = None
        redraw()


def _hear(event: protocol.Event) -> None:
    """An event about one shot."""
    _become(slate.apply(event))
    if isinstance(event, protocol.Done):
        _unlanded.append(event.shot)
    if isinstance(event, protocol.Failed) and event.code in ENGINE_CODES:
        _say(event)


def _say(trouble: SoraError | protocol.Failed) -> None:
    """Show what stands in the engine's way; where no shot can succeed before a remedy, the queue waits."""
    global error
    error = Failed(code=trouble.code, sentence=trouble.sentence, remedy=trouble.remedy)
    log.warning("%s", error.sentence)
    if trouble.code in ENGINE_CODES:
        for entry in slate.entries:
            _become(slate.hold(entry.shot.id, trouble.sentence))
    redraw()


def _become(following: Slate) -> None:
    """The one place where the slate changes: states are saved, panels are drawn again."""
    global slate
    before = {entry.shot.id: entry.status for entry in slate.entries}
    slate = following
    for entry in following.entries:
        if type(before.get(entry.shot.id)) is not type(entry.status):
            _save(entry)
    redraw()


def _save(entry) -> None:
    global error
    try:
        save(entry, _claim.name if _claim else "")
    except FolderError as trouble:
        log.warning("%s", trouble)
        error = Failed(code=trouble.code, sentence=trouble.sentence, remedy=trouble.remedy)


def _fail(shot: str, trouble: SoraError) -> None:
    _become(slate.put(shot, Failed(code=trouble.code, sentence=trouble.sentence, remedy=trouble.remedy)))


# ---------------------------------------------------------------- shots out
def _begin() -> None:
    """Start the shot whose turn it is."""
    entry = slate.following
    if slate.rolling or entry is None:
        return
    try:
        _ensure_engine()
        wanted = tuple(guide for guide in entry.shot.guides if not guide.path or not Path(guide.path).exists())
        if wanted:
            _start_guides(entry.shot, wanted)
        else:
            _send(entry.shot)
    except SoraError as trouble:
        _fail(entry.shot.id, trouble)
        if trouble.code in ENGINE_CODES:
            _say(trouble)


def _send(shot: protocol.Shot) -> None:
    _ensure_engine()
    note = "" if engine_ready else "The engine is starting"
    _become(slate.put(shot.id, Rolling(stage="waiting", note=note)))
    engine.send(protocol.Shoot(shot=shot))


def _ensure_engine() -> None:
    """Start the engine unless it runs. Raises EngineMissing, EngineBroken or FolderError."""
    global engine, engine_ready
    if engine and engine.alive:
        return
    root = Path(__file__).resolve().parents[1]
    engine_ready, started = None, client.Engine(engine_python(), root, log_path())
    started.start()
    engine = started


def engine_python() -> Path:
    """The Python that runs the engine: SORA_ENGINE_PYTHON, the preference, or the installed one. Raises EngineMissing."""
    named = os.environ.get("SORA_ENGINE_PYTHON", "")
    if named:
        return find_engine_python(named, Path())
    preferences = _preferences()
    return find_engine_python(preferences.engine_python, Path(preferences.engine_folder))


def log_path() -> Path:
    """Where the engine's log is."""
    named = os.environ.get("SORA_ENGINE_LOG", "")
    return Path(named) if named else Path(_preferences().engine_folder).parent / "engine.log"


def _preferences():
    from . import settings
    return settings.preferences(bpy.context)


# ---------------------------------------------------------------- guides
def _start_guides(shot: protocol.Shot, wanted: tuple[protocol.Guide, ...]) -> None:
    global _guides
    from . import passes
    scene = _scene(shot)
    _guides = (shot.id, passes.roll(scene, replace(shot, guides=wanted)))
    _become(slate.put(shot.id, Rolling(stage="guides", steps=shot.frames)))


def _scene(shot: protocol.Shot):
    """The scene that the shot was frozen from, found by name because references die. Raises ShotError."""
    scene = bpy.data.scenes.get(shot.landing.get("scene", ""))
    if scene is None or not _at_home(shot):
        raise ShotError(f"The scene “{shot.landing.get('scene', '')}” of this shot is not open any more; open its file and "
                        "shoot again.", SHOOT_AGAIN)
    return scene


def _at_home(shot: protocol.Shot) -> bool:
    """Whether the file that is open is the one that the shot came from."""
    if _homes.get(shot.id) == _loads:
        return True
    file = shot.landing.get("file", "")
    return bool(file) and file == bpy.data.filepath


def _roll_guides() -> None:
    """Render one frame of guides, and send the shot off after the last."""
    global _rendering
    if _guides is None:
        return
    shot, frames = _guides
    _rendering = True
    try:
        _scene(slate.find(shot).shot)
        done, total = next(frames)
        _become(slate.put(shot, Rolling(stage="guides", step=done, steps=total)))
    except StopIteration as finished:
        _guides_done(shot, finished.value)
    except SoraError as trouble:
        _close_guides()
        _fail(shot, trouble)
    except (RuntimeError, ReferenceError, OSError) as trouble:
        _close_guides()
        _fail(shot, GuideError(f"The guides could not be rendered: {trouble}.", SHOOT_AGAIN))
    finally:
        _rendering = False


def _guides_done(shot: str, rendered: tuple[protocol.Guide, ...]) -> None:
    global _guides
    _guides = None
    entry = slate.find(shot)
    made = {guide.kind: guide for guide in rendered}
    whole = replace(entry.shot, guides=tuple(made.pop(guide.kind, guide) for guide in entry.shot.guides))
    whole = replace(whole, guides=(*whole.guides, *made.values()))
    try:
        freeze(whole)
        _become(slate.ready(whole))
        _send(whole)
    except SoraError as trouble:
        _fail(shot, trouble)


def _close_guides() -> None:
    """Leave the guides where they are; the pass puts the scene back."""
    global _guides
    if _guides is None:
        return
    (_, frames), _guides = _guides, None
    try:
        frames.close()
    except ReferenceError as trouble:
        log.info("the scene went before its guides: %s", trouble)


# ---------------------------------------------------------------- takes land
def _land() -> bool:
    """Land one printed take, as one undo step. False when none waits."""
    if not _unlanded:
        return False
    entry = slate.find(_unlanded.popleft())
    if entry is None or not isinstance(entry.status, Printed):
        return False
    said = _landed(entry.shot, Path(entry.status.take))
    _become(slate.put(entry.shot.id, replace(entry.status, notes=(*entry.status.notes, *said))))
    return True


def _landed(shot: protocol.Shot, folder: Path) -> list[str]:
    """Sentences of what was done with a take."""
    if not shot.landings:
        return []
    said = []
    try:
        _scene(shot)
        from . import landings
        take = protocol.read_take(folder)
        for name in shot.landings:
            said.append(landings.land(bpy.context, name, take, folder, dict(shot.landing)))
    except (SoraError, RuntimeError, ReferenceError) as trouble:
        log.warning("%s is not landed: %s", shot.id, trouble)
        said.append(f"Not landed, but in the library: {trouble}")
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=f"Land {shot.name or shot.id}")
    return said


def _hold_claim(takes: Path) -> None:
    """Say to other Blenders that shots queued here are being looked after. Raises FolderError."""
    global _claim
    if _claim and _claim.path.parent.parent == takes:
        return
    try:
        fresh = Claim(takes)
    except OSError as trouble:
        raise FolderError(f"{takes} cannot be written: {trouble.strerror or trouble}.",
                          Remedy(action="choose_folder", label="Choose a Folder")) from trouble
    if _claim:
        _claim.release()
    _claim = fresh


# ---------------------------------------------------------------- Blender around it
def redraw() -> None:
    """Draw the side bars again that can show Sora."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type in {"VIEW_3D", "SEQUENCE_EDITOR", "NODE_EDITOR"}:
                    for region in area.regions:
                        if region.type == "UI":
                            region.tag_redraw()

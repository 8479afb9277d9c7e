"""What is happening: set-up, Generate with its estimate, the rolling shot, trouble with its way out, the queue."""
from __future__ import annotations

import re

from ...engine.errors import Remedy, SoraError
from .. import errands, places, pump, reel, shot, takes
from ..slate import Cut, Failed, Printed, Queued, Rolling
from .spaces import Sidebar, write_wrapped

STAGE_LABELS = {
    "waiting": "Waiting", "guides": "Rendering guides", "load": "Loading the model", "text": "Reading the prompt", "encode": "Reading the guides",
    "rehearse": "Learning the model's steps",
    "denoise": "Denoising", "decode": "Decoding", "write": "Writing frames", "proxy": "Making the preview",
}
BAR = 0.8                   # of the sidebar's width, the rest is Cut's
GLIMPSE_SCALE = 6.0         # of an icon's size


# ---------------------------------------------------------------- before
def draw_setup(layout, context) -> None:
    """Where the engine is not there yet, its installation comes first."""
    if errands.installation:
        draw_installation(layout)
        return
    try:
        places.engine_python()
    except SoraError as error:
        write_wrapped(layout, context, error.sentence, icon="INFO")
        draw_remedy(layout, error.remedy)
        draw_stopped(layout, context)


def draw_installation(layout) -> None:
    """How far the installation is, and a way to stop it."""
    step = errands.step
    row = layout.row(align=True)
    row.progress(factor=step.step / step.steps if step else 0.0, text=step.sentence[:60] if step else "Beginning", type="BAR")
    row.operator("sora.stop_installing", text="", icon="X")


def draw_stopped(layout, context) -> None:
    """Why the last installation did not come to its end."""
    if errands.stopped:
        _draw_sentence(layout, context, errands.stopped.sentence, errands.stopped.remedy)


def draw_generate(layout, context, spec) -> None:
    """The button, and what it will cost as measured on this machine."""
    column = layout.column(align=True)
    row = column.row()
    row.scale_y = 1.6
    row.operator("sora.generate", icon="RENDER_ANIMATION", text="Add to Queue" if pump.slate.rolling else "Generate")
    write_wrapped(column, context, cost(context.scene, spec))


def cost(scene, spec) -> str:
    """Estimated time and memory of the shot as it is set, or a sentence that says why there is none."""
    try:
        (_start, frames), size = shot.frame_range(scene, spec), shot.delivered(scene, spec)
    except SoraError:
        return "See Frames and Size"
    known = takes.estimate(spec.name, size, frames)
    if known is None:
        return "Not measured yet on this machine"
    return f"About {takes.spelled(known.seconds)} and {takes.gigabytes(known.peak_bytes)}, from {known.takes} take{'s' if known.takes > 1 else ''}"


# ---------------------------------------------------------------- during
def draw_rolling(layout, context) -> None:
    """The rolling shot: a bar, the stage, the step, the time left, and Cut."""
    entry = pump.slate.rolling
    if entry is None:
        return
    status = entry.status
    row = layout.split(factor=BAR, align=True)
    row.progress(factor=status.step / status.steps if status.steps else 0.0, text=said_of(status), type="BAR")
    cut = row.row(align=True)
    cut.enabled = not status.cutting
    cut.operator("sora.cut").shot = entry.shot.id
    if status.note:
        write_wrapped(layout, context, status.note)
    if reel.there():
        layout.template_icon(reel.icon(), scale=GLIMPSE_SCALE)
        layout.operator("sora.watch", icon="IMAGE", depress=reel.watched())


def said_of(status: Rolling) -> str:
    """`Denoising 5/8, 0:12 left`."""
    if status.cutting:
        return "Cutting"
    said = STAGE_LABELS.get(status.stage, status.stage)
    if status.steps:
        said += f" {status.step}/{status.steps}"
    return f"{said}, {takes.spelled(status.eta)} left" if status.eta >= 0 else said


# ---------------------------------------------------------------- trouble
def draw_trouble(layout, context) -> None:
    """What was refused, and what stands in the engine's way, each with its way out. A missing engine is draw_setup's."""
    session = context.window_manager.sora
    if session.refusal and session.remedy_action != "install_engine":
        remedy = Remedy(action=session.remedy_action, label=session.remedy_label, value=session.remedy_value)
        _draw_sentence(layout, context, session.refusal, remedy if remedy.action else None)
    if pump.error and pump.error.code != "engine_missing":
        _draw_sentence(layout, context, pump.error.sentence, pump.error.remedy)


def _draw_sentence(layout, context, sentence: str, remedy: Remedy | None, about: str = "", icon: str = "ERROR") -> None:
    column = layout.column()
    column.alert = True
    write_wrapped(column, context, sentence, icon)
    draw_remedy(layout, remedy, about)


def draw_remedy(layout, remedy: Remedy | None, about: str = "") -> None:
    """The way out as a button; `about` is the shot in question where the remedy names none."""
    if remedy is None:
        return
    button = layout.operator("sora.remedy", text=remedy.label)
    button.action, button.value, button.shot = remedy.action, remedy.value, about


# ---------------------------------------------------------------- the queue
class Slate(Sidebar):
    """What is queued, rolling, printed, failed or cut."""

    key, bl_label = "slate", "Slate"

    @classmethod
    def wanted(cls, context):
        return bool(pump.slate.entries)

    def draw(self, context):
        layout = self.layout
        for entry in pump.slate.entries:
            _draw_entry(layout, context, entry)
        if any(isinstance(entry.status, (Printed, Failed, Cut)) for entry in pump.slate.entries):
            layout.operator("sora.clear_slate")


ICONS = {Queued: "TIME", Rolling: "PLAY", Printed: "CHECKMARK", Failed: "ERROR", Cut: "CANCEL"}


def _draw_entry(layout, context, entry) -> None:
    status, name = entry.status, entry.shot.name or entry.shot.id
    row = layout.row(align=True)
    row.label(text=name, icon=ICONS[type(status)])
    match status:
        case Rolling():
            row.operator("sora.cut", text="", icon="X").shot = entry.shot.id
        case Queued(held=""):
            up = row.operator("sora.move", text="", icon="TRIA_UP")
            up.shot, up.by = entry.shot.id, -1
            down = row.operator("sora.move", text="", icon="TRIA_DOWN")
            down.shot, down.by = entry.shot.id, 1
            row.operator("sora.cut", text="", icon="X").shot = entry.shot.id
        case Queued(held=why):
            row.operator("sora.retry", text="Resume").shot = entry.shot.id
            row.operator("sora.cut", text="", icon="X").shot = entry.shot.id
            write_wrapped(layout, context, why)
        case Failed(sentence=sentence, remedy=remedy):
            _draw_sentence(layout, context, sentence, remedy, entry.shot.id, icon="BLANK1")
        case Cut(printed=printed):
            row.label(text=f"Cut, {printed} frames kept" if printed else "Cut")
            row.operator("sora.retry", text="", icon="FILE_REFRESH").shot = entry.shot.id
        case Printed(notes=notes):
            _draw_notes(layout, context, entry.shot.id, notes)


def _draw_notes(layout, context, shot: str, notes: tuple[str, ...]) -> None:
    """What came of it in a line each; what else is to be said stands once, behind a click."""
    sentences = [re.split(r"(?<=[.!?]) (?=[A-Z“])", note) for note in notes]
    for first, *_more in sentences:
        write_wrapped(layout, context, first)
    details = list(dict.fromkeys(sentence for _first, *more in sentences for sentence in more))
    if not details:
        return
    header, body = layout.panel(f"SORA_PT_notes_{shot}", default_closed=True)
    header.label(text="Details")
    for sentence in details if body else ():
        write_wrapped(body, context, sentence)


PANELS = (Slate,)

"""Models: the catalogue in the preferences, what lacks in the sidebar, the licence before a download, and what a shot needs."""
from __future__ import annotations

from pathlib import Path

from ...engine.errors import Remedy
from .. import foresight, pump, settings, stock, takes
from .progress import draw_remedy, draw_trouble
from .spaces import write_wrapped

ICONS = {"installed": "CHECKMARK", "partial": "SORTTIME", "damaged": "ERROR", "absent": "IMPORT"}
BAR, NAME = 0.8, 0.65       # of the width, the rest is the buttons'


# ---------------------------------------------------------------- in the preferences
def draw_catalogue(layout, context) -> None:
    """The models of a family, each with its state and what can be done."""
    stock.look()
    layout.use_property_split = False
    row = layout.row(align=True)
    row.prop(context.window_manager.sora, "models_family", text="")
    row.operator("sora.list_models", text="", icon="FILE_REFRESH")
    row.operator("sora.import_model", icon="IMPORT")
    _draw_trouble(layout, context, "")
    draw_trouble(layout, context)
    if stock.listing is None:
        layout.label(text="The list of models is made by the engine; it is not there yet")
        return
    opened = row.operator("sora.reveal", text="", icon="FILE_FOLDER")
    opened.folder = _there(stock.listing.folder)
    row = layout.row()
    row.label(text=f"{stock.listing.folder}: {takes.gigabytes(stock.listing.free)} free")
    if stock.listing.trash:
        row.operator("sora.empty_models_trash", text=f"Empty Trash ({takes.gigabytes(stock.listing.trash)})", icon="TRASH")
    if stock.errand and not stock.about:
        draw_errand(layout)
    family = shown_family(context)
    for model in stock.listing.of(family):
        _draw_model(layout.box().column(align=True), context, model)
    if not stock.listing.of(family):
        layout.label(text="This family needs no download")
    for problem in stock.listing.problems:
        write_wrapped(layout, context, problem, icon="ERROR")


def shown_family(context) -> str:
    """The family whose models the preferences list: the one that was chosen there, otherwise the shot's."""
    chosen = context.window_manager.sora.models_family
    return context.scene.sora.family_name if chosen == "SHOT" else chosen


def _there(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    place = Path(folder)
    return str(next((each for each in (place, *place.parents) if each.is_dir()), place))


def _draw_model(layout, context, model) -> None:
    row = layout.split(factor=NAME)
    row.label(text=model.label, icon=ICONS[model.state])
    _draw_buttons(row.row(align=True), model)
    facts = layout.row()
    facts.active = False
    facts.label(text=", ".join(filter(None, (standing(model), size(model), licence(model)))), icon="BLANK1")
    if model.wrong:
        write_wrapped(layout, context, model.wrong, icon="BLANK1")
    if stock.errand and stock.about == model.name:
        draw_errand(layout)
    _draw_trouble(layout, context, model.name)


def _draw_buttons(row, model) -> None:
    if model.repository and not model.is_here:
        label = {"absent": "Get", "partial": "Resume", "damaged": "Mend"}[model.state]
        row.operator("sora.get_model", text=label).model = model.name
    if model.is_here:
        row.operator("sora.verify_model", text="Verify").model = model.name
    if model.folder:
        row.operator("sora.reveal", text="", icon="FILE_FOLDER").folder = _there(model.folder)
    if model.state != "absent":
        row.operator("sora.remove_model", text="", icon="TRASH").model = model.name


def standing(model) -> str:
    """Whether it is here, in a word or two."""
    if model.state == "partial":
        return f"{takes.gigabytes(model.partial)} of it here"
    return {"installed": "Installed", "damaged": "Damaged", "absent": "Not here"}[model.state]


def size(model) -> str:
    """Its size on the disk; "" where only the hub knows it, which Get asks."""
    plan = stock.plans.get(model.name)
    known = plan.size if plan else model.size
    return takes.gigabytes(known) if known else ""


def licence(model) -> str:
    return (model.licence.label or "licence not known") + ("" if model.licence.sure else " (not verified)")


# ---------------------------------------------------------------- an errand
def draw_errand(layout) -> None:
    """How far it is in bytes, how fast, and a way to stop it."""
    column, step = layout.column(align=True), stock.step
    row = column.split(factor=BAR, align=True)
    begun = step is not None and step.total > 0
    row.progress(factor=step.done / step.total if begun else 0.0, text=said_of(step) if begun else "Beginning", type="BAR")
    row.operator("sora.stop_models", text="", icon="X")
    left = f", {takes.spelled(step.eta)} left" if begun and step.eta >= 1 else ""
    column.label(text=f"{stock.VERBS[stock.verb]} {stock.about or 'a model'}{left}")


def said_of(step) -> str:
    """`1.2 GB of 5.6 GB, 48 MB/s`, as short as a narrow sidebar wants it."""
    said = f"{takes.gigabytes(step.done)} of {takes.gigabytes(step.total)}"
    return f"{said}, {step.speed / 1e6:.{1 if step.speed < 1e7 else 0}f} MB/s" if step.speed > 0 else said


def _draw_trouble(layout, context, about: str) -> None:
    trouble = stock.troubles.get(about)
    if trouble is None:
        return
    column = layout.column()
    column.alert = True
    write_wrapped(column, context, trouble.sentence, icon="ERROR")
    draw_remedy(layout, trouble.remedy)


# ---------------------------------------------------------------- in the sidebar
def draw_missing(layout, context, spec) -> None:
    """Where the shot's model is not on this machine: what it is, and a way to get it."""
    if spec.name == settings.FIRST.name:
        return                              # the embedded family has its weights with it
    stock.look()
    model = stock.lacking(spec.name, context.scene.sora.model_name)
    if model is None:
        _draw_trouble(layout, context, context.scene.sora.model_name)
        return
    column = layout.column(align=True)
    what = {"partial": "is here in part", "damaged": "is damaged"}.get(model.state, "is not on this machine")
    write_wrapped(column, context, f"{model.label} {what}: {', '.join(filter(None, (size(model), licence(model))))}.", icon="INFO")
    if stock.errand:
        draw_errand(column)
    else:
        row = column.row(align=True)
        if model.repository:
            row.operator("sora.get_model", text="Resume" if model.state == "partial" else "Get").model = model.name
        row.operator("sora.import_model", text="Import")
    _draw_trouble(layout, context, model.name)


def draw_chosen(layout, context, spec) -> None:
    """What the chosen weights do, in the catalogue's words; nothing until the list is there."""
    stock.look()
    name = context.scene.sora.model_name or next(iter(spec.models), "")
    model = stock.listing.named(name) if stock.listing else None
    if model and model.does:
        column = layout.column()
        column.active = False
        write_wrapped(column, context, ", ".join(model.does).capitalize())


def draw_missing_loras(layout, context, preset) -> None:
    """The LoRAs that a preset needs and that are not on this machine, each with a way to get it."""
    stock.look()
    known = [stock.listing.named(lora.name) for lora in preset.loras] if preset and stock.listing else []
    for model in [model for model in known if model and not model.is_here]:
        column = layout.column(align=True)
        write_wrapped(column, context, f"{model.label} is not on this machine: {', '.join(filter(None, (size(model), licence(model))))}.", icon="INFO")
        if stock.errand:
            draw_errand(column)
        else:
            column.operator("sora.get_model", text="Resume" if model.state == "partial" else "Get").model = model.name
        _draw_trouble(layout, context, model.name)


def draw_needs(layout, context, spec) -> None:
    """What the shot needs of the device's memory and how it will be kept there; red with a way out where it does not fit."""
    if spec.plans and pump.engine_ready and pump.engine_ready.slow:
        _draw_slow(layout, context, spec, pump.engine_ready.slow)
    said = foresight.of(context, spec)
    if said and (said.plan or said.note) and not stock.lacking(spec.name, context.scene.sora.model_name):
        column = layout.column(align=True)
        column.alert = not said.fits
        write_wrapped(column, context, needs(said), icon="NONE" if said.fits else "ERROR")
        draw_remedy(layout, said.remedy)
    if pump.holds_model and not pump.slate.rolling:
        layout.operator("sora.unload")


def _draw_slow(layout, context, spec, slow) -> None:
    """That a large model has no graphics card to run on, and the ways on: a repair where that helps, or the embedded family."""
    column = layout.column(align=True)
    write_wrapped(column, context, f"{slow.found} {spec.label} will take hours.", icon="INFO")
    draw_remedy(column, slow.remedy)
    draw_remedy(column, Remedy(action="use_family", label=f"Use {settings.FIRST.label}", value=settings.FIRST.name))


def needs(said) -> str:
    """`Needs about 9.3 GB of 11.8 GB free: 8 Bits`, or why that cannot be said."""
    if said.note and not said.plan:
        return said.note
    memory = f"Needs about {takes.gigabytes(said.bytes)} of {takes.gigabytes(said.free)} free: {settings.plan_label(said.plan)}"
    told = f"{memory}. {said.note}." if said.note else memory
    return told if said.fits else f"{told}{'' if said.note else '.'} It does not fit."


# ---------------------------------------------------------------- before a download
def draw_licence(layout, model, plan, operator) -> None:
    """What will be downloaded, and the licence to accept."""
    layout.label(text=model.label, icon="IMPORT")
    layout.label(text=f"From {model.repository}")
    if plan:
        layout.label(text=f"{takes.gigabytes(plan.size)}, {takes.gigabytes(plan.missing)} to come; {takes.gigabytes(plan.free)} are free")
    row = layout.row()
    row.label(text=f"Licence: {model.licence.label}")
    row.operator("wm.url_open", text="Read", icon="URL").url = model.licence.text
    if plan and plan.licence != model.licence.id:
        layout.label(text=f"The hub says “{plan.licence}” where the catalogue expected “{model.licence.id}”", icon="ERROR")
    for line in filter(None, (model.licence.note, "" if model.licence.sure else "The licence could not be verified when the catalogue was made.")):
        layout.label(text=line)
    layout.prop(operator, "accept")

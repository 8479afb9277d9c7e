"""Sora's page in the preferences: folders, the engine, its doctor."""
from __future__ import annotations

import functools
import tomllib

from ...engine import protocol
from ...engine.errors import SoraError
from .. import errands, install, places, pump
from . import models
from .progress import draw_installation, draw_remedy, draw_stopped


def draw(layout, context, preferences) -> None:
    """Folders first, then the engine with what can be done about it."""
    layout.use_property_split, layout.use_property_decorate = True, False
    folders = layout.column()
    folders.prop(preferences, "takes_place")
    folders.prop(preferences, "takes_folder", text="Takes Folder")
    folders.prop(preferences, "models_folder", text="Models Folder")
    layout.separator()
    _draw_engine(layout.column(), context, preferences)
    layout.separator()
    layout.label(text="Models")
    models.draw_catalogue(layout.column(), context)


def _draw_engine(body, context, preferences) -> None:
    body.prop(preferences, "engine_folder", text="Engine Folder")
    body.prop(preferences, "backend")
    body.prop(preferences, "engine_python")
    body.prop(preferences, "free_for_render")
    body.label(text=f"Sora {version()}. {standing()}", icon="INFO")
    if errands.installation:
        draw_installation(body)
    else:
        body.operator("sora.repair_engine" if is_installed() else "sora.install_engine")
        draw_stopped(body, context)
    row = body.row(align=True)
    row.operator("sora.doctor")
    row.operator("sora.restart_engine")
    row.operator("sora.unload")
    _draw_findings(body)


def _draw_findings(layout) -> None:
    """The doctor's lines, each with its remedy where something is wrong."""
    if errands.doctor:
        layout.label(text="The doctor is looking", icon="TIME")
    for finding in errands.findings:
        row = layout.row()
        row.label(text=f"{finding.what}: {finding.found}", icon="CHECKMARK" if finding.well else "ERROR")
        draw_remedy(row, finding.remedy)


@functools.cache
def version() -> str:
    """The extension's version, as its manifest says."""
    return tomllib.loads((places.ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["version"]


def is_installed() -> bool:
    """Whether there is anything to repair; what is missing or interrupted is installed."""
    return install.condition(places.engine_folder()) not in ("missing", "partial")


def standing() -> str:
    """One sentence on where the engine stands."""
    if pump.engine_ready:
        return f"Engine {pump.engine_ready.engine} runs on {pump.engine_ready.device}, wire version {protocol.VERSION}."
    try:
        return f"Installed: {places.engine_python()}. It starts with the first shot."
    except SoraError as error:
        return error.sentence

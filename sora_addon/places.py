"""Where the engine's Python, its environment and its log are on this machine.

Studios, scripts and tests name the Python with SORA_ENGINE_PYTHON, which goes before the preferences, and the engine's
log with SORA_ENGINE_LOG.
"""
from __future__ import annotations

import os
from pathlib import Path

import bpy

from . import loras, preferences
from .install import find_engine_python

ROOT = Path(__file__).resolve().parents[1]      # the extension's folder, from which the engine's code runs


def engine_python() -> Path:
    """The Python that runs the engine. Raises EngineMissing."""
    named = os.environ.get("SORA_ENGINE_PYTHON", "")
    return find_engine_python(named or bpy.path.abspath(preferences.of(bpy.context).engine_python), engine_folder())


def engine_folder() -> Path:
    """Where the engine's environment is installed."""
    return Path(bpy.path.abspath(preferences.of(bpy.context).engine_folder)).expanduser()


def engine_settings() -> dict[str, str]:
    """Environment variables that tell the engine the preferences; what a studio has set goes before them."""
    folder = _chosen_models_folder()
    return {"SORA_MODELS": str(Path(folder).expanduser())} if folder else {}


def models_folder() -> Path:
    """Where models and LoRAs lie; without a choice, where the engine and its command line look."""
    folder = _chosen_models_folder()
    return Path(folder).expanduser() if folder else loras.default_folder()


def _chosen_models_folder() -> str:
    return os.environ.get("SORA_MODELS", "") or bpy.path.abspath(preferences.of(bpy.context).models_folder)


def log_path() -> Path:
    """Where the engine writes what it does."""
    named = os.environ.get("SORA_ENGINE_LOG", "")
    return Path(named) if named else engine_folder().parent / "engine.log"

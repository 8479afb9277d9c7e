"""The engine's own Python environment: found, made, repaired. Knows nothing of bpy."""
from __future__ import annotations

import sys
from pathlib import Path

from ..engine.errors import EngineMissing, Remedy

INSTALL = Remedy(action="install_engine", label="Install Engine")


def python_of(environment: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return Path(environment) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find_engine_python(preference: str, environment: Path) -> Path:
    """The Python that the artist named, or that of the installed environment. Raises EngineMissing."""
    if preference:
        named = Path(preference).expanduser()
        if not named.is_file():
            raise EngineMissing(f"The engine's Python is not at {named}.", INSTALL)
        return named.absolute()
    python = python_of(environment)
    if not python.is_file():
        raise EngineMissing("The engine is not installed yet.", INSTALL)
    return python.absolute()

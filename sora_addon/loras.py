"""The LoRAs in the models folder, from the records that the engine keeps there; no weights are opened. Knows nothing of bpy."""
from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

RECORD = "sora.json"            # as the engine's models/store.py writes it
WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One LoRA. `triggers` are the words that call it up in a prompt, `strength` is what it is meant to be used with."""

    name: str
    family: str
    label: str
    triggers: tuple[str, ...] = ()
    strength: float = 1.0


def default_folder() -> Path:
    """Where the engine looks for models that no setting leads elsewhere: the user's folder for application files."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "sora" / "models"


def known(folder: Path, *families: str) -> tuple[Known, ...]:
    """The LoRAs of families, by name. A folder that is not there has none; damaged records are logged and left out."""
    try:
        records = sorted(path / RECORD for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        log.info("%s has no LoRAs: %s", folder, error)
        return ()
    found = [_read(record) for record in records if record.is_file()]
    return tuple(one for one in found if one is not None and one.family in families)


def _read(record: Path) -> Known | None:
    try:
        fields = json.loads(record.read_text(encoding="utf-8"))
        if fields["kind"] != "lora":
            return None
        return Known(name=str(fields["name"]), family=str(fields["family"]), label=str(fields.get("label") or fields["name"]),
                     triggers=tuple(map(str, fields.get("triggers", ()))), strength=float(fields.get("strength", 1.0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s: %s)", record, type(error).__name__, error)
        return None

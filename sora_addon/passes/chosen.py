"""Which objects a guide is of: those of a collection that the shot names, or what was selected when it was frozen."""
from __future__ import annotations

import json

from ...engine.errors import Remedy, ShotError


def chosen(scene, landing: dict[str, str], kind: str) -> frozenset[str]:
    """Names of the objects of the collection that `landing` names for a kind of guide, or of its JSON list `selection`; without one
    (null), of what is selected now.

    Raises ShotError when there is no such collection or nothing in it.
    """
    name, off = landing.get(kind, ""), Remedy(action="drop_guide", label=f"Switch the {kind.title()} Off", value=kind)
    if name:
        collection = next((each for each in scene.collection.children_recursive if each.name == name), None)
        if collection is None:
            raise ShotError(f"The {kind}'s collection “{name}” is not in the scene “{scene.name}”.", off)
        found, empty = [thing.name for thing in collection.all_objects], f"The {kind}'s collection “{name}” is empty."
    else:
        frozen = json.loads(landing.get("selection", "null"))
        found, empty = selected(scene) if frozen is None else frozen, f"Nothing is selected for the {kind}."
    if not found:
        raise ShotError(empty, off)
    return frozenset(found)


def selected(scene) -> list[str]:
    """Names of the selected objects, in any view layer of the scene."""
    return sorted({thing.name for layer in scene.view_layers for thing in layer.objects if thing.select_get(view_layer=layer)})

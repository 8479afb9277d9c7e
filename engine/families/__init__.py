"""The families of models this engine can shoot with: an explicit list. Standard library only until one is loaded.

A family is one file with `SPEC` (a protocol.FamilySpec) and `load(model, device) -> Model`. A new family is one new
file and one line here; families never import each other.
"""
from __future__ import annotations

from ..errors import ModelError, Remedy
from ..protocol import FamilySpec
from . import blockout

FAMILIES = {family.SPEC.name: family for family in (blockout,)}


def specs() -> tuple[FamilySpec, ...]:
    """What every family takes and gives, in the order of the list."""
    return tuple(family.SPEC for family in FAMILIES.values())


def family(name: str):
    """The family's module. Raises ModelError."""
    if name not in FAMILIES:
        raise ModelError(f"There is no family called {name!r}; there are: {', '.join(FAMILIES)}.",
                         Remedy(action="choose_model", label="Choose a Model"))
    return FAMILIES[name]

"""Blockout: the embedded model. Turns a blocked-out scene's depth and normals, and a prompt, into a small clip."""
from __future__ import annotations

from ..protocol import FamilySpec, FrameGrid, SizeGrid

SPEC = FamilySpec(
    name="blockout",
    label="Blockout (embedded)",
    note="Small, made for layouts, runs on any machine without a download",
    licence="GPL-3.0-or-later",
    guides=("depth", "normal"),
    keyframes=True,
    frames=FrameGrid(stride=4, offset=1),
    sizes=SizeGrid(multiple=8, shortest=64, longest=4096),
    longest=3600,
    native_area=112 * 64,
    steps=8,
    guidance=3.0,
    models=("blockout-v0",),
)

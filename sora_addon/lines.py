"""The lines of the panel's lists: stills at frames, pictures of the subject, LoRAs. Each can be left out and stays in its list."""
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

MOST = 4.0          # a LoRA's strength, to either side
EXPERT_ITEMS = (    # as protocol.EXPERTS has them
    ("both", "Both Experts", "The whole model wears it"),
    ("high", "High Noise", "Only the transformer for much noise, which lays the clip out"),
    ("low", "Low Noise", "Only the transformer for little noise, which draws the details"),
)
RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"}         # a project that moves keeps its pictures


def _lora_names(self, context, _typed: str) -> list[tuple[str, str]]:
    """Suggestions while a LoRA's name is typed: those of the chosen family in the models folder."""
    return [(one.name, one.label) for one in installed(context.scene.sora.family_name)]


def _lora_chosen(self, _context) -> None:
    """Words that call it up are shown below the list; a file of one's own has none that are known."""
    one = next((one for one in installed(self.id_data.sora.family_name) if one.name == self.lora), None)
    self.triggers = ", ".join(one.triggers) if one else ""


def installed(family: str):
    """The LoRAs in this machine's models folder that a family takes."""
    from . import families, loras, places
    spec = families.known(family)
    return loras.known(places.models_folder(), family, *(spec.kin if spec else ()))


class SoraStill(bpy.types.PropertyGroup):
    """A picture that the clip must show at a frame of the scene."""

    frame: IntProperty(name="Frame", description="Scene frame at which the clip shows the picture", default=1)
    image: StringProperty(name="Picture", subtype="FILE_PATH", options=RELATIVE, description="A picture that the clip must show at this frame")
    on: BoolProperty(name="On", default=True, description="Off: the picture stays in the list, and the shot goes without it")


class SoraReference(bpy.types.PropertyGroup):
    """A picture of the subject."""

    image: StringProperty(name="Picture", subtype="FILE_PATH", options=RELATIVE, description="A picture of the subject, best on a plain background")
    on: BoolProperty(name="On", default=True, description="Off: the picture stays in the list, and the shot goes without it")


class SoraLora(bpy.types.PropertyGroup):
    """A LoRA and how strongly it is worn."""

    lora: StringProperty(
        name="LoRA", description="A LoRA of the models folder by its name, or a safetensors file by its path", update=_lora_chosen,
        search=_lora_names, search_options={"SUGGESTION"})
    strength: FloatProperty(
        name="Strength", description="How strongly the LoRA counts. 1 is as it was trained, 0 is nothing, below 0 is its opposite",
        default=1.0, min=-MOST, max=MOST, soft_min=0.0, soft_max=2.0)
    expert: EnumProperty(name="Expert", description="Which of the model's two transformers wears it", default="both", items=EXPERT_ITEMS)
    triggers: StringProperty(name="Trigger Words", description="Words that call the LoRA up in a prompt")
    on: BoolProperty(name="On", default=True, description="Off: the LoRA stays in the list, and the shot goes without it")


CLASSES = (SoraStill, SoraReference, SoraLora)
LISTS = ("stills", "references", "loras")           # their names in the settings; the chosen line is `<name>_index`


def chosen(settings, name: str):
    """The chosen line of a list, or None."""
    rows, index = getattr(settings, name), getattr(settings, f"{name}_index")
    return rows[index] if 0 <= index < len(rows) else None


def add(settings, name: str, **facts):
    """A new line at the end of a list, chosen."""
    row = getattr(settings, name).add()
    for key, value in facts.items():
        setattr(row, key, value)
    setattr(settings, f"{name}_index", len(getattr(settings, name)) - 1)
    return row


def remove(settings, name: str) -> None:
    """Takes the chosen line out of its list; the one before it is chosen then."""
    index = getattr(settings, f"{name}_index")
    getattr(settings, name).remove(index)
    setattr(settings, f"{name}_index", max(0, min(index, len(getattr(settings, name)) - 1)))


def leave_out(settings, line: str) -> None:
    """Switches off what a refusal named: `source`, `preset`, a field such as `first_image` or `draft`, all of a list (`references`), its
    lines (`stills 2`), or stills by their frames, and fields with them (`stills_at 12 49 last_image`)."""
    name, *more = line.split()
    if name == "source":
        settings.source_from = "NONE"
    elif name == "preset":
        settings.preset = "default"
    elif name == "stills_at":
        _stills_off(settings, more)
    elif name in LISTS:
        for index, row in enumerate(getattr(settings, name)):
            row.on = row.on and bool(more) and str(index) not in more
    else:
        _empty(settings, name)


def _stills_off(settings, named: list[str]) -> None:
    for row in settings.stills:
        row.on = row.on and str(row.frame) not in named
    for field in named:
        if not field.isdecimal():
            _empty(settings, field)


def _empty(settings, field: str) -> None:
    setattr(settings, field, type(getattr(settings, field))())

"""What an artist sets, kept in the .blend at `scene.sora`. Properties only: shot.py makes a shot of them."""
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ..engine.protocol import FIRST_BLOCK, MAGNITUDE
from . import families, lines

FIRST = families.specs()[0]
FORMAT_ITEMS = (
    ("png", "PNG", "8 bits a channel, lossless: small, right for editing"),
    ("png16", "PNG 16 bit", "16 bits a channel, lossless: room for grading"),
    ("exr", "OpenEXR", "Half float, scene-linear: for compositing"),
)
AUTOMATIC = "automatic"
PLAN_ITEMS = (
    (AUTOMATIC, "Automatic", "The fastest way that fits the device's free memory"),
    ("full", "All at Once", "The whole model on the device: fastest, needs most"),
    ("turns", "In Turns", "Text encoder, transformer and autoencoder on the device one after the other"),
    ("int8", "8 Bits", "In turns, with the transformer's weights kept as whole numbers of 8 bits: half the memory, small differences in the picture"),
    ("fp8", "8 Bits, Floating", "The same with floating point: no smaller and less exact; for comparing"),
    ("blocks", "Block by Block", "In turns, with the transformer brought in blocks: slowest on a card, needs least of it"),
    ("cpu", "On the Processor", "Not on the graphics card at all, in the machine's own memory: hours where a card takes minutes"),
)
NO_CHOICE = "default"
_kept: dict[str, list] = {}         # Blender keeps no reference to the strings of dynamic items


def plan_label(plan: str) -> str:
    """What the panels call a plan of protocol.PLANS."""
    return next((label for name, label, _note in PLAN_ITEMS if name == plan), plan)


def _items(key: str, rows: list[tuple[str, str, str]], chosen: str) -> list:
    """Items of a menu whose choice is stored as text, so that a file keeps a family which is not installed here."""
    if chosen and chosen not in [row[0] for row in rows]:
        rows = [*rows, (chosen, f"{chosen} (not installed)", "The engine on this machine does not have it")]
    fresh = [(name, label, note, number) for number, (name, label, note) in enumerate(rows)]
    if _kept.get(key) != fresh:
        _kept[key] = fresh
    return _kept[key]


def _family_items(self, _context):
    rows = [(spec.name, spec.label, f"{spec.note}. Licence: {spec.licence}") for spec in families.specs()]
    return _items("family", rows, self.family_name)


def _model_items(self, _context):
    from . import stock             # it looks after the engine, which reads these settings
    spec = families.known(self.family_name)
    names = spec.models if spec else ()
    own = [(model.name, model.label, "Imported") for model in stock.imported(self.family_name) if model.name not in names]
    return _items("model", [*(_model_row(spec, name) for name in names), *own] or [(NO_CHOICE, "Default", "The family's only model")], self.model_name)


def _model_row(spec: families.FamilySpec, name: str) -> tuple[str, str, str]:
    """A model of the catalogue in the menu: what it is called, whether it is here, and what it does, as far as the engine has said so."""
    from . import stock
    model = stock.listing.named(name) if stock.listing else None
    if model is None:
        return name, name, _sentence(families.room(spec, name))
    what = filter(None, (", ".join(model.does), families.room(spec, name)))
    return name, model.label if model.is_here else f"{model.label} (not here)", ". ".join(map(_sentence, what))


def _sentence(words: str) -> str:
    """With a capital at its beginning; the rest as it is."""
    return words[:1].upper() + words[1:]


def _preset_items(self, _context):
    spec = families.known(self.family_name)
    fitting = families.presets(spec, self.model_name) if spec else ()
    rows = [(NO_CHOICE, "Off", "As many steps as the model was made with"), *((one.name, one.label, one.note) for one in fitting)]
    return _items("preset", rows, self.preset_name)


def _number(items: list, chosen: str) -> int:
    return next((number for name, _label, _note, number in items if name == chosen), 0)


def _family_number(self) -> int:
    return _number(_family_items(self, None), self.family_name)


def _choose_family(self, number: int) -> None:
    """Other models want other steps and another guidance; the artist's prompt and guides stay."""
    name = _family_items(self, None)[number][0]
    spec = families.known(name)
    if spec and name != self.family_name:
        from . import defaults          # it looks after the engine, which reads these settings
        self.model_name, self.preset_name = "", ""
        defaults.take_over(self, defaults.of(spec, ""))
    self.family_name = name


def _model_number(self) -> int:
    return _number(_model_items(self, None), self.model_name)


def _choose_model(self, number: int) -> None:
    """Its steps and guidance go with it, unless the artist set others or a preset goes with it as well."""
    from . import defaults
    name, before = _model_items(self, None)[number][0], self.model_name
    self.model_name = "" if name == NO_CHOICE else name
    spec = families.known(self.family_name)
    if self.preset_name and not (spec and families.preset(spec, self.model_name, self.preset_name)):
        _choose_preset(self, 0)
    elif spec and not self.preset_name:
        defaults.follow(self, spec, before)


def _preset_number(self) -> int:
    return _number(_preset_items(self, None), self.preset_name)


def _choose_preset(self, number: int) -> None:
    """Steps and guidance go with it; they can be changed afterwards."""
    from . import defaults
    name, spec = _preset_items(self, None)[number][0], families.known(self.family_name)
    chosen = families.preset(spec, self.model_name, name) if spec else None
    self.preset_name = chosen.name if chosen else ""
    if spec:
        defaults.take_over(self, chosen or defaults.of(spec, self.model_name))


def _strength(what: str):
    return FloatProperty(
        name=f"{what} Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR",
        description=f"How strictly the {what.lower()} are kept to. 0: not at all. Keyframed, it changes over the shot where the model can do so")


def _index():
    return IntProperty(options={"HIDDEN"})


def _shot_foreseen(_self, _context) -> None:
    """Whoever writes a prompt is about to shoot: the engine starts meanwhile."""
    from . import pump
    pump.foresee()


class SoraSettings(bpy.types.PropertyGroup):
    """One shot's settings. Every line is documented by its description, which is also its tooltip."""

    prompt: StringProperty(
        name="Prompt", description="What the clip shows: the subject, what it is made of, the light, how the camera moves",
        update=_shot_foreseen)
    prompt_text: PointerProperty(
        type=bpy.types.Text, name="Prompt Text", description="A text of the Text Editor that is read as the prompt, for long prompts")
    negative: StringProperty(name="Avoid", description="What the clip must not show (the negative prompt)")

    family_name: StringProperty(default=FIRST.name, options={"HIDDEN"})
    model_name: StringProperty(options={"HIDDEN"})
    family: EnumProperty(
        name="Model", description="The family of models that makes the clip", items=_family_items,
        get=_family_number, set=_choose_family)
    model: EnumProperty(
        name="Weights", description="Which of the family's models", items=_model_items, get=_model_number, set=_choose_model)

    preset_name: StringProperty(options={"HIDDEN"})
    preset: EnumProperty(
        name="Few Steps", description="A few steps with weights made for them: sets steps and guidance, and puts on the LoRAs that they need",
        items=_preset_items, get=_preset_number, set=_choose_preset)

    frame_source: EnumProperty(name="Frames", description="Which of the scene's frames the shot covers", default="SCENE", items=(
        ("SCENE", "Scene", "The scene's frame range"),
        ("PREVIEW", "Preview Range", "The timeline's preview range"),
        ("CUSTOM", "Custom", "A range of its own")))
    frame_start: IntProperty(name="Start", description="First scene frame of the shot", default=1)
    frame_end: IntProperty(name="End", description="Last scene frame of the shot", default=49)

    size_source: EnumProperty(name="Size", description="Size of the frames that the shot delivers", default="RENDER", items=(
        ("RENDER", "Render Size", "The scene's render size, on the model's grid"),
        ("FAMILY", "Model's Own", "The size at which the model itself works, in the scene's aspect"),
        ("CUSTOM", "Custom", "A size of its own, on the model's grid")))
    size_width: IntProperty(name="Width", description="Width of the frames", default=832, min=1, soft_min=64, soft_max=4096, subtype="PIXEL")
    size_height: IntProperty(name="Height", description="Height of the frames", default=480, min=1, soft_min=64, soft_max=4096, subtype="PIXEL")

    seed: IntProperty(name="Seed", description="Where the noise begins: the same seed and settings make the same clip", default=1, min=0)
    lock_seed: BoolProperty(name="Lock Seed", description="Keep the seed from shot to shot. Unlocked, each shot draws a new one and writes it here")
    steps: IntProperty(
        name="Steps", description="Denoising steps: more are slower and cleaner", default=FIRST.steps, min=1, soft_max=60, max=1000)
    guidance: FloatProperty(
        name="Guidance", description="How strictly the prompt is followed. 1 follows it loosely, high values exaggerate",
        default=FIRST.guidance, min=0.0, soft_max=12.0, max=100.0)
    split_guidance: BoolProperty(
        name="Guidance per Expert", description="Guide the expert for little noise otherwise than the one for much noise")
    guidance_low: FloatProperty(
        name="Low Noise", description="Guidance of the expert for little noise, which draws the details; that above is of the one for much noise",
        default=3.0, min=0.0, soft_max=12.0, max=100.0)
    limit_guidance: BoolProperty(
        name="Limit Guidance",
        description="Guide some of the steps alone: the others take half the time. Early ones without guidance keep more variety, late ones change little")
    guided_from: FloatProperty(
        name="From", description="Share of the steps before which there is no guidance", default=0.0, min=0.0, max=0.99, subtype="FACTOR")
    guided_until: FloatProperty(
        name="Until", description="Share of the steps after which there is no guidance", default=0.7, min=0.01, max=1.0, subtype="FACTOR")
    draft: BoolProperty(
        name="Draft", description="Skip most of the model in steps that would change little: faster, and not quite the picture that the same seed gives in full")
    draft_by: EnumProperty(name="Draft By", description="What says that a step would change little", default=FIRST_BLOCK, items=(
        (FIRST_BLOCK, "First Block", "The model's first block is asked in every step; where it changes little, the others are left out"),
        (MAGNITUDE, "Magnitude", "Whole steps are left out, by how much the model changes from step to step. The first draft of a model learns that "
                                 "from a small clip, which takes as many steps as the shot")))
    refine_strength: FloatProperty(
        name="Refiner", description="How much a second, smaller model may draw anew when it makes the frames twice as large. 0 leaves them as they are",
        default=FIRST.refines, min=0.0, max=1.0, subtype="FACTOR")
    refine_prompt: StringProperty(name="Refiner's Prompt", description="What the second model is told. Empty: the shot's own prompt")
    two_stages: BoolProperty(
        name="Two Stages", description="Sample at half the size, then refine the clip at all of it in a few steps: large pictures in less time")
    compiled: BoolProperty(
        name="Compile", description="Compile the model's blocks first: the first shot of a size takes minutes longer, those after it are faster. "
                                    "Kept between runs")
    plan: EnumProperty(name="Memory", description="How the model is kept in the device's memory", default=AUTOMATIC, items=PLAN_ITEMS)
    format: EnumProperty(name="Format", description="How the frames are written", default="png", items=FORMAT_ITEMS)

    use_guides: BoolProperty(name="Guides", default=True, description="Let the scene steer the clip. Off: the prompt alone")
    guide_depth: BoolProperty(name="Depth", default=True, description="Distance from the camera: keeps layout and occlusion")
    guide_normal: BoolProperty(name="Normals", default=True, description="Which way surfaces face: keeps shapes and edges")
    guide_albedo: BoolProperty(
        name="Object Colours",
        description="The colours of materials, without light. What is in the default grey, or has no material, is left to the prompt")
    guide_beauty: BoolProperty(name="Beauty", description="The scene as it renders: keeps colours and light")
    guide_mask: BoolProperty(name="Mask", description="Where the clip may change")
    guide_edges: BoolProperty(name="Edges", description="Outlines of the scene")
    guide_layout: BoolProperty(name="Layout", description="Boxes around things: where they are and how large, not what they look like")
    guide_vector: BoolProperty(name="Motion", description="How far everything moves from frame to frame")
    guide_camera: BoolProperty(name="Camera", default=True, description="The camera's path and lens")
    strength_depth: _strength("Distances")
    strength_normal: _strength("Normals")
    strength_albedo: _strength("Colours of things")
    strength_beauty: _strength("Colours")
    strength_edges: _strength("Edges")
    strength_layout: _strength("Boxes")
    strength_vector: _strength("Motions")
    mask_collection: PointerProperty(
        type=bpy.types.Collection, name="Mask", description="What the mask shows. Empty: what is selected when you press Generate")

    layout_collection: PointerProperty(
        type=bpy.types.Collection, name="Layout", description="What boxes are drawn around. Empty: what is selected when you press Generate")

    use_keyframes: BoolProperty(name="Keyframes", description="Stills that the clip must show")
    first_image: StringProperty(
        name="First Frame", subtype="FILE_PATH", options=lines.RELATIVE, description="A still that the clip begins with")
    last_image: StringProperty(
        name="Last Frame", subtype="FILE_PATH", options=lines.RELATIVE, description="A still that the clip ends with")

    stills: CollectionProperty(type=lines.SoraStill, name="Stills", description="Stills at frames between the first and the last")
    stills_index: _index()

    source_from: EnumProperty(name="Begin from", default="NONE", description="A clip that the new one begins from", items=(
        ("NONE", "Nothing", "The clip is made from the prompt alone, and from the guides"),
        ("TAKE", "Take", "A take of the library"),
        ("FOLDER", "Image Folder", "A folder with one numbered picture a frame"),
        ("STRIP", "Active Strip", "The image strip that is active in the sequencer: its pictures as they lie on disk, without effects")))
    source_take: StringProperty(name="Take", description="The take to begin from, by its folder's name")
    source_folder: StringProperty(
        name="Folder", subtype="DIR_PATH", options=lines.RELATIVE, description="Folder of pictures that end in a number: PNG, JPEG, TIFF or EXR")
    source_change: FloatProperty(
        name="Change", default=0.6, min=0.0, max=1.0, subtype="FACTOR",
        description="How much of the clip is made anew. 0 keeps it nearly as it is, 1 makes everything anew")
    references: CollectionProperty(type=lines.SoraReference, name="Subject", description="Pictures of what the clip shows")
    references_index: _index()
    loras: CollectionProperty(type=lines.SoraLora, name="LoRAs", description="Small additions to the model: a style, a subject, a control")
    loras_index: _index()

    land_strip: BoolProperty(name="Strip", default=True, description="Lay the take on the timeline, over the very frames it was shot for")
    land_compositor: BoolProperty(name="Compositor", description="Bring the take into the compositor as a plate under the render")
    land_camera: BoolProperty(name="Camera Background", description="Show the take behind the scene when looking through the camera")
    land_backdrop: BoolProperty(name="Backdrop", description="Stand the take as a plane that fills the camera")
    strip_channel: IntProperty(name="Channel", default=0, min=0, max=128, description="Channel of the strip. 0: the first that is free")
    film: BoolProperty(name="Transparent Film", description="Render the world transparent, so that the plate shows behind the scene")
    backdrop_distance: FloatProperty(
        name="Distance", default=0.0, min=0.0, subtype="DISTANCE", description="From the camera to the backdrop. 0: behind everything")


CLASSES = (*lines.CLASSES, SoraSettings)


def register():
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.sora = PointerProperty(type=SoraSettings, name="Sora")


def unregister():
    del bpy.types.Scene.sora
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)

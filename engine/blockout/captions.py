"""What a caption says of a scene: the phrases training draws from. `text.py` reads them back into words the model knows."""
from __future__ import annotations

from .world import Scene, Thing

PHRASES = {
    "sphere": ("sphere", "ball"), "cube": ("cube", "box", "block"), "cylinder": ("cylinder", "drum"), "cone": ("cone", "pyramid"),
    "car": ("car", "vehicle", "automobile"), "arch": ("arch", "archway", "gate"), "pillar": ("pillar", "column"), "tree": ("tree",),
    "figure": ("figure", "person", "walker"), "building": ("building", "house"), "wall": ("wall",), "tower": ("tower",),
    "noon": ("at noon", "under a clear blue sky", "in daylight"), "sunset": ("at sunset", "at golden hour", "at dusk"),
    "night": ("at night", "under a dark night sky"), "overcast": ("under an overcast sky", "on a cloudy day"),
    "grass": ("on grass", "in a green meadow", "on a lawn"), "sand": ("on sand", "in a desert"), "snow": ("on snow", "in a snowy field"),
    "asphalt": ("on asphalt", "on a grey road", "on tarmac"),
    "static": ("static shot", "locked off camera"), "photo": ("realistic", "photo", "cinematic"),
    "noir": ("film noir black and white", "noir style"), "watercolour": ("watercolour painting", "watercolor style"),
    "blueprint": ("blueprint drawing", "blueprint style"), "neon": ("neon style", "glowing neon"), "clay": ("clay render", "white clay model"),
    "toon": ("toon style", "comic book style", "cartoon"), "papercraft": ("papercraft", "cut paper style"),
    "documentary": ("documentary footage", "newsreel"), "scifi": ("1980s sci-fi film", "retro sci-fi"),
    "bus": ("bus", "coach"), "stairs": ("stairs", "staircase"), "stack": ("stack", "pile"), "lamp": ("lamp", "lantern"), "hill": ("hill", "mound"),
    "handheld": ("handheld camera", "shaky footage"), "follow": ("low angle tracking shot", "camera following"), "drone": ("drone shot", "aerial shot"),
    "rain": ("in the rain", "rainy"), "crowd": ("",), "hiding": ("",), "hills": ("hills", "a hilly field"),
    "fog": ("in fog", "misty", "foggy"), "snowfall": ("snow falling", "in a snowstorm"),
    "street": ("a street", "a road between houses", "a city street"), "crossing": ("a street", ""), "court": ("a courtyard", "a plaza", "")}
MOVE_PHRASES = {"pan": "camera pans {}", "dolly": {"in": "camera pushes in", "out": "camera pulls back"}, "orbit": "camera orbits {}",
                "crane": {"up": "camera rises", "down": "camera lowers"}, "truck": "camera trucks {}", "tilt": "camera tilts {}"}
NUMBERS = {2: "two", 3: "three", 4: "four"}


def _one(rng, word: str) -> str:
    return str(rng.choice(PHRASES[word]))


def _named(rng, thing: Thing, finish: bool) -> str:
    words = [w for w in (NUMBERS.get(thing.count, ""), thing.motion if thing.motion in ("bouncing", "sliding") else "", "glossy" if thing.glossy else "",
                         thing.finish if finish else "", _one(rng, thing.word)) if w]
    text = " ".join(words) + (("es" if words[-1][-1] == "x" else "s") if thing.many else "")
    text = text if thing.many else f"a {text}"
    return f"{text} {thing.motion}" if thing.motion in ("driving", "walking") else text


def _moved(rng, move: str) -> str:
    if " " not in move:
        return _one(rng, move)
    verb, way = move.split()
    long = MOVE_PHRASES[verb]
    return move if rng.random() < .5 else (long[way] if isinstance(long, dict) else long.format(way))


def caption(scene: Scene, rng, drop: float = .12, in_order: bool = False) -> str:
    """A caption of random length; each attribute is left out with probability `drop`. `in_order`: the main subject is always named first."""
    kept = lambda p=drop: rng.random() > p
    things = [t for i, t in enumerate(scene.things) if i == 0 or kept(.25)]
    names = [_named(rng, t, kept(drop * .6)) for t in things]
    if scene.kind == "objects" and len(names) == 2 == len(scene.things):
        subject = f"{names[0]} to the left of {names[1]}" if rng.random() < .5 or in_order else f"{names[1]} to the right of {names[0]}"
    elif len(things) > 1 and things[1].before:
        subject = ", ".join([f"{names[0]} passing behind {names[1]}", *names[2:]])
    else:
        subject = ", ".join(names) if rng.random() < .6 else " and ".join(names)
    place = _one(rng, scene.kind) if scene.kind != "objects" and kept(.3) else ""
    where = [_one(rng, k) for k in (scene.ground, scene.sky) if kept()]
    if scene.weather != "clear" and kept():
        where.append(_one(rng, scene.weather))
    if scene.wet and kept():
        where.append("on wet ground")
    if rng.random() < .3:
        where.reverse()
    tail = [t for t in (_moved(rng, scene.move) if kept(.2) else "", _one(rng, scene.style) if kept() else "") if t]
    if rng.random() < .3:
        tail.reverse()
    head = f"{place} with {subject}" if place else subject
    parts = [" ".join([head, *where]), *tail]
    if rng.random() < .15 and tail:
        parts = [*tail, " ".join([head, *where])]
    return ", ".join(parts)

"""The words the family knows, and the many words that mean the same. Grammar words are understood by being skipped."""
from __future__ import annotations

FIRST_STYLES = ("photo", "noir", "watercolour", "blueprint", "neon", "clay")        # those of world.py; varied.py has all
STYLES = (*FIRST_STYLES, "toon", "papercraft", "documentary", "scifi")
KNOWN = tuple(f"""
red orange yellow green blue purple white black brick concrete wood metal stone glass
sphere cube cylinder cone car arch pillar tree figure building wall tower street court
noon sunset night overcast fog snowfall grass sand snow asphalt
static pan dolly orbit crane truck left right in out up down
{" ".join(FIRST_STYLES)}
bouncing sliding driving walking passing behind
{" ".join(STYLES[len(FIRST_STYLES):])}
rain wet glossy tilt handheld follow drone bus stairs stack lamp hill two three four
""".split())

STOP = frozenset("""
a an the of to with and or at on under by is are be it its this that there into over through from for as between while very some one
his her their shot camera style scene view image video frame picture render rendering drawing painting look looking made like field sky city model
off locked past front clip footage day time along across near small big large tall short little old ground retro
""".split())

# phrases first (they may hold stop words), then single words; the meaning is one or more known words
PHRASES = {
    "black and white": "noir",
    "film noir": "noir",
    "black-and-white": "noir",
    "golden hour": "sunset",
    "magic hour": "sunset",
    "clear blue sky": "noon",
    "blue sky": "noon",
    "clear sky": "noon",
    "dark night sky": "night",
    "night sky": "night",
    "overcast sky": "overcast",
    "cloudy day": "overcast",
    "cloudy sky": "overcast",
    "green meadow": "grass",
    "grey road": "asphalt",
    "gray road": "asphalt",
    "snowy field": "snow",
    "snow falling": "snowfall",
    "falling snow": "snowfall",
    "locked off": "static",
    "white clay": "clay",
    "pushes in": "dolly in",
    "push in": "dolly in",
    "pulls back": "dolly out",
    "pull back": "dolly out",
    "pull out": "dolly out",
    "zoom in": "dolly in",
    "zoom out": "dolly out",
    "moves forward": "dolly in",
    "moves back": "dolly out",
    "road between houses": "street",
    "water colour": "watercolour",
    "light blue": "blue",
    "dark blue": "blue",
    "fog bank": "fog",
    "city street": "street",
    "static shot": "static",
    "comic book": "toon",
    "cel shaded": "toon",
    "paper cut": "papercraft",
    "cut paper": "papercraft",
    "1980s sci-fi": "scifi",
    "80s sci-fi": "scifi",
    "science fiction": "scifi",
    "hand held": "handheld",
    "low angle tracking": "follow",
    "tracking shot": "follow",
    "aerial view": "drone",
    "aerial shot": "drone",
    "street lamp": "lamp",
    "street lamps": "lamp",
}
SAME = {
    "red": "crimson scarlet ruby maroon cherry",
    "orange": "amber tangerine",
    "yellow": "golden gold lemon",
    "green": "emerald olive lime mint",
    "blue": "azure navy cobalt cyan turquoise teal",
    "purple": "violet magenta lilac lavender",
    "white": "ivory cream pale",
    "black": "dark ebony jet",
    "brick": "terracotta clinker",
    "concrete": "cement grey gray brutalist",
    "wood": "wooden brown timber oak plank",
    "metal": "steel iron metallic aluminium aluminum chrome silver",
    "stone": "marble sandstone limestone granite rock beige",
    "glass": "glassy transparent",
    "sphere": "ball orb globe round",
    "cube": "box block crate square",
    "cylinder": "drum barrel can",
    "cone": "pyramid",
    "car": "vehicle automobile taxi van truck-car sedan cab",
    "arch": "archway gate gateway portal bridge",
    "pillar": "column post colonnade",
    "tree": "pine oak-tree bush forest",
    "figure": "person walker man woman human pedestrian character people child girl boy",
    "building": "house facade skyscraper home block-of-flats apartment architecture",
    "wall": "fence barrier",
    "tower": "chimney spire",
    "street": "road alley avenue lane boulevard",
    "court": "courtyard plaza square-place piazza yard",
    "noon": "daylight midday sunny daytime sunshine bright",
    "sunset": "dusk dawn sunrise evening twilight warm",
    "night": "nighttime midnight dark-night moonlight moonlit nocturnal",
    "overcast": "cloudy grey-sky dull gloomy cloud",
    "fog": "foggy mist misty haze hazy smoke",
    "snowfall": "snowstorm blizzard snowing",
    "grass": "lawn meadow grassy park",
    "sand": "desert sandy beach dune",
    "snow": "snowy winter ice icy",
    "asphalt": "tarmac pavement cobblestone paved",
    "static": "still tripod fixed",
    "pan": "panning",
    "dolly": "push pull",
    "orbit": "circling orbiting arc",
    "crane": "rise lower pedestal jib",
    "truck": "trucking sideways",
    "photo": "realistic photograph photoreal photorealistic cinematic film movie 35mm",
    "noir": "monochrome b&w",
    "watercolour": "watercolor aquarelle painted painterly",
    "blueprint": "schematic technical cyanotype",
    "neon": "glowing cyberpunk synthwave tron",
    "clay": "maquette plaster untextured",
    "toon": "cartoon comic cel anime",
    "papercraft": "origami paper cardboard",
    "documentary": "newsreel reportage verite",
    "scifi": "sci-fi retrofuturistic futuristic",
    "rain": "rainy raining storm stormy downpour",
    "wet": "puddles rain-soaked",
    "glossy": "shiny polished lacquered",
    "tilt": "tilting",
    "handheld": "shaky",
    "follow": "tracking following",
    "drone": "aerial flyover",
    "bus": "lorry coach",
    "stairs": "steps staircase stairway",
    "stack": "pile stacked piled",
    "lamp": "lantern streetlight lamppost",
    "hill": "mound terrain hilly dunes",
    "two": "pair couple",
    "bouncing": "bounce jumping jump hopping",
    "sliding": "slide moving move gliding",
    "driving": "drive drove racing speeding riding",
    "walking": "walk running run strolling",
    "passing": "pass crossing cross",
    "behind": "occluded hidden",
    "left": "leftward",
    "right": "rightward",
    "up": "upward",
    "down": "downward",
    "in": "inward",
    "out": "outward",
}
MEANING = {other: word for word, others in SAME.items() for other in others.split()}
MEANING |= {"rises": "crane up", "rise": "crane up", "lowers": "crane down", "lower": "crane down"}
IDS = {word: i + 1 for i, word in enumerate(KNOWN)}            # 0 is padding
LONGEST = max(len(p.split()) for p in PHRASES)


def stems(word: str) -> list[str]:
    """The word and what it may be a form of: plurals, -ing, -ed, -ly."""
    forms = [word]
    for ending, instead in (("ies", "y"), ("es", ""), ("s", ""), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("ly", ""), ("y", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            forms.append(word[:-len(ending)] + instead)
    return forms


def meaning(word: str) -> list[str] | None:
    """Known words that a word stands for; [] for a stop word, None for one not understood."""
    for form in stems(word):
        if form in IDS:
            return [form]
        if form in MEANING:
            return MEANING[form].split()
    return [] if word in STOP or any(f in STOP for f in stems(word)) else None

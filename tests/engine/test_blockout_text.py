"""What artists write, and what of it is understood."""
import numpy as np
import pytest

from engine.blockout import captions, text, world
from engine.blockout.words import IDS, KNOWN, MEANING, PHRASES, SAME


def known(prompt):
    return [KNOWN[i - 1] for i in text.tokens(prompt).ids]


@pytest.mark.parametrize("prompt, meant", [
    ("a crimson ball", ["red", "sphere"]),
    ("Two boxes on sandy ground", ["two", "cube", "sand"]),
    ("a tracking shot of three shiny buses, 1980s sci-fi", ["follow", "three", "glossy", "bus", "scifi"]),
    ("camera tilts up in the rain", ["tilt", "up", "rain"]),
    ("golden hour, a car drives past marble columns", ["sunset", "car", "driving", "stone", "pillar"]),
    ("black-and-white film", ["noir", "photo"]),
    ("black and white", ["noir"]),
    ("a black cube in fog", ["black", "cube", "fog"]),
    ("camera pushes in", ["dolly", "in"]),
    ("the camera rises", ["crane", "up"]),
    ("pans left", ["pan", "left"]),
    ("watercolor painting, foggy", ["watercolour", "fog"])])
def test_synonyms_and_forms(prompt, meant):
    assert known(prompt) == meant


@pytest.mark.parametrize("prompt, asked", [
    ("a red car at sunset", "a red car at sunset, realistic"), ("a red car, film noir", "a red car, film noir"), ("a (neon:0.5) car", "a (neon:0.5) car"),
    ("cinematic, a red car", "cinematic, a red car"), ("red " * 24, "red " * 24)])
def test_a_prompt_without_a_style_is_asked_to_be_realistic(prompt, asked):
    assert text.completed(prompt) == asked


def test_words_not_understood_are_named_once_and_grammar_is_not():
    t = text.tokens("A quiet red car and the quiet unicorn, in the street at night")
    assert t.not_understood == ("quiet", "unicorn")
    assert text.tokens("").not_understood == () and text.tokens("").ids == ()


def test_weights_follow_their_words():
    t = text.tokens("a (red:1.4) car on (cracked asphalt: .5)")
    assert dict(zip((KNOWN[i - 1] for i in t.ids), t.weights)) == {"red": 1.4, "car": 1., "asphalt": .5}
    assert t.not_understood == ("cracked",)


def test_a_long_prompt_is_cut_not_refused():
    assert len(text.tokens("red car " * 100).ids) == text.TOKENS
    assert text.tokens("red car " * 12 + "on snow").not_understood == ("snow",)


def test_every_caption_is_understood():
    for seed in range(400):
        rng = np.random.default_rng(seed)
        caption = captions.caption(world.drawn(rng), rng)
        t = text.tokens(caption)
        assert not t.not_understood and len(t.ids) < text.TOKENS, caption


def test_synonyms_lead_to_known_words_and_to_one_only():
    assert all(w in IDS for meant in (*SAME, *PHRASES.values(), *MEANING.values()) for w in meant.split())
    others = [w for ws in SAME.values() for w in ws.split()]
    assert len(others) == len(set(others)) and not set(others) & set(KNOWN)

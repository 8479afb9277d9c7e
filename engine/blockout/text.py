"""Prompts to tokens to embeddings: a small word list, no downloads, and an honest list of words not understood.

`(word:1.4)` weighs words, as artists know it: it weighs the difference that those words make to the denoiser's estimate, so that 0 is
the prompt without them, 1 the plain prompt, and what lies between and beyond follows in proportion.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .words import IDS, KNOWN, LONGEST, PHRASES, STYLES, meaning

TOKENS = 24
_WEIGHTED = re.compile(r"\(([^():]+):\s*([0-9]*\.?[0-9]+)\s*\)")
_WORD = re.compile(r"[a-z0-9&]+(?:[-'][a-z0-9]+)*")
_AMBIGUOUS = {"in", "out", "up", "down"}                       # words of a camera's move only after one


@dataclass(frozen=True, slots=True)
class Tokens:
    ids: tuple[int, ...]                                       # indices into words.KNOWN, from 1
    weights: tuple[float, ...]
    not_understood: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    embedding: Tensor                                          # (N, TOKENS, D): of the prompts that `parts` gives
    not_understood: tuple[str, ...] = ()
    shares: tuple[float, ...] = (1.,)                          # of the N estimates in the prompt's own; their sum is 1


def spans(prompt: str) -> list[tuple[str, float]]:
    """The prompt cut into (text, weight) at `(text:weight)`."""
    found, at = [], 0
    for m in _WEIGHTED.finditer(prompt):
        found += [(prompt[at:m.start()], 1.0), (m[1], float(m[2]))]
        at = m.end()
    return found + [(prompt[at:], 1.0)]


def _known(words: list[str]) -> tuple[list[str], list[str]]:
    """Known words in order, and what was not understood."""
    known, missed, i = [], [], 0
    while i < len(words):
        for n in range(min(LONGEST, len(words) - i), 0, -1):
            phrase = PHRASES.get(" ".join(words[i:i + n]))
            if phrase:
                known += phrase.split()
                i += n
                break
        else:
            found = meaning(words[i])
            if found is None:
                missed.append(words[i])
            elif not (found and found[0] in _AMBIGUOUS and (not known or known[-1] not in ("dolly", "crane", "tilt"))):
                known += found
            i += 1
    return known, missed


def tokens(prompt: str) -> Tokens:
    """A prompt of any length. Known words past the first TOKENS are not heard: they are named with those not understood."""
    ids, weights, missed = [], [], []
    for text, weight in spans(prompt.lower()):
        known, unknown = _known(_WORD.findall(text))
        ids += [IDS[w] for w in known]
        weights += [weight] * len(known)
        missed += unknown
    missed += [KNOWN[i - 1] for i in ids[TOKENS:] if i not in ids[:TOKENS]]
    return Tokens(tuple(ids[:TOKENS]), tuple(weights[:TOKENS]), tuple(dict.fromkeys(missed)))


def completed(prompt: str) -> str:
    """The prompt, asked to be realistic where it names no style: training's captions without one were of every style, so any would come."""
    ids = tokens(prompt).ids
    return prompt if any(IDS[style] in ids for style in STYLES) or len(ids) >= TOKENS else f"{prompt}, realistic"


def felt(weight: float) -> float:
    """How much of what words change a weight lets through: below 1 its square. Guidance makes three times of it, so that a plain quarter
    would already show as all, and nothing lay between."""
    return min(weight, 1.) * weight


def parts(prompt: Tokens) -> list[tuple[Tokens, float]]:
    """Plain prompts whose estimates make up that of a weighted one, with their shares: the whole, and for each weight w other than 1
    the whole less the words of that weight, by 1 - felt(w). (Composed as in Liu et al. 2022, "Composable Diffusion".)"""
    others = sorted({w for w in prompt.weights if w != 1})
    found = [(prompt.ids, 1 + sum(felt(w) - 1 for w in others))]
    found += [(tuple(i for i, w in zip(prompt.ids, prompt.weights) if w != other), 1 - felt(other)) for other in others]
    return [(Tokens(ids, (1.,) * len(ids), ()), share) for ids, share in found if share]


def batch(prompts: list[Tokens]) -> Tensor:
    """Padded ids (B, TOKENS), long; weights are what `parts` makes of them."""
    ids = torch.zeros(len(prompts), TOKENS, dtype=torch.long)
    for i, t in enumerate(prompts):
        ids[i, :len(t.ids)] = torch.tensor(t.ids, dtype=torch.long)
    return ids


class TextEncoder(nn.Module):
    """Word and place embeddings and one transformer layer; an empty prompt has a learned embedding of its own."""

    def __init__(self, d: int, heads: int = 4):
        super().__init__()
        self.word, self.place = nn.Embedding(len(KNOWN) + 1, d), nn.Parameter(torch.randn(TOKENS, d) * .02)
        nn.init.normal_(self.word.weight, std=.5)
        self.layer = nn.TransformerEncoderLayer(d, heads, 2 * d, 0., "gelu", batch_first=True, norm_first=True)
        self.nothing = nn.Parameter(torch.randn(TOKENS, d) * .02)

    def forward(self, ids: Tensor, dropped: Tensor | None = None) -> Tensor:
        """ids (B, TOKENS), dropped (B,) bool -> embeddings (B, TOKENS, D)."""
        written = (ids > 0)[..., None]
        x = self.layer(self.word(ids) + self.place) * written
        empty = ~written.any(1, keepdim=True)
        if dropped is not None:
            empty = empty | dropped[:, None, None]
        return torch.where(empty, self.nothing, x)

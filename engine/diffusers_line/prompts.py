"""Prompts for T5 and Gemma encoders, with weights: `a (red:1.4) car` scales what the encoder says of `red` by 1.4."""
from __future__ import annotations

import contextlib
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models import admission
from .remembered import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTED = re.compile(r"(?<!\\)\(([^()]+):(\d*\.?\d+)\)")
ESCAPED = re.compile(r"\\([()])")
BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Weighted:
    """A prompt without its weights, and (first character, end, weight) of the parts that have one."""

    text: str
    parts: tuple[tuple[int, int, float], ...]

    def after(self, words: str) -> Weighted:
        """With `words`, which have no weight, before it."""
        return Weighted(words + self.text, tuple((first + len(words), end + len(words), weight) for first, end, weight in self.parts))


def cleaned(prompt: str) -> str:
    """Broken Unicode mended, entities resolved and white space made single, as these encoders were trained."""
    import ftfy
    return BLANKS.sub(" ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


def parsed(prompt: str) -> Weighted:
    """Takes `(words:1.3)` out of a prompt; `\\(` and `\\)` are brackets that mean themselves."""
    prompt, text, parts, at = cleaned(prompt), "", [], 0
    for found in WEIGHTED.finditer(prompt):
        text += ESCAPED.sub(r"\1", prompt[at:found.start()])
        words = ESCAPED.sub(r"\1", found[1])
        parts.append((len(text), len(text) + len(words), float(found[2])))
        text, at = text + words, found.end()
    return Weighted(text + ESCAPED.sub(r"\1", prompt[at:]), tuple(parts))


def plainly(prompt: str) -> Weighted:
    """As `parsed`, for encoders that were trained on prompts as they are: nothing is cleaned in one that says no weights."""
    asked = parsed(prompt)
    return asked if asked.parts or ESCAPED.search(prompt) else Weighted(prompt, ())


class Encoder:
    """A T5 or UMT5 encoder with its tokenizer; embeddings are (1, length, C), zero after the prompt's end."""

    def __init__(self, tokenizer, encoder, folder: Path, length: int, device, using):
        """`using(name)`: a context in which the component is on `device`."""
        self._tokenizer, self._encoder, self._length, self._device, self._using = tokenizer, encoder, length, device, using
        self._kept = Embeddings(f"{identity(folder)}/{encoder.dtype}/{length}")

    def embedding(self, prompt: str) -> Tensor:
        return self._kept.embedding(prompt, self._encoded)

    def _encoded(self, prompt: str) -> Tensor:
        import torch
        asked = parsed(prompt)
        tokens = self._tokenizer([asked.text], padding="max_length", max_length=self._length, truncation=True, add_special_tokens=True,
                                 return_attention_mask=True, return_tensors="pt")
        with torch.inference_mode(), self._using("text_encoder"):
            mask = tokens.attention_mask.to(self._device)
            made = self._encoder(tokens.input_ids.to(self._device), mask).last_hidden_state * mask[..., None]
            return made * scales(self._tokenizer, asked, self._length).to(made) if asked.parts else made


def scales(tokenizer, asked: Weighted, length: int, side: str = "") -> Tensor:
    """(1, length, 1): the weight of each token's first character, of a prompt that is padded, on the tokenizer's own or another `side`, or cut
    to `length` tokens."""
    import torch
    fast = ({"return_offsets_mapping": True} if tokenizer.is_fast else {}) | ({"padding_side": side} if side else {})
    tokens = tokenizer([asked.text], padding="max_length", max_length=length, truncation=True, add_special_tokens=True, return_tensors="pt", **fast)
    found = torch.ones(length)
    for place, (first, end) in enumerate(_offsets(tokenizer, asked, tokens)):
        found[place] = next((weight for begin, until, weight in asked.parts if end > first and begin <= first < until), 1.0)
    return found[None, :, None]


@contextlib.contextmanager
def weighing(module: Any, weigh: Callable[[Any], Any] | None) -> Iterator[None]:
    """Meanwhile what `module` says of words goes through `weigh`: where a norm follows the encoder, it would undo any scale before it.

    None changes nothing.
    """
    if weigh is None:
        yield
        return
    listener = module.register_forward_hook(lambda module, arguments, output: weigh(output))
    try:
        yield
    finally:
        listener.remove()


def _offsets(tokenizer, asked: Weighted, tokens) -> list[tuple[int, int]]:
    """Characters (first, end) of each token. A slow tokenizer does not say them: its pieces are looked for in order."""
    if "offset_mapping" in tokens:
        return [(int(first), int(end)) for first, end in tokens.offset_mapping[0]]
    found, at = [], 0
    for piece in tokenizer.convert_ids_to_tokens(tokens.input_ids[0].tolist()):
        word = piece.lstrip("\u2581")
        place = asked.text.find(word, at) if word else -1
        found.append((place, place + len(word)) if place >= 0 else (0, 0))
        at = place + len(word) if place >= 0 else at
    return found


def identity(folder: Path) -> str:
    """What the encoder's weights are: the hashes that their record holds, otherwise their names, sizes and times."""
    record = folder / admission.RECORD
    if record.is_file():
        files = json.loads(record.read_text(encoding="utf-8")).get("files", {})
        known = sorted((name, kept["sha256"]) for name, kept in files.items() if name.startswith(("text_encoder", "tokenizer")))
    else:
        known = sorted((str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
                       for part in ("text_encoder", "tokenizer") for path in (folder / part).rglob("*") if path.is_file())
    return hashlib.sha256(repr(known).encode()).hexdigest()

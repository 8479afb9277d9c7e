"""Teaching blockout one's own look: a LoRA, or the whole transformer, trained further on a folder of captioned clips.

The folder of a training holds `clips/` (each clip's latents, encoded once), `begun.json`, `<kind>.pt` and `.jsonl` as every stage's, and what came of it:
`<its own name>.safetensors` for a LoRA, `weights/` for all.
"""
from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..device import Device
from ..errors import CHOOSE, ModelError
from . import clips, flow, lora, text
from .clips import Clip, ClipsError
from .guides import GIVEN, PICTURES
from .model import NAME, Blockout, load, save, told_rate
from .train_transformer import optimisers
from .training import Run, onto, side_by_side, where
from .transformer import Transformer

log = logging.getLogger(__name__)

KINDS = ("lora", "finetune")
TOKENS_A_STEP, FEWEST = 700, 2                                # latent pixels and clips that a process sees in a step on a CPU
PARTS = (1., .6, .35)                                          # of a piece's length
GENTLE = .1                                                    # of the rates at which the model itself was trained
LORA_RATE, HORIZON, WARM = 6e-3, 100, 10                      # steps of the moving average and until the full rate
JUDGED, AT = 8, .7                                             # pieces and noise level by which learning is told


@dataclass(frozen=True, slots=True)
class Begun:
    """What a training is of; it can only be gone on with as it was begun."""
    kind: str
    rank: int
    base_sha256: str


@dataclass(frozen=True, slots=True)
class Piece:
    latent: Tensor                                             # (C, K, h, w)
    guides: dict[str, Tensor]                                  # (C, T, H, W), those that it has
    caption: text.Tokens
    fps: float = 0.                                            # 0 where nobody says


# ---------------------------------------------------------------- latents
def encoded(clip: Clip, blockout: Blockout, out: Path, base: str) -> Path:
    """The file with the latents and guides of a clip's pieces; made unless it is there already. Raises ClipsError, GuideError."""
    from safetensors.torch import save_file

    path = out / "clips" / f"{clip.key()}-{base[:8]}.safetensors"
    if path.exists():
        return path
    fps = told_rate(rate := clips.rate(clip))
    if fps != rate:
        log.warning("%s has %g frames a second; trained on as if it had %g, the nearest that Blockout knows", clip.path.name, rate, fps)
    tensors, ceiling = {"fps": torch.tensor(fps)}, []
    for n, piece in enumerate(clips.pieces(clip, blockout.native_size)):
        video = onto(torch.from_numpy(piece.rgb), blockout.device).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        with torch.no_grad():
            latent = blockout.autoencoder.encode(video)
            ceiling.append((blockout.autoencoder.decode(latent) - video).square().mean().item())
        tensors[f"{n}.latent"] = latent[0].half().cpu().contiguous()
        tensors |= {f"{n}.{kind}": torch.from_numpy(g).permute(3, 0, 1, 2).half().contiguous() for kind, g in piece.guides.items()}
    log.info("%s: the autoencoder gives it back at %.1f dB, which no training of the transformer exceeds", clip.path.name, -10 * np.log10(np.mean(ceiling) / 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
    return path


def opened(path: Path, caption: str) -> list[Piece]:
    """The pieces in a file that `encoded` wrote."""
    from safetensors.torch import load_file

    tensors, words = load_file(path), text.tokens(caption)
    count = sum(name.endswith(".latent") for name in tensors)
    return [Piece(tensors[f"{n}.latent"].float(), {k: tensors[f"{n}.{k}"].float() for k in PICTURES if f"{n}.{k}" in tensors}, words,
                  float(tensors["fps"])) for n in range(count)]


def understood(found: list[Clip]) -> tuple[str, ...]:
    """Known words that all captions share, which call the look up. Words that blockout does not know are said once."""
    read = [text.tokens(clip.caption) for clip in found]
    missed = list(dict.fromkeys(word for one in read for word in one.not_understood))
    if missed:
        log.warning("Blockout does not know these words of the captions and passes over them: %s", ", ".join(missed))
    return tuple(text.KNOWN[i - 1] for i in dict.fromkeys(read[0].ids) if all(i in one.ids for one in read))


# ---------------------------------------------------------------- steps
@dataclass(frozen=True, slots=True)
class Batch:
    x0: Tensor
    guides: dict[str, Tensor]                                  # of all; 0 where a clip has none
    there: Tensor                                              # (B, 5): which of GIVEN it has
    ids: Tensor
    fps: Tensor                                                # (B,) 0 where nobody says

    @classmethod
    def of(cls, pieces: list[Piece], k: int) -> Batch:
        """The first k latent frames of pieces of one picture size."""
        t, (h, w) = 4 * (k - 1) + 1, pieces[0].latent.shape[2:]
        guides = {kind: torch.stack([p.guides[kind][:, :t] if kind in p.guides else torch.zeros(c, t, 8 * h, 8 * w) for p in pieces])
                  for kind, c in PICTURES.items()}
        there = torch.tensor([[float(kind in p.guides) for kind in GIVEN] for p in pieces])
        return cls(torch.stack([p.latent[:, :k] for p in pieces]), guides, there, text.batch([p.caption for p in pieces]),
                   torch.tensor([p.fps for p in pieces]))


class Draws:
    """Which pieces a step sees: those of one size, cut to one length, some of them more than once at different noise."""

    def __init__(self, pieces: list[Piece], run: Run):
        self.pieces, self.run = pieces, run

    def __call__(self, model: Transformer, g: torch.Generator) -> Tensor:
        part = np.random.default_rng(self.run.step).choice(PARTS)                 # the same in every process
        pick = lambda n: int(torch.randint(n, (1,), generator=g))
        one = self.pieces[pick(len(self.pieces))]
        _, whole, h, w = one.latent.shape
        k = max(min(2, whole), round(whole * part))
        alike = [p for p in self.pieces if p.latent.shape[2:] == (h, w) and p.latent.shape[1] >= k]
        count = max(FEWEST, round(self.run.tokens(TOKENS_A_STEP) / (k * h * w)))
        b = onto(Batch.of([one, *(alike[pick(len(alike))] for _ in range(count - 1))], k), where(model))
        return flow.loss(model, b.x0, b.guides, b.ids, g, b.there, b.fps)


class Judge:
    """How far off the clean latents of the clips themselves are, told from their captions at one noise level. Falls as they are learned."""

    def __init__(self, pieces: list[Piece]):
        self.pieces = pieces[::-(-len(pieces) // JUDGED)]

    def __call__(self, model: Transformer) -> dict[str, Tensor]:
        return {"error": sum(self._error(model, p) for p in self.pieces) / len(self.pieces)}

    def _error(self, model: Transformer, piece: Piece) -> Tensor:
        b = onto(Batch.of([piece], min(5, piece.latent.shape[1])), where(model))
        eps = torch.randn(b.x0.shape, generator=torch.Generator().manual_seed(5)).to(b.x0)
        x, sigma, empty = (1 - AT) * b.x0 + AT * eps, b.x0.new_full((1,), AT), torch.zeros_like(b.x0)
        out = model(x, sigma, model.text(b.ids), b.guides, x.new_zeros(1, len(GIVEN)), empty, empty[:, :1], b.fps)
        return (out - b.x0).square().mean()


# ---------------------------------------------------------------- training
def made(begun: Begun, transformer: Transformer, place: str = "cpu") -> tuple[Transformer, list]:
    """What is trained, on the device of that name, and by what."""
    if begun.kind == "lora":
        sewn = lora.sewn(transformer, begun.rank).to(place)
        return sewn, [torch.optim.AdamW([p for p in sewn.parameters() if p.requires_grad], LORA_RATE, betas=(.9, .98), weight_decay=0.)]
    moved = optimisers(transformer.to(place).requires_grad_(True))
    for group in (g for o in moved for g in o.param_groups):
        group["lr"] *= GENTLE
    return transformer, moved


def stage(begun: Begun, files: list[tuple[Path, str]], weights: Path, out: Path, minutes: float, place: Device | None = None, tokens: int = 0) -> None:
    """In each process: trains on top of what the checkpoint has. place and tokens as `Run` has them."""
    torch.manual_seed(1)
    pieces = [piece for path, caption in files for piece in opened(path, caption)]
    model, moved = made(begun, load(weights).transformer, place.name if place else "cpu")
    run, judge = Run(begun.kind, out, model, moved, minutes, HORIZON, seed=1, warm=WARM, place=place, tokens=tokens), Judge(pieces)
    run.resume()
    if not run.step and not run.rank:
        run.report(judge)
    run.train(Draws(pieces, run), judge, every=25, save_every=60.)


def train(kind: str, data: Path, out: Path, minutes: float, weights: Path, rank: int = 0, processes: int = 2, place: Device | None = None,
          tokens: int = 0) -> Path:
    """One of KINDS on the clips in `data`, for as many minutes in all; what came of it: a LoRA's file, or a folder of weights.

    On the CPU unless there is another place, which takes one process; tokens as `Run` has them.
    Raises ClipsError, GuideError, FolderError, ModelError.
    """
    found, (blockout, base) = clips.found(data), _base(weights, place.name if place else "cpu")
    begun, words = _begun(Begun(kind, rank, base), out), understood(found)
    files = [(encoded(clip, blockout, out, base), clip.caption) for clip in found]
    side_by_side(processes, out, stage, begun, files, weights, out, minutes, place, tokens)
    return exported(begun, weights, out, {"trigger": ", ".join(words), "clips": str(len(found))})


def _base(weights: Path, place: str) -> tuple[Blockout, str]:
    """The model to begin from, on the device of that name, and the sha256 of its file. Raises ModelError."""
    try:
        return load(weights, place), lora.digest(weights)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{weights} holds no weights of Blockout to begin from ({error}); leave --weights out to begin from its own.", CHOOSE) from error


def _begun(wanted: Begun, out: Path) -> Begun:
    """How the training in `out` was begun, which is how it goes on; rank 0 is as it was, or RANK. Raises ClipsError."""
    path = out / "begun.json"
    was = Begun(**json.loads(path.read_text())) if path.exists() else None
    rank = 0 if wanted.kind != "lora" else wanted.rank or (was.rank if was else lora.RANK)
    begun = Begun(wanted.kind, rank, wanted.base_sha256)
    if was is not None and was != begun:
        what = f"a {was.kind}" + (f" of rank {was.rank}" if was.rank else "")
        raise ClipsError(f"{out} holds {what}{'' if was.base_sha256 == begun.base_sha256 else ' of other weights'}; go on with that, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(begun)) + "\n")
    return begun


def exported(begun: Begun, weights: Path, out: Path, facts: dict[str, str]) -> Path:
    """Writes what the checkpoint has learned, with what it cost."""
    state = torch.load(out / f"{begun.kind}.pt", weights_only=True)
    blockout = load(weights)
    model, _ = made(begun, blockout.transformer)
    model.load_state_dict(state["average"])
    facts |= {"base_sha256": begun.base_sha256, "steps": str(state["step"]), "minutes": f"{state['spent'] / 60:.1f}"}
    if begun.kind == "lora":
        path = out / f"{out.resolve().name}.safetensors"
        lora.save(model, path.with_suffix(".part"), {"rank": str(begun.rank), **facts})
        os.replace(path.with_suffix(".part"), path)
        return path
    save(blockout, out / "weights")
    lines = "".join(f"- {name.replace('_', ' ')}: {value}\n" for name, value in facts.items() if value)
    (out / "weights" / "MODEL_CARD.md").write_text(f"# {NAME}, trained further\n\nBy `scripts/train_blockout.py finetune` on an artist's own clips.\n\n{lines}")
    return out / "weights"

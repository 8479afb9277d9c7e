"""Trains the blockout family from nothing: renders clips, trains the autoencoder, then the transformer, and writes the weights.

    python scripts/train_blockout.py all --out out/blockout --minutes 120
    python scripts/train_blockout.py transformer --out out/blockout --minutes 90 --resume

Or goes on from weights, Blockout's own or --weights, in a new folder, counting the minutes that made them (its card says how many):

    python scripts/train_blockout.py begin --out out/further --minutes 796
    python scripts/train_blockout.py data --out out/further
    python scripts/train_blockout.py transformer --out out/further --minutes 886 --resume

Or measures what compute buys, with transformers of three sizes on the same clips (--minutes of each; stopped sizes are not taken up again):

    python scripts/train_blockout.py scaling --out out/blockout --minutes 30      # out/blockout/scaling.csv, and scaling.png of it
    python scripts/train_blockout.py curves --out out/blockout                    # scaling.png once more, from scaling.csv beside it

Or teaches it the look of one's own captioned clips, films or folders of images with a .txt of the same name beside each:

    python scripts/train_blockout.py lora --data clips --out out/ink --minutes 10          # out/ink/ink.safetensors, to be put on
    python scripts/train_blockout.py finetune --data clips --out out/ink --minutes 60      # out/ink/weights, a model of its own
    python -m engine models import out/ink/weights --name ink                              # ... to be chosen as --model ink, or in Blender

It trains on a graphics card where torch sees one (CUDA, ROCm or Apple's), in one process and with larger steps, else on the CPU in two processes;
--device says which. A folder that was begun on the one can be gone on with on the other.
"""
from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors import SafetensorError

from engine import device
from engine.blockout import finetune, lora, model, scaling, train, train_transformer
from engine.blockout.training import ON_A_CARD
from engine.errors import ModelError, SoraError

DEVICES = ("auto", "cpu", "cuda", "mps")
TOKENED = ("transformer", "all", "scaling", *finetune.KINDS)   # stages whose steps are counted in latent pixels

log = logging.getLogger("train_blockout")


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*train.STAGES, "all", "begin", "export", "scaling", "curves", *finetune.KINDS))
    parser.add_argument("--out", type=Path, required=True, help="folder for clips, checkpoints, logs and weights")
    parser.add_argument("--data", type=Path, help="lora, finetune: the folder with your clips and their captions")
    parser.add_argument("--rank", type=int, choices=range(1, 65), metavar="1..64", help=f"lora: how much it can learn ({lora.RANK} where it begins)")
    parser.add_argument("--weights", type=Path, default=model.WEIGHTS, help="lora, finetune: what they begin from; refiner: whose frames it "
                        "learns from, unless --out holds a model; Blockout's own")
    parser.add_argument("--minutes", type=float, help="of the stage in all, or of all stages together (120 unless said); begin: what made the weights")
    parser.add_argument("--device", choices=DEVICES, default="auto", help=f"auto: what {device.CHOICE} says, else a card where torch sees one (cuda is "
                        "ROCm, too), else the CPU")
    parser.add_argument("--processes", type=int, help="of one thread each, on a CPU; they average their gradients (2 unless said); a card takes one")
    parser.add_argument("--tokens", type=int, help="transformer, scaling, lora, finetune: latent pixels that each process sees in a step "
                        f"({train_transformer.TOKENS_A_STEP}, of your own clips {finetune.TOKENS_A_STEP}; {ON_A_CARD} times as many on a card)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    given = parser.parse_args(words)
    if (given.stage in finetune.KINDS) != (given.data is not None):
        parser.error(f"{given.stage} {'needs --data' if given.data is None else 'takes no --data; say lora or finetune'}")
    if given.rank and given.stage != "lora":
        parser.error("only a lora has a rank")
    if given.stage == "begin" and given.minutes is None:
        parser.error("begin needs the --minutes that the transformer was trained for, which the model's card says")
    given.minutes = 120. if given.minutes is None else given.minutes
    if given.tokens is not None and given.stage not in TOKENED:
        parser.error(f"--tokens is for {', '.join(TOKENED)}; the steps of {given.stage} are not counted in them")
    if given.minutes <= 0 or min(1 if n is None else n for n in (given.processes, given.tokens)) < 1:
        parser.error("--minutes must be above 0, --processes and --tokens at least 1")
    return given


def placed(wanted: str) -> device.Device:
    """The device of DEVICES that trains. Raises SoraError where it is not there."""
    try:
        place = device.chosen() if wanted == "auto" else device.answering(wanted, "--device")
    except ModelError as error:
        raise ModelError(f"{error.sentence} `python -m engine doctor` says what is here, --device cpu trains without it.") from error
    idle = device.passed_over(place) if wanted == "auto" else ""
    log.info("on %s%s", place.label, f": {idle}" if idle else "")
    return place


def processes(place: device.Device, wanted: int | None) -> int:
    """How many train. Raises ModelError where a card is asked for several."""
    if place.name != "cpu" and (wanted or 1) > 1:
        raise ModelError(f"{place.label} trains in one process, not in {wanted}; leave --processes out, or say --device cpu.")
    return wanted or (2 if place.name == "cpu" else 1)


def taught(given: argparse.Namespace, place: device.Device) -> int:
    """Trains on somebody's own clips and says where the result is."""
    try:
        made = finetune.train(given.stage, given.data, given.out, given.minutes, given.weights, given.rank or 0, given.processes, place, given.tokens or 0)
    except SoraError as error:
        print(error.sentence, file=sys.stderr)
        return 2 if error.bad_request else 1
    except OSError as error:
        print(f"{error.filename or given.out} cannot be read or written: {error.strerror or error}; choose another folder", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; --resume goes on with what {given.out} holds of the last minute", file=sys.stderr)
        return 130
    print(made.resolve())
    return 0


def further(given: argparse.Namespace) -> int:
    """Begins a folder from weights."""
    held = [f"{s}.pt" for s in train.STAGES if (given.out / f"{s}.pt").exists()]
    if held:
        print(f"{given.out} already holds {' and '.join(held)}; choose another folder", file=sys.stderr)
        return 2
    try:
        train.begun(given.weights, given.out, given.minutes)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        print(f"{given.weights} cannot be gone on from: {error}", file=sys.stderr)
        return 2
    print(given.out.resolve())
    return 0


def measured(given: argparse.Namespace, place: device.Device) -> int:
    """Trains every size for the minutes, keeps what each one's compute bought and draws it."""
    lacking = scaling.lacking(given.out)
    if lacking:
        print(f"{given.out} has no {lacking}; render clips and train the autoencoder there first", file=sys.stderr)
        return 2
    scaling.measure(given.out / "clips", given.out, given.minutes, place, given.tokens or 0)
    scaling.keep(scaling.points(given.out), given.out / scaling.POINTS)
    return drawn(given)


def drawn(given: argparse.Namespace) -> int:
    """Draws the curves from the points that a folder keeps."""
    try:
        found = scaling.kept(given.out / scaling.POINTS)
    except (OSError, ValueError) as error:
        print(f"The curves cannot be drawn: {error}", file=sys.stderr)
        return 2
    done = scaling.plot(found, given.out / scaling.CURVES)
    print((given.out / scaling.CURVES).resolve() if done else f"the points are in {given.out / scaling.POINTS}; matplotlib draws them: pip install matplotlib")
    return 0


def main(words: list[str] | None = None) -> int:
    given = arguments(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = tuple(train.SHARE) if given.stage == "all" else (given.stage,)
    if given.stage == "begin":
        return further(given)
    if given.stage == "export":
        train.export(given.out)
        return 0
    if given.stage == "curves":
        return drawn(given)
    try:
        place = placed(given.device)
        given.processes = processes(place, given.processes)
    except SoraError as error:
        print(error.sentence, file=sys.stderr)
        return 2
    try:
        return trained(given, place, stages)
    except (RuntimeError, MemoryError) as error:
        if not device.exhausted(error):
            raise
        fewer = "fewer --tokens" if given.stage in TOKENED else "--device cpu"
        print(f"the memory of {place.label} did not suffice; say {fewer}, and --resume to go on with what {given.out} holds", file=sys.stderr)
        return 1


def trained(given: argparse.Namespace, place: device.Device, stages: tuple[str, ...]) -> int:
    """Carries out what trains; the exit code."""
    if given.stage == "scaling":
        return measured(given, place)
    begun = [s for s in stages if (given.out / f"{s}.pt").exists()]
    if begun and not given.resume:
        print(f"{given.out} already holds {', '.join(begun)}; say --resume to go on with it, or choose another folder", file=sys.stderr)
        return 2
    if given.stage in finetune.KINDS:
        return taught(given, place)
    if "autoencoder" in stages and train.of_weights(given.out):
        print(f"{given.out} was begun from weights, whose transformer knows the latents of their autoencoder alone; train the transformer or the decoder",
              file=sys.stderr)
        return 2
    for stage in stages:
        minutes = given.minutes * (train.SHARE[stage] if given.stage == "all" else 1)
        train.train(stage, given.out, minutes, given.processes, given.weights, place, given.tokens or 0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

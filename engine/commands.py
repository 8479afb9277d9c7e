"""The commands that people type: shoot, doctor, families, serve. Exit codes: 0 done, 1 failed, 2 bad request, 130 cut."""
from __future__ import annotations

import dataclasses
import json
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from . import families
from .errors import Cut, ShotError, SoraError
from .models.commands import models_app
from .protocol import (EXPERTS, PLANS, PROCESSOR, SHOT_FILE, TAKE_FILE, Cancelled, Done, Failed, Guide, Keyframe, Lora, Progress, Shot, Size, Take, decode,
                       read_shot, read_take)

FAILED, BAD_REQUEST, CUT = 1, 2, 130
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Sora's engine: from a shot to numbered frames.")
app.add_typer(models_app, name="models")


def run() -> int:
    """Parses sys.argv; the exit code."""
    try:
        result = app(standalone_mode=False, prog_name="python -m engine")
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return CUT
    except SoraError as error:
        return _refused(error)
    except typer.TyperException as error:
        error.show()
        return BAD_REQUEST
    return result or 0


def _refused(error: SoraError) -> int:
    typer.echo(f"{error.sentence}{f'  [{error.remedy.label}]' if error.remedy else ''}", err=True)
    return BAD_REQUEST if error.bad_request else FAILED


@app.command()
def serve() -> int:
    """Speak the wire on stdin and stdout, as Blender wants it."""
    from .serve import serve
    return serve()


@app.command(name="families")
def list_families(as_lines: Annotated[bool, typer.Option("--json", help="Everything, as JSON")] = False) -> int:
    """List the families of models and what they take."""
    if as_lines:
        typer.echo(json.dumps([dataclasses.asdict(spec) for spec in families.specs()], indent=2))
        return 0
    for spec in families.specs():
        typer.echo(f"{spec.name}: {spec.label}. {spec.note}. Guides: {', '.join(spec.guides)}. Licence: {spec.licence}.")
    return 0


@app.command()
def doctor(as_lines: Annotated[bool, typer.Option("--json", help="Everything, as JSON")] = False) -> int:
    """Check the device, memory, versions, folders and weights."""
    from . import doctor as examination
    findings = examination.findings()
    if as_lines:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in findings], indent=2))
    else:
        for one in findings:
            typer.echo(f"{'ok ' if one.well else 'BAD'} {one.what}: {one.found}{f'  -> {one.remedy.label}' if one.remedy else ''}")
    return 0 if all(one.well for one in findings) else FAILED


@app.command(name="plan")
def show_plan(shot_file: Annotated[Path, typer.Argument(metavar="SHOT.JSON", help="A shot.json, a take.json, or a folder with one")],
              as_lines: Annotated[bool, typer.Option("--json", help="Everything, as JSON")] = False) -> int:
    """Say what a shot needs of the device's memory, by each plan, and which one would be chosen."""
    from . import device, estimate, plan
    shot = _known(shot_file)
    folder, place, spec = families.weights(shot.family, shot.model), device.chosen(), families.family(shot.family).SPEC
    if not (folder / "model_index.json").is_file():
        typer.echo(f"{spec.label} needs no plan: it fits wherever the engine runs.")
        return 0
    needed, chosen = estimate.need(shot, folder, place), estimate.planned(shot, folder, place)
    each = {name: needed.bytes(name) for name in plan.ON_DEVICE}
    if not place.shares:
        each[PROCESSOR] = estimate.planned(dataclasses.replace(shot, plan=PROCESSOR), folder, place, PROCESSOR).bytes
    if as_lines:
        typer.echo(json.dumps({"chosen": chosen.name, "fits": chosen.fits, "free": place.free, "bytes": each}))
        return 0
    for name, size in each.items():
        typer.echo(f"{name:8}{size / 2**30:6.1f} GB{'  <- chosen' if name == chosen.name else ''}")
    suffices = chosen.fits and chosen.name != PROCESSOR
    typer.echo(f"{place.label} has {place.free / 2**30:.1f} GB free{'' if suffices else ', which does not suffice'}.")
    if chosen.name == PROCESSOR:
        typer.echo(f"{estimate.slowly(place)}.")
    return 0


@app.command()
def rehearse(
    family: Annotated[str, typer.Option()],
    model: Annotated[str, typer.Option(help="A name of the family's, or an absolute folder")] = "",
    steps: Annotated[int, typer.Option(help="0: the model's own, or the preset's")] = 0,
    guidance: Annotated[float, typer.Option(help="1 for drafts without guidance; below 0: the model's own, or the preset's")] = -1.0,
    preset: Annotated[str, typer.Option(help="One of the family's")] = "",
    again: Annotated[bool, typer.Option("--again", help="Also what is known already")] = False,
    as_lines: Annotated[bool, typer.Option("--json", help="What was learned, as JSON")] = False,
) -> int:
    """Learn in advance how much a model changes from step to step: drafts by magnitude of so many steps go by it."""
    from . import rehearse as rehearsing
    from .shoot import Studio
    teller, cut = PlainTeller.fitting(), _interruptible()
    try:
        with teller:
            path, key, ratios = rehearsing.learned(rehearsing.asked(family, model, steps, guidance, preset), teller.progress, cut, Studio(), again)
    except Cut:
        typer.echo("Cut; nothing was learned.", err=True)
        return CUT
    if as_lines:
        typer.echo(json.dumps({"file": str(path), "key": key, "ratios": ratios}))
        return 0
    for name, each in ratios.items():
        typer.echo(f"{name}: {' '.join(f'{ratio:.3f}' for ratio in each)}")
    typer.echo(f"{key}: {path}")
    return 0


@app.command()
def shoot(
    shot_file: Annotated[Path | None, typer.Argument(metavar="[SHOT.JSON]", help="A shot.json, a take.json, or a folder with one")] = None,
    family: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option(help="A name of the family's, or an absolute folder")] = None,
    prompt: Annotated[str | None, typer.Option()] = None,
    negative: Annotated[str | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option(help="Left out: a new one")] = None,
    size: Annotated[str | None, typer.Option(help="832x480")] = None,
    frames: Annotated[int | None, typer.Option()] = None,
    fps: Annotated[float | None, typer.Option()] = None,
    frame_start: Annotated[int | None, typer.Option(help="Number of the first frame")] = None,
    steps: Annotated[int | None, typer.Option(help="Left out: the model's own, or the preset's")] = None,
    guidance: Annotated[float | None, typer.Option()] = None,
    guidance_low: Annotated[float | None, typer.Option(help="Of a model with two experts the guidance of the one for little noise; left out: the same")] = None,
    guided: Annotated[str | None, typer.Option(help="FROM:UNTIL, guidance between these shares of the steps alone, such as 0.1:0.7")] = None,
    guide: Annotated[list[str] | None, typer.Option(help="depth=FOLDER[:near:far], normal=FOLDER, camera=FILE; with its strength as edges=FOLDER@0.6")] = None,
    source: Annotated[str | None, typer.Option(help="A clip to begin from: FOLDER, or with how much of it is made anew as FOLDER@0.6")] = None,
    keyframe: Annotated[list[str] | None, typer.Option(help="0=FILE, counted from 0")] = None,
    after: Annotated[str | None, typer.Option(help="TAKE or TAKE@5: its last pictures are the first frames; what is not given is as it was for it")] = None,
    before: Annotated[str | None, typer.Option(help="TAKE or TAKE@5: its first pictures are the last frames; of the same take as --after makes a loop")] = None,
    subject: Annotated[list[Path] | None, typer.Option(help="A picture of what the prompt names first; several where the family takes them")] = None,
    lora: Annotated[list[str] | None, typer.Option(help="NAME or FILE, or with its strength as FILE=0.8; FILE=0.8@high or FILE=0.8@low for one of two experts")] = None,
    preset: Annotated[str | None, typer.Option(help="One of the family's ways of shooting in a few steps, as `families --json` lists them")] = None,
    plan: Annotated[str | None, typer.Option(help=f"How the model is kept in memory: {', '.join(PLANS)}; left out: the fastest that fits")] = None,
    compiled: Annotated[bool | None, typer.Option("--compiled/--plain", help="Compile the transformer's blocks first, for many shots of one size")] = None,
    draft: Annotated[bool | None, typer.Option("--draft/--full", help="Skip steps that would change little")] = None,
    draft_by: Annotated[str | None, typer.Option(help="first_block, or magnitude, which learns the model's steps first")] = None,
    two_stages: Annotated[bool | None, typer.Option("--two-stages/--one-stage", help="Sample at half the size, then refine at all of it")] = None,
    refine_strength: Annotated[float | None, typer.Option(help="How much a second model may draw anew in the finished frames, 0 (off) to 1")] = None,
    refine_prompt: Annotated[str | None, typer.Option(help="What that model is told; left out: the prompt")] = None,
    kind: Annotated[str | None, typer.Option("--format", help="png, png16 or exr")] = None,
    from_latents: Annotated[Path | None, typer.Option(help="A take: what it sampled is decoded once more, in another --format or --size")] = None,
    out: Annotated[Path | None, typer.Option(help="The take's folder")] = None,
    as_lines: Annotated[bool, typer.Option("--json", help="Print the wire's events")] = False,
) -> int:
    """Shoot one shot, from flags or from a file; flags win over the file."""
    teller = JsonTeller() if as_lines else PlainTeller.fitting()
    try:
        given = {"family": family, "model": model, "prompt": prompt, "negative": negative, "seed": seed, "frames": frames, "fps": fps,
                 "frame_start": frame_start, "steps": steps, "guidance": guidance, "guidance_low": guidance_low, "draft": draft, "draft_by": draft_by,
                 "preset": preset, "plan": plan, "compiled": compiled, "source": _source(source) if source else None,
                 "two_stages": two_stages, "refine_strength": refine_strength, "refine_prompt": refine_prompt, "format": kind,
                 "size": Size.parse(size) if size is not None else None,
                 "guides": tuple(map(_guide, guide)) if guide else None,
                 "keyframes": tuple(map(_keyframe, keyframe)) if keyframe else None,
                 "references": tuple(str(path.expanduser().resolve()) for path in subject) if subject else None,
                 "loras": tuple(map(_lora, lora)) if lora else None}
        if guided is not None:
            given["guided_from"], given["guided_until"] = _shares(guided)
        if from_latents is not None:
            shot_file, given["latents"] = shot_file or from_latents, str(from_latents.expanduser().resolve())
        shot = _shot(shot_file, {name: value for name, value in given.items() if value is not None}, out, after, before)
    except SoraError as error:
        return teller.end("", error)
    return _roll(shot, teller)


def _shot(shot_file: Path | None, given: dict, out: Path | None, after: str | None, before: str | None) -> Shot:
    if out is None and shot_file is None:
        raise ShotError("Where should the take go? Add --out FOLDER.")
    fields = {"family": next(iter(families.FAMILIES)), "prompt": "", "seed": secrets.randbelow(2 ** 31), "size": Size(832, 480), "frames": 49, "fps": 24.0}
    if shot_file is not None:
        known = _known(shot_file)
        fields = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
    if out is not None:
        folder = out.expanduser().resolve()
        fields |= {"out": str(folder), "id": folder.name}
    if after is None and before is None:
        return Shot(**{**fields, **given})
    return _joined(after, before, fields, given, shot_file is not None)


def _joined(after: str | None, before: str | None, fields: dict, given: dict, filed: bool) -> Shot:
    """A shot that joins takes: what neither flags nor a file say is as it was for the take. Raises SoraError."""
    from . import onward        # brings numpy, which no other command waits for
    ends = tuple(onward.Joined.parse(text) if text is not None else None for text in (after, before))
    if not filed:
        made = (ends[0] or ends[1]).take.shot
        known = onward.begun(made, given.get("family", made.family))
        fields = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)} | {name: fields[name] for name in ("id", "out")}
    return onward.joined(Shot(**{**fields, **given}), *ends, fields if filed else given)


def _known(path: Path) -> Shot:
    """The shot in a shot.json, a take.json, or a folder with one of them. Raises FolderError or WireError."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        return read_take(folder).shot if (folder / TAKE_FILE).exists() else read_shot(folder)
    if path.name in (TAKE_FILE, SHOT_FILE):
        return read_take(folder).shot if path.name == TAKE_FILE else read_shot(folder)
    return _read_any(path)


def _read_any(path: Path) -> Shot:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ShotError(f"{path} cannot be read as a shot: {error}.") from error
    if isinstance(fields, dict) and "shot" in fields and "files" in fields:
        return decode(fields, Take).shot
    return decode(fields, Shot)


def _shares(text: str) -> tuple[float, float]:
    begin, _, end = text.partition(":")
    try:
        return float(begin), float(end)
    except ValueError as error:
        raise ShotError(f"“{text}” says not which steps are guided; write shares of them, as 0.1:0.7.") from error


def _guide(text: str) -> Guide:
    kind, equals, path = text.partition("=")
    if not equals or not path:
        raise ShotError(f"“{text}” is not a guide; write it as depth=FOLDER.")
    path, strength = _weighed(path)
    path, near, far = _metres(path)
    return Guide(kind=kind.strip(), path=str(Path(path).expanduser().resolve()), near=near, far=far, strength=strength)


def _source(text: str) -> Guide:
    """A clip to begin from, with how much of it is made anew."""
    path, change = _weighed(text)
    return Guide(kind="beauty", path=str(Path(path).expanduser().resolve()), strength=change)


def _weighed(text: str) -> tuple[str, float]:
    """`FOLDER@0.6` -> the folder and the number, 1 where there is none; a path that merely holds an @ is left alone."""
    path, _, number = text.rpartition("@")
    try:
        return (path, float(number)) if path else (text, 1.0)
    except ValueError:
        return text, 1.0


def _metres(path: str) -> tuple[str, float | None, float | None]:
    """`FOLDER:0.1:100` -> the folder, near and far; a path that merely holds colons is left alone."""
    parts = path.rsplit(":", 2)
    try:
        return (parts[0], float(parts[1]), float(parts[2])) if len(parts) == 3 else (path, None, None)
    except ValueError:
        return path, None, None


def _keyframe(text: str) -> Keyframe:
    frame, equals, path = text.partition("=")
    if not equals or not path or not frame.strip().lstrip("-").isdecimal():
        raise ShotError(f"“{text}” is not a keyframe; write it as 0=FILE.")
    return Keyframe(frame=int(frame), path=str(Path(path).expanduser().resolve()))


def _lora(text: str) -> Lora:
    """`NAME=0.8@high`, of which all but the name can be left out. Raises ShotError."""
    for expert, end in enumerate(EXPERTS):
        if text.endswith(f"@{end}"):
            return dataclasses.replace(_worn(text.removesuffix(f"@{end}")), expert=expert)
    return _worn(text)


def _worn(text: str) -> Lora:
    name, equals, strength = text.rpartition("=") if not text.endswith(".safetensors") else (text, "", "")
    try:
        known = Lora(name=name, strength=float(strength)) if equals else Lora(name=text)
    except ValueError as error:
        raise ShotError(f"“{strength}” is not a strength; write the LoRA as NAME or FILE, or with a number as FILE=0.8; "
                        "for one of two experts add @high or @low.") from error
    is_file = known.name.endswith(".safetensors")
    return dataclasses.replace(known, name=str(Path(known.name).expanduser().resolve())) if is_file else known


# ---------------------------------------------------------------- rolling and telling
def _interruptible() -> threading.Event:
    """What Ctrl-C sets."""
    cut = threading.Event()

    def interrupted(*_) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)       # a second time leaves at once
        cut.set()

    signal.signal(signal.SIGINT, interrupted)
    return cut


def _roll(shot: Shot, teller) -> int:
    from .shoot import Studio, printed_count, roll
    cut = _interruptible()
    try:
        with teller:
            take = roll(shot, teller.progress, cut, Studio())
    except Cut:
        teller.event(Cancelled(shot=shot.id, printed=printed_count(shot)))
        return CUT
    except SoraError as error:
        return teller.end(shot.id, error)
    teller.event(Done(shot=shot.id, take=shot.out, notes=take.notes))
    teller.table(take)
    return 0


class JsonTeller:
    """The wire's events on stdout; what libraries print there goes to stderr."""

    def __init__(self):
        from .serve import Wire
        self._wire = Wire.of_stdout()

    def __enter__(self):
        return self

    def __exit__(self, *trouble) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self._wire.say(progress)

    def event(self, event) -> None:
        self._wire.say(event)

    def end(self, shot: str, error: SoraError) -> int:
        self._wire.say(Failed.of(shot, error))
        return BAD_REQUEST if error.bad_request else FAILED

    def table(self, take: Take) -> None:
        """The take's file has it all."""


class PlainTeller:
    """A line whenever the stage changes, for logs and pipes."""

    def __init__(self):
        self._stage = ""

    @staticmethod
    def fitting() -> "PlainTeller":
        return LiveTeller() if sys.stderr.isatty() else PlainTeller()

    def __enter__(self):
        return self

    def __exit__(self, *trouble) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        if (progress.stage, progress.note) != self._stage:
            self._stage = (progress.stage, progress.note)
            typer.echo(f"{progress.stage}{f' ({progress.note})' if progress.note else ''} ...", err=True)

    def event(self, event) -> None:
        if isinstance(event, Cancelled):
            typer.echo(f"Cut; {event.printed} frames are on disk.", err=True)

    def end(self, shot: str, error: SoraError) -> int:
        return _refused(error)

    def table(self, take: Take) -> None:
        for note in take.notes:
            typer.echo(note, err=True)
        if take.not_understood:
            typer.echo(f"Not understood: {', '.join(take.not_understood)}", err=True)
        typer.echo(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in take.seconds.items()), err=True)
        typer.echo(take.shot.out)


class LiveTeller(PlainTeller):
    """A progress bar on a terminal."""

    def __enter__(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
        self._bar = Bar(TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"), console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("", total=None, left="")
        return self

    def __exit__(self, *trouble) -> None:
        self._bar.stop()

    def progress(self, progress: Progress) -> None:
        left = progress.note or (f"{progress.eta:.0f} s left" if progress.eta >= 0 else "")
        self._bar.update(self._task, description=progress.stage, completed=progress.step, total=progress.steps or None, left=left)



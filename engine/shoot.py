"""The straight line from a shot to a take: check, wait for the device, load, read the text, then window by window guides,
noise, denoising, decoding, printing; the take's own file last. Memory follows the window, never the clip.
"""
from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import begun, check, clip, device, families, frames, latents, light, presets, refine, sampled, take
from .ahead import heed
from .clock import Clock
from .errors import OutOfMemory
from .families import Window
from .frames import Printer
from .glimpses import Screening
from .pace import Pace, between
from .protocol import Progress, Reel, Shot, Size, Take
from .proxy import Proxy
from .studio import Studio

if TYPE_CHECKING:
    from .plan import Plan

log = logging.getLogger(__name__)
Say = Callable[[Progress], None]
Done = TypeVar("Done")


def roll(shot: Shot, say: Say, cut: threading.Event, studio: Studio) -> Take:
    """Shoots `shot` into its folder. `say` hears every step. Raises Cut, or the SoraError that stopped it.

    Frames that were printed before an error or a cut stay on disk.
    """
    shot = presets.applied(shot)
    check.shot(shot)
    take.claim(shot)
    clock = Clock(shot, say)
    return held(shot, clock, cut, studio, lambda place, asked: _rolled(shot, clock, cut, studio, place, asked))


def held(shot: Shot, clock: Clock, cut: threading.Event, studio: Studio, work: Callable[[device.Device, str], Done]) -> Done:
    """`work(device, plan)` with the device to itself; again by a slower plan where memory does not suffice. Raises Cut, SoraError."""
    clock.say("load")
    heed(cut)
    studio.remarks, asked = (), shot.plan
    clock.say("load", note=_idle(shot, studio.device()))
    heed(cut)
    while True:
        place = studio.settle(shot, asked)
        for remark in studio.remarks:
            clock.say("load", note=remark)
        with device.turn(place, cut, lambda note: clock.say("waiting", note=note)):
            try:
                with _memory(place, shot):
                    return work(place, asked)
            except OutOfMemory as error:
                slower = studio.step_down(shot)
                if not slower:
                    raise
                log.warning("%s", error)
                asked = ""
                clock.say("load", note=f"Memory did not suffice; the model is loaded again by the plan “{slower}”, which needs less")


def _rolled(shot: Shot, clock: Clock, cut: threading.Event, studio: Studio, place: device.Device, asked: str) -> Take:
    """One try of a shot with the model as the studio keeps it in memory."""
    device.forget_peak(place)
    with clock.stage("load"):
        model = studio.model(shot, asked)
        plan = studio.fit(model, shot, asked)
        worn = (*studio.dress(model, shot), *studio.remarks)
    heed(cut)
    return _Rolling(shot, model, sampled.of(shot, model, studio, clock, cut), clock, cut, worn, plan).to_take(place)


@contextlib.contextmanager
def _memory(place: device.Device, shot: Shot) -> Iterator[None]:
    """Turns an exhausted memory, however it is said, into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not device.exhausted(error):
            raise
        raise device.out_of_memory(place, f"{shot.frames} frames at {shot.size}", shot.frames) from error


class _Rolling:
    """One shot under way."""

    def __init__(self, shot: Shot, model: families.Model, source: sampled.Sampling | sampled.Kept, clock: Clock, cut: threading.Event,
                 worn: tuple[str, ...] = (), plan: Plan | None = None):
        self.shot, self.model, self.source, self.clock, self.cut, self.worn, self.plan = shot, model, source, clock, cut, worn, plan
        self.spec, self.native = families.family(shot.family).SPEC, source.size
        self.pace = Pace(shot, getattr(model, "native_fps", self.spec.native_fps))
        self.stretches = clip.stretches(self.pace.made, model.window, model.overlap, self.spec.frames)
        self.guides = clip.Guides(shot)
        self.stills = clip.stills(shot, self.native)
        self.beside = clip.Beside(shot, "camera" in self.spec.guides)
        self.clip = begun.Clip(shot, model, self.native, self.stretches)
        self.joins = clip.Joins()
        self.refining, self.unrefined = refine.of(shot, model, self.native)
        self.before = None          # the last frame that was made, for those that lie after it
        clock.expect(steps=source.each * len(self.stretches), frames=shot.frames)

    @property
    def drawn(self) -> Size:
        """What is up-scaled."""
        return self.refining.size if self.refining else self.native

    def to_take(self, place: device.Device) -> Take:
        with (Screening(self.shot.out) as self.screening, Proxy(self.shot, self.cut) as proxy,
              Printer(self.shot, self.cut, partial(self._shown, proxy), self.source.light) as printer):
            tail = self._end()
            for stretch in self.stretches:
                window = self._window(stretch, tail)
                latent = self.source.latent(stretch, window, len(self.stretches), self._glimpse).to(place.name)
                latents.keep(self.shot, stretch, self.native, self.source.light, latent)
                tail = self._printed(stretch, window, latent, printer)
            with self.clock.stage("write"):
                self.clock.say("write", self.shot.frames, self.shot.frames)
                printed = tuple(printer.finish())
            with self.clock.stage("proxy"):
                self.clock.say("proxy")
                film = proxy.complete()
        heed(self.cut)
        result = self._take(place, film, self._sound())
        take.finish(result, printed)
        return result

    def _end(self):
        """The end of the take that the shot goes on from, as a window goes on from the one before; None where there is none."""
        with self.clock.stage("guides"):
            self.end = begun.End(self.shot, self.model, self.native, self.source.light, self.spec.frames, self.cut)
        self.stills = self.end.instead(self.stills)
        self.anchors = self.pace.stills(self.stills)
        return self.end.tail

    def _window(self, stretch: clip.Stretch, tail) -> Window:
        """One window with its guides, keyframes and the end of the window before."""
        with self.clock.stage("guides"):
            self.clock.say("guides", stretch.index + 1, len(self.stretches))
            guides = self.guides.window(stretch.start, stretch.frames, self.native, self.cut)
        heed(self.cut)
        return Window(frames=stretch.frames, size=self.native, seed=clip.seed(self.shot.seed, stretch.index), index=stretch.index, guides=guides,
                      strengths={guide.kind: guide.strength for guide in self.shot.guides}, spans=clip.spans(self.shot, stretch), tail=tail,
                      stills=clip.within(self.anchors, stretch), source_latent=self.clip.latent(stretch), fps=self.pace.fps,
                      precise=self.shot.deep, **self.source.fields(), **self.beside.window(stretch, self.native, self.cut))

    def _glimpse(self, latent, window: Window) -> Reel | None:
        """A moving preview now and then, or None: looking costs time as well."""
        return self.clock.glimpse(lambda: self.screening.show(self.model.glimpse(latent, window), window.frames / window.fps))

    def _printed(self, stretch: clip.Stretch, window: Window, latent, printer: Printer):
        """Decodes a window and hands its new frames on. Returns its last `overlap` native frames for the next window."""
        at, tail = stretch.start, clip.Tail(self.model.overlap)
        for chunk in self._decoded(latent, window):
            self.joins.compare(stretch, at, chunk)
            tail.add(chunk)
            first, last = max(at, stretch.fresh), min(at + len(chunk), self.pace.made)
            if first < last:
                self._deliver(self._refined(chunk[first - at:last - at], first), first, printer)
            at += len(chunk)
        self.joins.remember(tail.frames)
        return tail.frames

    def _decoded(self, latent, window: Window) -> Iterator:
        chunks = iter(self.model.decode(latent, window))
        while True:
            heed(self.cut)
            with self.clock.stage("decode"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _refined(self, native, first: int):
        """The next frames as the second model draws them, or as they are."""
        if self.refining is None:
            return native
        with self.clock.stage("refine"):
            return self.refining.frames(native, first, self.guides, self.cut)

    def _deliver(self, drawn, first: int, printer: Printer) -> None:
        """Hands frames on, one by one: in-betweens, up-scaling, encoding and writing happen in the printer's threads."""
        for made, view in enumerate(drawn.split(1), first):
            before, self.before = self.before, view.clone()     # a view would keep its chunk alive
            for index, part in self.pace.due(made):
                with self.clock.stage("write"):
                    printer.print(index, partial(self._developed, index, before, self.before, part))
                self.clock.step("decode", index + 1)

    def _developed(self, index: int, before, after, part: float):
        """float32 (height, width, 3): what lies `part` of the way between two drawn frames, at its size, along its guides and within its mask."""
        heed(self.cut)
        drawn = after if part == 1 else between(before, after, part)
        guides = self.guides.frame(index, self.shot.size, clip.FOR_DELIVERY) if self.drawn != self.shot.size else {}
        return self.beside.kept(self.model.deliver(drawn, self.shot.size, guides)[0], index, self.guides)

    def _shown(self, proxy: Proxy, frame: frames.Exposed) -> None:
        self.clock.beside("upscale", frame.developing)
        self.clock.beside("encode", frame.writing)
        proxy.add(frame.index, frame.picture)

    def _sound(self) -> str:
        """The name of the shot's sound, "" where the family makes none."""
        if not self.spec.audio:
            return ""
        with self.clock.stage("sound"):
            return self.source.sound()

    def _take(self, place: device.Device, film: str, sound: str) -> Take:
        made = self.stretches[-1].start + self.stretches[-1].frames
        return Take(id=self.shot.id, shot=self.shot, files=frames.files(self.shot), native=self.native, native_frames=made,
                    device=place.label, created=take.now(), engine=take.versions(), seconds=self.clock.seconds(),
                    peak_bytes=device.peak_bytes(place), notes=(*self._notes(made), *filter(None, (_idle(self.shot, place),))),
                    not_understood=tuple(self.model.not_understood(self.shot.prompt)), proxy=film, sound=sound, **self.source.counted(),
                    refined=self.refining and self.refining.size,
                    **({"plan": self.plan.name, "planned_bytes": self.plan.bytes} if self.plan else {}))

    def _notes(self, made: int) -> tuple[str, ...]:
        notes = [self.refining.note()] if self.refining else list(self.unrefined)
        if self.drawn != self.shot.size:
            notes.append(f"{'Up-scaled' if self.drawn.width < self.shot.size.width else 'Scaled down'} from {self.drawn} to {self.shot.size}")
        notes += self.source.notes()
        if made != self.pace.made:
            notes.append(f"{made} frames were made, the last {made - self.pace.made} trimmed")
        if self.source.light != light.SRGB:
            notes.append(_brightness(self.shot, self.source.light))
        if len(self.stretches) > 1:
            notes.append(f"Made in {len(self.stretches)} windows of up to {self.model.window} frames, {self.model.overlap} shared")
        own = getattr(families.family(self.shot.family), "notes", lambda shot: ())
        return (*notes, *self.pace.notes(), *clip.still_notes(self.shot, self.native, self.stills), *self.guides.notes(), *self.joins.notes(), *self.worn,
                *self.beside.notes, *self.clip.notes, *self.end.notes, *clip.loop_notes(self.shot), *own(self.shot))


def _idle(shot: Shot, place: device.Device) -> str:
    """Why a GPU is not used that a large model would need; "" where that is no question."""
    return device.passed_over(place) if families.family(shot.family).SPEC.plans else ""


def _brightness(shot: Shot, coding: str) -> str:
    """What became of light above white."""
    if shot.format == "exr":
        return f"High dynamic range: scene-linear light from {coding}, white is 1 and light goes up to 55"
    return f"High dynamic range was drawn in {coding}; what is brighter than white is cut in PNG, OpenEXR keeps it"


def printed_count(shot: Shot) -> int:
    """How many of the shot's frames are on disk."""
    where = frames.files(shot)
    return sum(Path(shot.out, where.folder, name).is_file() for name in where.names())


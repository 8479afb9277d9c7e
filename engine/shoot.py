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

from . import check, clip, device, families, frames, latents, take
from .ahead import heed
from .clock import Clock
from .errors import OutOfMemory
from .families import Window
from .frames import Printer
from .glimpses import Screening
from .pace import Pace, between
from .plan import Plan
from .protocol import Progress, Reel, Shot, Take
from .proxy import Proxy
from .sampling.draft import Draft
from .studio import Studio

log = logging.getLogger(__name__)
Say = Callable[[Progress], None]


def roll(shot: Shot, say: Say, cut: threading.Event, studio: Studio) -> Take:
    """Shoots `shot` into its folder. `say` hears every step. Raises Cut, or the SoraError that stopped it.

    Frames that were printed before an error or a cut stay on disk.
    """
    check.shot(shot)
    take.claim(shot)
    clock = Clock(shot, say)
    clock.say("load")
    heed(cut)
    place = studio.device()
    heed(cut)
    with device.turn(place, cut, lambda note: clock.say("waiting", note=note)):
        asked = shot.plan
        while True:
            try:
                with _memory(place, shot):
                    return _rolled(shot, clock, cut, studio, place, asked)
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
        worn = studio.dress(model, shot)
    heed(cut)
    with clock.stage("text"):
        clock.say("text")
        texts = (None, None) if shot.latents else (studio.text(model, shot.prompt), studio.text(model, shot.negative))
    heed(cut)
    return _Rolling(shot, model, texts, clock, cut, worn, plan).to_take(place)


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

    def __init__(self, shot: Shot, model: families.Model, texts: tuple, clock: Clock, cut: threading.Event,
                 worn: tuple[str, ...] = (), plan: Plan | None = None):
        self.shot, self.model, self.texts, self.clock, self.cut, self.worn, self.plan = shot, model, texts, clock, cut, worn, plan
        self.spec = families.family(shot.family).SPEC
        self.native = latents.native(shot) if shot.latents else model.native(shot.size)
        self.steps = shot.steps or self.spec.steps
        self.guidance = shot.guidance if shot.guidance >= 0 else self.spec.guidance
        self.pace = Pace(shot, getattr(model, "native_fps", self.spec.native_fps))
        self.stretches = clip.stretches(self.pace.made, model.window, model.overlap, self.spec.frames)
        self.guides = clip.Guides(shot)
        self.stills = clip.stills(shot, self.native)
        self.anchors = self.pace.stills(self.stills)
        self.beside = clip.Beside(shot, "camera" in self.spec.guides)
        self.joins = clip.Joins()
        self.draft = Draft(self.spec.drafts) if shot.draft and not shot.latents else None
        self.before = None          # the last frame that was made, for those that lie after it
        clock.expect(steps=0 if shot.latents else self.steps * len(self.stretches), frames=shot.frames)

    def to_take(self, place: device.Device) -> Take:
        with (Screening(self.shot.out) as self.screening, Proxy(self.shot, self.cut) as proxy,
              Printer(self.shot, self.cut, partial(self._shown, proxy)) as printer):
            tail = None
            for stretch in self.stretches:
                window = self._window(stretch, tail)
                latent = latents.read(self.shot, stretch).to(place.name) if self.shot.latents else self._denoised(stretch, window)
                latents.keep(self.shot, stretch, self.native, latent)
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

    def _window(self, stretch: clip.Stretch, tail) -> Window:
        """One window with its guides, keyframes and the end of the window before."""
        with self.clock.stage("guides"):
            self.clock.say("guides", stretch.index + 1, len(self.stretches))
            guides = self.guides.window(stretch.start, stretch.frames, self.native, self.cut)
        heed(self.cut)
        return Window(frames=stretch.frames, size=self.native, seed=clip.seed(self.shot.seed, stretch.index), steps=self.steps,
                      guidance=self.guidance, text=self.texts[0], negative=self.texts[1], guides=guides,
                      strengths={guide.kind: guide.strength for guide in self.shot.guides}, tail=tail,
                      stills=clip.within(self.anchors, stretch), spans=clip.spans(self.shot, stretch),
                      **self.beside.window(stretch, self.native, self.cut) | {"fps": self.pace.fps, "draft": self.draft})

    def _denoised(self, stretch: clip.Stretch, window: Window):
        """The window's clean latent."""
        with self.clock.stage("denoise"):
            done, latent = stretch.index * self.steps, None
            self.clock.say("denoise", done, self.steps * len(self.stretches))
            for step, latent in enumerate(self.model.sample(window), 1):
                heed(self.cut)
                self.clock.step("denoise", done + step, self._glimpse(latent, window, last=step == self.steps))
        return latent

    def _glimpse(self, latent, window: Window, last: bool) -> Reel | None:
        """A moving preview now and then, or None: looking costs time as well."""
        if last:
            return None
        return self.clock.glimpse(lambda: self.screening.show(self.model.glimpse(latent, window), window.frames / window.fps))

    def _printed(self, stretch: clip.Stretch, window: Window, latent, printer: Printer):
        """Decodes a window and hands its new frames on. Returns its last `overlap` native frames for the next window."""
        at, tail = stretch.start, clip.Tail(self.model.overlap)
        for chunk in self._decoded(latent, window):
            self.joins.compare(stretch, at, chunk)
            tail.add(chunk)
            first, last = max(at, stretch.fresh), min(at + len(chunk), self.pace.made)
            if first < last:
                self._deliver(chunk[first - at:last - at], first, printer)
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

    def _deliver(self, native, first: int, printer: Printer) -> None:
        """Hands frames on, one by one: in-betweens, up-scaling, encoding and writing happen in the printer's threads."""
        for made, view in enumerate(native.split(1), first):
            before, self.before = self.before, view.clone()     # a view would keep its chunk alive
            for index, part in self.pace.due(made):
                with self.clock.stage("write"):
                    printer.print(index, partial(self._developed, index, before, self.before, part))
                self.clock.step("decode", index + 1)

    def _developed(self, index: int, before, after, part: float):
        """float32 (height, width, 3): what lies `part` of the way between two native frames, at the shot's size, along its guides."""
        heed(self.cut)
        native = after if part == 1 else between(before, after, part)
        guides = self.guides.frame(index, self.shot.size, clip.FOR_DELIVERY) if self.native != self.shot.size else {}
        return self.model.deliver(native, self.shot.size, guides)[0]

    def _shown(self, proxy: Proxy, frame: frames.Exposed) -> None:
        self.clock.beside("upscale", frame.developing)
        self.clock.beside("encode", frame.writing)
        proxy.add(frame.index, frame.picture)

    def _sound(self) -> str:
        """The name of the shot's sound, "" where the family makes none."""
        if not self.spec.audio:
            return ""
        with self.clock.stage("sound"):
            return take.same_sound(self.shot) if self.shot.latents else take.keep_sound(self.shot, *self.model.sound(self.shot.fps, self.shot.frames))

    def _take(self, place: device.Device, film: str, sound: str) -> Take:
        made = self.stretches[-1].start + self.stretches[-1].frames
        return Take(id=self.shot.id, shot=self.shot, files=frames.files(self.shot), native=self.native, native_frames=made,
                    device=place.label, created=take.now(), engine=take.versions(), seconds=self.clock.seconds(),
                    peak_bytes=device.peak_bytes(place), notes=self._notes(made),
                    not_understood=tuple(self.model.not_understood(self.shot.prompt)), proxy=film, sound=sound,
                    **({"plan": self.plan.name, "planned_bytes": self.plan.bytes} if self.plan else {}),
                    **({"evaluations": self.draft.evaluations, "skipped": self.draft.skipped} if self.draft else {}))

    def _notes(self, made: int) -> tuple[str, ...]:
        notes = [f"Up-scaled from {self.native} to {self.shot.size}"] if self.native != self.shot.size else []
        if self.shot.latents:
            notes.append(f"Made once more from what {Path(self.shot.latents).name} had sampled")
        if made != self.pace.made:
            notes.append(f"{made} frames were made, the last {made - self.pace.made} trimmed")
        if self.draft:
            notes.append(self.draft.note())
        if len(self.stretches) > 1:
            notes.append(f"Made in {len(self.stretches)} windows of up to {self.model.window} frames, {self.model.overlap} shared")
        own = getattr(families.family(self.shot.family), "notes", lambda shot: ())
        return (*notes, *self.pace.notes(), *clip.still_notes(self.shot, self.native, self.stills), *self.guides.notes(), *self.joins.notes(), *self.worn,
                *own(self.shot))


def printed_count(shot: Shot) -> int:
    """How many of the shot's frames are on disk."""
    where = frames.files(shot)
    return sum(Path(shot.out, where.folder, name).is_file() for name in where.names())


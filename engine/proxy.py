"""The proxy: a small H.264 film of a take, encoded while the frames are printed. Converted to BT.709 and tagged as such."""
from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from .ahead import Ahead
from .errors import FolderError
from .frames import AHEAD, PARTIAL, replace, told
from .protocol import Shot

NAME = "proxy.mp4"
BT709 = 1               # the code of ITU-T H.273 for primaries, transfer and matrix alike
OPTIONS = {"preset": "superfast", "crf": "20", "threads": "1"}


class Proxy(Ahead):
    """`add` every frame in order, then `complete`; leaving without it removes what was begun. Raises DiskFull or FolderError.

    One thread encodes, a few frames behind.
    """

    def __init__(self, shot: Shot, cut: threading.Event):
        super().__init__(1, AHEAD, cut, "proxy")
        self.path = Path(shot.out) / NAME
        self._begun = self.path.with_name(f".{NAME}.begun{PARTIAL}")
        self._size = (shot.size.width // 2 * 2, shot.size.height // 2 * 2)      # 4:2:0 has no odd sides
        self._fps = shot.fps
        self._film = self._stream = self._rate = None

    def _open(self) -> None:
        """Begins the film with the first frame: nobody waits for the encoder before there is something to encode."""
        from fractions import Fraction

        import av
        self._rate = Fraction(self._fps).limit_denominator(1001)
        try:
            self._film = av.open(str(self._begun), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise told(error, self.path) from error
        stream = self._film.add_stream("libx264", rate=self._rate, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *self._size, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1                                                  # limited, as MPEG has it
        self._stream = stream

    def add(self, index: int, frame: np.ndarray) -> None:
        """frame uint8 (h, w, 3), sRGB; `index` counts from 0. May raise what an earlier frame ran into, or Cut."""
        self.submit(self._encode, index, frame)

    def _encode(self, index: int, frame: np.ndarray) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace
        if self._film is None:
            self._open()
        width, height = self._size
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        picture.pts, picture.time_base = index, 1 / self._rate
        self._mux(picture)

    def complete(self) -> str:
        """Completes the film and puts it in place; its path relative to the take."""
        self.finish()
        self._mux(None)
        self._close()
        replace(self.path, lambda partial: self._begun.replace(partial))
        return NAME

    def __exit__(self, *trouble) -> None:
        super().__exit__(*trouble)
        try:
            if self._film is not None:
                self._close()
        finally:
            self._begun.unlink(missing_ok=True)

    def _mux(self, picture) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._film.mux(packet)
        except OSError as error:
            raise told(error, self.path) from error

    def _close(self) -> None:
        film, self._film = self._film, None
        try:
            film.close()
        except OSError as error:
            raise told(error, self.path) from error


def readable(path: Path) -> int:
    """How many frames the film at `path` has. Raises FolderError."""
    import av
    try:
        with av.open(str(path)) as film:
            return sum(1 for _ in film.decode(video=0))
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error}.") from error

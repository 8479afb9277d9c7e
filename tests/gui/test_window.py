"""A person opens Blender, installs the extension from the zip, clicks Generate and finds the strip on the timeline.

A real Blender 5.2 draws into a virtual screen; the engine is the real one, in its own environment outside of Blender's
folder. Screenshots stay in out/gui.
"""
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "gui"
sys.path.insert(0, str(ROOT / "scripts"))
import environments  # noqa: E402
import window  # noqa: E402

SCREENS = ("view3d_before", "view3d_rolling", "view3d_after", "sequencer", "compositor", "preferences", "panels")


def in_window(*command, screen=False, minutes=3):
    """Runs a command inside; its output goes to out/gui/<name>.log. Returns the text of it."""
    log = OUT / ("blender.log" if screen else "install.log")
    surroundings = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(OUT / "home"), "LIBGL_ALWAYS_SOFTWARE": "1",
                    "GALLIUM_DRIVER": "llvmpipe", "SORA_GUI": str(OUT), "SORA_GUI_PYTHON": str(OUT / "python"),
                    "SORA_MODEL": os.environ.get("SORA_MODEL", "")}
    with log.open("w") as output:
        subprocess.run(window.command(*command, screen=screen), env=surroundings, stdout=output, stderr=subprocess.STDOUT,
                       timeout=minutes * 60, check=False)
    return log.read_text(errors="replace")


def engine_python():
    """A “Python” inside, which is the engine's own outside: Blender's folder has no torch."""
    path, real = OUT / "python", environments.ENVIRONMENTS["engine"].python
    path.write_text(f'#!/bin/sh\nPATH=/usr/sbin:/usr/bin exec chroot /outside "{real}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="module")
def visit():
    """What was seen in the window, and what Blender said."""
    lacking = window.lacks()
    if lacking:
        pytest.skip(lacking)
    with environments.alone("gui-visit"):
        yield paid()


def paid():
    """The visit itself: builds the zip, installs it, opens the window."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "home").mkdir(parents=True)
    engine_python()
    built = subprocess.run([sys.executable, str(ROOT / "scripts" / "build.py"), "--out", str(OUT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    package = next(OUT.glob("sora-*.zip"))
    installed = in_window("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", str(package))
    said = in_window("blender", "-p", "0", "0", "1600", "1000", "-noaudio", "--enable-event-simulate", "--python-exit-code", "3",
                     "--python", str(ROOT / "tests/gui/screen_steps.py"), screen=True, minutes=12)
    assert (OUT / "seen.json").exists(), f"Blender ended early.\n{installed[-1500:]}\n{said[-3000:]}"
    return {**json.loads((OUT / "seen.json").read_text()), "said": said}


def test_the_whole_visit_went_through(visit):
    assert visit["finished"], visit.get("trouble")


def test_the_zip_installs_and_is_enabled(visit):
    assert visit["enabled"]


def test_a_click_on_generate_puts_a_shot_on_the_slate(visit):
    assert visit["on_the_slate"] == 1


def test_a_strip_appears_over_the_very_frames(visit):
    assert visit["status"] == "Printed", visit["status_says"]
    assert [(strip["type"], strip["frames"]) for strip in visit["strips"]] == [("IMAGE", [1, 18])]


def test_the_interface_is_live_while_the_shot_rolls(visit):
    assert visit["frame_while_rolling"] == 2 and visit["stage_then"] != "guides"


def test_the_landing_is_one_undo_step(visit):
    assert visit["strips_after_undo"] == []
    assert len(visit["strips_after_redo"]) == 1


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_was_seen(visit, name):
    path = OUT / f"{name}.png"
    assert path.exists() and path.stat().st_size > 20_000       # an empty or black screen is far smaller


def test_nothing_went_wrong_while_drawing(visit):
    assert not re.findall(r"Traceback.*?Error[^\n]*", visit["said"], re.DOTALL)
    assert not re.findall(r"rna_uiItem[^\n]*|Policy violation[^\n]*", visit["said"])


def test_nothing_is_left_mounted():
    assert str(window.FOLDER) not in Path("/proc/mounts").read_text() or os.name == "nt"

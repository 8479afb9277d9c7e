"""A real Blender window without a screen: Debian's Blender in a folder of its own, run under a virtual X server. Standard library only.

    python3 scripts/window.py           makes it (about a minute, 1.7 GB in .venv/gui-blender) and says its version

Needs root on a Debian machine with debootstrap. Every mount lives in a mount namespace that ends with the command, so
nothing outside is ever left mounted and the folder can be deleted at any time.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environments

ROOT = environments.ROOT
FOLDER = environments.FOLDER / "gui-blender"
SUITE = "sid"                   # the only suite of Debian whose Blender (5.2 LTS) this project supports
PACKAGES = ("blender", "xvfb", "libgl1-mesa-dri", "libegl1", "libegl-mesa0", "imagemagick", "x11-apps", "python3-numpy", "python3-requests", "python3-cattr")
NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-euc")
MOUNTS = """
root=$1 repository=$2; shift 2
mkdir -p "$root/outside"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root$repository"
mount --bind "$repository" "$root$repository"
mount --bind / "$root/outside"
mount --bind "$repository" "$root/outside$repository"
mount -t proc proc "$root/outside/proc"
mount --rbind /dev "$root/outside/dev"
mount --rbind /sys "$root/outside/sys"
exec chroot "$root" "$@"
"""
MAKE = """
root=$1 mirror=$2 suite=$3; shift 3
debootstrap --variant=minbase "$suite" "$root" "$mirror"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y --no-install-recommends "$@"
chroot "$root" apt-get clean
"""
SCREEN = """
Xvfb -displayfd 3 -screen 0 1600x1000x24 -nolisten tcp 3>/tmp/display 2>/dev/null &
while [ ! -s /tmp/display ]; do sleep 0.1; done
DISPLAY=:$(cat /tmp/display) exec "$@"
"""


def lacks() -> str:
    """Why this machine can't have a window, as part of a sentence; "" when it can. Makes the folder when there is none yet."""
    if sys.platform != "linux":
        return "a window without a screen needs Linux"
    if os.geteuid() != 0:
        return "a window without a screen needs root, for chroot"
    if not (shutil.which("unshare") and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0):
        return "mount namespaces (unshare) are not allowed here"
    with environments.alone("gui-blender"):
        return "" if blender_version() else _make()


def blender_version() -> str:
    """`Blender 5.2.2 LTS`, or "" while the folder has none."""
    if not (FOLDER / "usr/bin/blender").exists():
        return ""
    answer = subprocess.run([*NAMESPACE, 'mount -t proc proc "$1/proc"; exec chroot "$1" blender --version', "version", str(FOLDER)],
                            capture_output=True, text=True)
    return answer.stdout.splitlines()[0] if answer.returncode == 0 and answer.stdout else ""


def _make() -> str:
    """Makes the folder. Returns why it could not, "" when it stands."""
    mirror = _mirror()
    if not mirror:
        return "apt here is not configured with a Debian mirror, from which the window's Blender would come"
    if not shutil.which("debootstrap"):
        return "debootstrap is missing (apt-get install -y debootstrap)"
    partial, log = FOLDER.with_suffix(".partial"), FOLDER.with_suffix(".log")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    partial.mkdir(parents=True)
    with log.open("w") as output:
        code = subprocess.run([*NAMESPACE, MAKE, "make", str(partial), mirror, SUITE, *PACKAGES], stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
        return f"the window's Blender could not be made from Debian {SUITE} ({' '.join(last)}; all of it is in {log})"
    partial.rename(FOLDER)
    return "" if blender_version() else f"Debian {SUITE}'s Blender does not start"


def _mirror() -> str:
    """The address of the Debian mirror that this machine's apt uses, "" when it uses none."""
    if not shutil.which("apt-get"):
        return ""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True).stdout.split()
    return next((uri for uri in targets if re.search(r"/debian/?$", uri)), "")


def command(*inside: str, screen: bool = False) -> list[str]:
    """The command line that runs `inside` in the folder; with `screen`, under a virtual X server. The repository stands at its own
    path, and `/outside` is this machine's own root, in which a program of it can be run by `chroot /outside`."""
    wrapped = ("bash", "-euc", SCREEN, "screen", *inside) if screen else inside
    return [*NAMESPACE, MOUNTS, "window", str(FOLDER), str(ROOT), *wrapped]


if __name__ == "__main__":
    problem = lacks()
    print(problem or blender_version())
    sys.exit(1 if problem else 0)

"""Makes dist/sora-<version>.zip with Blender's own extension builder, and validates it.

    python3 scripts/build.py [--out DIR]

The builder comes with every Blender and with the `bpy` wheel and runs as plain Python 3.11 or newer, without bpy.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILDER = "scripts/addons_core/bl_pkg/cli/blender_ext.py"
NEEDED = ("__init__.py", "blender_manifest.toml", "README.md", "LICENSE", "CHANGELOG.md", "sora_addon/__init__.py", "sora_addon/families.json",
          "engine/__main__.py", "engine/protocol.py", "engine/requirements.txt")
UNWANTED = ("tests/", "scripts/", "docs/", "out/", "dist/", ".")


def builder() -> Path:
    """Blender's builder in one of the environments. Raises SystemExit with a sentence when there is none."""
    found = sorted((ROOT / ".venv").glob(f"blender-*/lib/python*/site-packages/bpy/*/{BUILDER}")) + \
        sorted((ROOT / ".venv").glob(f"blender-*/Lib/site-packages/bpy/*/{BUILDER}"))
    if not found:
        raise SystemExit("Blender's builder is not here: run `python3 scripts/test.py` or `scripts/demo.py` once, which make .venv/blender-*.")
    return found[-1]


def build(out: Path) -> Path:
    """The zip, built into `out`. Raises SystemExit when Blender refuses the extension or files are missing."""
    with (ROOT / "blender_manifest.toml").open("rb") as file:
        version = tomllib.load(file)["version"]
    out.mkdir(parents=True, exist_ok=True)
    package, tool = out / f"sora-{version}.zip", builder()
    package.unlink(missing_ok=True)
    for command in (["build", "--source-dir", str(ROOT), "--output-filepath", str(package)], ["validate", str(package)]):
        ran = subprocess.run([sys.executable, str(tool), *command], capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"Blender's builder refuses the extension:\n{ran.stdout}{ran.stderr}")
    check(package)
    return package


def check(package: Path) -> None:
    """Says what the zip lacks or has too much of. Raises SystemExit."""
    names = zipfile.ZipFile(package).namelist()
    missing = [name for name in NEEDED if name not in names]
    extra = [name for name in names if name.startswith(UNWANTED) or "__pycache__" in name]
    if missing or extra:
        raise SystemExit(f"{package.name} lacks {missing} and has {extra[:5]} too much.")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the zip (default: dist)")
    package = build(options.parse_args().out)
    print(f"{package} ({package.stat().st_size / 1e6:.1f} MB)")

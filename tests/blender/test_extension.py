"""The zip, in a Blender of its own: installs, enables, draws, disables, enables again, uninstalls, quietly and offline."""
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import bpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOISE = ("no icon for icon ID", "ALSA", "unfreed memory", "Not freed memory", "leak detector")

# Runs inside a fresh Blender. An audit hook sees every socket and every process that anything starts.
LIFE = r'''
import json, os, sys, traceback
reached, report = [], {}
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "urllib.Request"):
        reached.append((event, str(args)[:600], "".join(traceback.format_stack(limit=6))))
import bpy
package = sys.argv[1]
sys.path.insert(0, sys.argv[2])
import layouts
bpy.ops.wm.read_factory_settings()
if not any(repo.module == "user_default" for repo in bpy.context.preferences.extensions.repos):
    bpy.context.preferences.extensions.repos.new(name="User Default", module="user_default")
bpy.ops.extensions.package_install_files(repo="user_default", filepath=package, enable_on_install=False)
module = "bl_ext.user_default.sora"
sys.addaudithook(watch)
for turn in range(2):
    assert bpy.ops.preferences.addon_enable(module=module) == {"FINISHED"}
    report[f"enabled {turn}"] = module in bpy.context.preferences.addons
    report[f"panels {turn}"] = len([name for name in dir(bpy.types) if name.startswith("SORA_PT_")])
    report[f"operators {turn}"] = sorted(dir(bpy.ops.sora))
    preferences = bpy.context.preferences.addons[module].preferences
    report[f"preferences {turn}"] = preferences.takes_folder
    with layouts.editor("VIEW_3D") as context:
        page = layouts.drawn(bpy.types.SORA_PT_view3d_shot, context)
        report[f"text {turn}"] = page.text
    bpy.ops.preferences.addon_disable(module=module)
    report[f"left {turn}"] = [name for name in dir(bpy.types) if name.startswith("SORA_")] + [n for n in ("sora",) if hasattr(bpy.types.Scene, n)]
report["reached"] = reached
where = sys.modules[module].__file__ if module in sys.modules else ""
bpy.ops.preferences.addon_enable(module=module)
bpy.ops.extensions.package_uninstall(repo_index=[repo.module for repo in bpy.context.preferences.extensions.repos].index("user_default"), pkg_id="sora")
report["still there"] = bool(where) and os.path.exists(where)
report["still enabled"] = module in bpy.context.preferences.addons
report["violations"] = [name for name in sys.modules if name.split(".")[0] in ("sora_addon", "engine")]
print("REPORT" + json.dumps(report), flush=True)
os._exit(0)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("a zip ü")
    ran = subprocess.run([sys.executable, str(ROOT / "scripts" / "build.py"), "--out", str(out)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return next(out.glob("*.zip"))


def test_the_zip_holds_what_it_needs_and_no_more(package):
    names = zipfile.ZipFile(package).namelist()
    assert {"__init__.py", "blender_manifest.toml", "sora_addon/families.json", "engine/protocol.py", "README.md", "LICENSE", "CHANGELOG.md"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "scripts/", ".venv", "out/", "dist/", ".training", ".ci"))]
    assert package.stat().st_size < 30_000_000


def test_a_life_in_blender(package, tmp_path):
    script = tmp_path / "life.py"
    script.write_text(LIFE)
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user"), "HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, str(script), str(package), str(Path(__file__).parent)], capture_output=True, text=True, env=env, timeout=300)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("REPORT")]
    assert lines, ran.stdout[-3000:] + ran.stderr[-3000:]
    report = json.loads(lines[0].removeprefix("REPORT"))
    for turn in range(2):
        assert report[f"enabled {turn}"] and report[f"panels {turn}"] >= 24 and {"generate", "cut", "remedy"} <= set(report[f"operators {turn}"])
        assert "Generate" in report[f"text {turn}"] and report[f"left {turn}"] == []
    # Blender itself asks its package tool about repositories; anything else would be ours.
    assert [each for each in report["reached"] if "blender_ext.py" not in each[1]] == [] and report["violations"] == []
    assert not report["still there"] and not report["still enabled"]
    complaints = [line for line in ran.stderr.splitlines() if line.strip() and not any(noise in line for noise in NOISE)]
    assert complaints == []
    assert not (tmp_path / "Sora").exists()


def test_the_version_is_one():
    import tomllib
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert manifest["version"] == project["project"]["version"] and bpy.app.version >= tuple(map(int, manifest["blender_version_min"].split(".")))

"""The engine's environment, made for real, with a small stand-in for the engine and a small package for torch."""
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from sora.engine.errors import Cut, DiskFull, EngineBroken, EngineMissing, FolderError
from sora.sora_addon import claim, install

DOCTOR = """
import importlib.util, json
well = importlib.util.find_spec("lamp") is not None
print(json.dumps([{"what": "lamp", "found": "there" if well else "missing", "well": well,
                   "remedy": None if well else {"action": "repair_engine", "label": "Repair", "value": ""}},
                  {"what": "Memory", "found": "little", "well": False, "remedy": {"action": "unload", "label": "", "value": ""}}]))
raise SystemExit(1)
"""


def wheel(folder, name="lamp", version="1.0"):
    """A package of one line."""
    path = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {f"{name}.py": "light = 1\n", f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
             f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{file},,\n" for file in files) + f"{about}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def root(tmp_path):
    """An extension whose engine needs one package called lamp."""
    engine = tmp_path / "extension" / "engine"
    engine.mkdir(parents=True)
    (engine / "__init__.py").touch()
    (engine / "__main__.py").write_text(DOCTOR)
    (engine / "requirements.txt").write_text(f"--no-index\n--find-links {tmp_path.as_uri()}\nlamp==1.0\n")
    wheel(tmp_path)
    return tmp_path / "extension"


def run(installing, seconds=120):
    """Everything an installation says."""
    said, end = [], time.monotonic() + seconds
    installing.start()
    while time.monotonic() < end:
        said += installing.poll()
        if said and isinstance(said[-1], (install.Finished, install.Stopped)):
            return said
        time.sleep(0.02)
    raise AssertionError(said)


def make(folder, root, **more):
    return install.Install(folder, root, backend="cpu", python=sys.executable, needed=0, **more)


def test_interrupted_then_resumed_then_outdated(tmp_path, root):
    """One long test, because each environment takes pip seconds to make."""
    folder, lamp, requirements = tmp_path / "ü 汉" / "engine", tmp_path / "lamp-1.0-py3-none-any.whl", root / "engine" / "requirements.txt"
    assert install.condition(folder) == "missing"

    # a package that is not there: the rest is kept to be resumed
    lamp.rename(tmp_path / "aside")
    stopped = run(make(folder, root))[-1]
    assert isinstance(stopped.error, EngineBroken) and "lamp" in stopped.error.sentence and stopped.error.remedy.label == "Resume"
    assert install.condition(folder) == "partial"
    with pytest.raises(EngineMissing) as caught:
        install.find_engine_python("", folder)
    assert caught.value.remedy.label == "Resume"

    # resumed: what was made is used, and it works where it is now
    (tmp_path / "aside").rename(lamp)
    folder.with_name("engine.partial").joinpath("kept").touch()
    said = run(make(folder, root))
    assert said[-1] == install.Finished(python=install.find_engine_python("", folder)), said[-1]
    assert [one.step for one in said[:-1]] == sorted(one.step for one in said[:-1]) and said[-2].step == install.Install.STEPS
    assert install.condition(folder, requirements) == "ready" and (folder / "kept").exists()
    told = subprocess.run([said[-1].python, "-c", "import lamp, sys; print(sys.prefix)"], capture_output=True, text=True)
    assert told.stdout.strip() == str(folder)
    assert ".partial" not in (folder / "pyvenv.cfg").read_text() and not folder.with_name("engine.partial").exists()

    # a package whose unpacking was killed is unpacked again
    folder.rename(folder.with_name("engine.partial"))
    (module,) = folder.with_name("engine.partial").glob("[lL]ib/**/lamp.py")
    module.unlink()
    (module.parent / "lamp-1.0.dist-info" / "RECORD").unlink()
    assert isinstance(run(make(folder, root))[-1], install.Finished)

    # outdated, and the doctor is not content with the new one: the old one stays
    requirements.write_text("# nothing\n")
    assert install.condition(folder, requirements) == "stale"
    stopped = run(make(folder, root, repair=True))[-1]
    assert isinstance(stopped.error, EngineBroken) and "lamp: missing" in stopped.error.sentence
    assert install.condition(folder) == "ready"
    install.python_of(folder).unlink()
    assert install.condition(folder) == "broken"


def test_stopping(tmp_path, root):
    installing = make(tmp_path / "engine", root)
    installing.start()
    while not installing.poll():
        time.sleep(0.005)
    installing.cancel()
    said, end = [], time.monotonic() + 60
    while not (said and isinstance(said[-1], install.Stopped)) and time.monotonic() < end:
        said += installing.poll()
        time.sleep(0.01)
    assert isinstance(said[-1].error, Cut)
    assert not (tmp_path / "engine").exists()


def test_too_small_a_disk_is_said_first(tmp_path, root):
    stopped = run(install.Install(tmp_path / "engine", root, backend="cpu", needed=10**18))[-1]
    assert isinstance(stopped.error, DiskFull) and "GB" in stopped.error.sentence
    assert not (tmp_path / "engine.partial").exists()


def test_a_python_that_will_not_do(tmp_path, root):
    stopped = run(install.Install(tmp_path / "engine", root, backend="cpu", python=str(tmp_path / "nowhere"), needed=0))[-1]
    assert isinstance(stopped.error, EngineMissing) and "nowhere" in stopped.error.sentence


def test_two_blenders_do_not_install_into_one_folder(tmp_path, root):
    with (tmp_path / "engine.lock").open("w") as held:
        claim.lock(held)
        stopped = run(make(tmp_path / "engine", root))[-1]
    assert isinstance(stopped.error, FolderError) and "Another Blender" in stopped.error.sentence


def test_the_named_python_goes_first(tmp_path):
    (tmp_path / "python").touch()
    assert install.find_engine_python(str(tmp_path / "python"), tmp_path / "engine") == tmp_path / "python"
    with pytest.raises(EngineMissing):
        install.find_engine_python(str(tmp_path / "elsewhere"), tmp_path / "engine")
    with pytest.raises(EngineMissing):
        install.find_engine_python("", tmp_path / "engine")


def test_every_backend_has_an_index_and_a_size():
    assert install.best_backend() in install.BACKENDS
    assert set(install.NEEDED) == set(install.BACKENDS)
    for backend in ("cpu", "cuda", "rocm"):
        assert install.torch_index(backend) in ("", *(install.TORCH + name for name in ("cpu", "cu130", "rocm7.2")))

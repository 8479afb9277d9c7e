"""The arrows of the house: who imports whom, read from every file's syntax."""
from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLENDER = {"bpy", "bpy_extras", "mathutils", "gpu", "gpu_extras", "blf", "bmesh", "imbuf", "bl_ui", "bl_operators", "addon_utils", "rna_keymap_ui", "nodeitems_utils"}
REGISTRIES = {"sora_addon/passes": "PASSES", "sora_addon/landings": "LANDINGS", "engine/families": "FAMILIES"}
WITHOUT_BPY = ("sora_addon/slate.py", "sora_addon/client.py", "sora_addon/pipes.py", "sora_addon/install.py", "sora_addon/library.py")
THREADS = {"threading", "_thread", "queue", "concurrent", "multiprocessing", "asyncio"}


def name_of(path: Path) -> str:
    """engine/families/blockout.py -> engine.families.blockout"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for top in ("engine", "sora_addon") for path in sorted((ROOT / top).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imports(name: str) -> set[str]:
    """Every module that a file imports, anywhere in it, as an absolute name; what is imported from a package may be a module of it."""
    inside = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = inside.split(".")[:len(inside.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in FILES}
    return found


def tops(name: str) -> set[str]:
    return {module.partition(".")[0] for module in imports(name)}


def reach(name: str) -> set[str]:
    """The project's modules that a file brings along, itself included, packages' own files too."""
    known, look = set(), [name]
    while look:
        one = look.pop()
        if one in FILES and one not in known and one != "sora_addon":       # the package's own file is imported by whoever enables it
            known.add(one)
            look += [*imports(one), one.rpartition(".")[0]]
    return known


def of(top: str) -> list[str]:
    return [name for name in FILES if name.partition(".")[0] == top]


def test_there_are_files_to_look_at():
    assert {"engine.protocol", "engine.serve", "engine.families.blockout"} <= set(FILES) and of("sora_addon")


@pytest.mark.parametrize("name", of("engine"))
def test_the_engine_knows_neither_blender_nor_the_extension(name):
    assert not tops(name) & (BLENDER | {"sora_addon", "sora"})


@pytest.mark.parametrize("name", of("sora_addon"))
def test_the_extension_needs_blender_numpy_and_the_standard_library_alone(name):
    assert tops(name) - {"sora_addon", "engine"} <= set(sys.stdlib_module_names) | BLENDER | {"numpy", "__future__"}


@pytest.mark.parametrize("name", of("sora_addon"))
def test_no_thread_runs_in_blender(name):
    """Blender says of itself that threads are not supported; it crashed where one ran while it rendered."""
    assert not tops(name) & THREADS


@pytest.mark.parametrize("name", of("sora_addon"))
def test_of_the_engine_the_extension_knows_the_wire_and_the_errors(name):
    engine = {module for module in imports(name) if module.partition(".")[0] == "engine"}
    assert engine <= {"engine", "engine.protocol", "engine.errors"}
    absolute = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith(("engine", "sora_addon"))]
    assert not absolute, "imports within the extension are relative"


@pytest.mark.parametrize("name", ["engine.protocol", "engine.spec", "engine.grids", "engine.errors"])
def test_the_wire_needs_the_standard_library_alone(name):
    assert tops(name) <= set(sys.stdlib_module_names) | {"engine"} and imports(name) & set(FILES) <= {"engine", "engine.errors", "engine.grids", "engine.spec"}


def says_without_bpy() -> list[str]:
    said = [name for name in of("sora_addon") if "nothing of bpy" in (ast.get_docstring(TREES[name]) or "").lower()]
    return sorted({*said, *(name_of(ROOT / path) for path in WITHOUT_BPY if (ROOT / path).exists())})


@pytest.mark.parametrize("name", says_without_bpy())
def test_files_without_bpy_have_none_nor_bring_any(name):
    assert {one for one in reach(name) if tops(one) & BLENDER} == set()


@pytest.mark.parametrize("name", [name for name in of("sora_addon") if name.startswith("sora_addon.panels")])
def test_panels_never_reach_for_the_client(name):
    assert "sora_addon.client" not in imports(name)


def members(folder: str, registry: str) -> set[str]:
    """The modules that an explicit list names, through what its file imports."""
    package = folder.replace("/", ".")
    values = [node.value for node in TREES[package].body if isinstance(node, (ast.Assign, ast.AnnAssign))
              for target in (node.targets if isinstance(node, ast.Assign) else [node.target]) if getattr(target, "id", "") == registry]
    assert len(values) == 1, f"{folder} has no list called {registry}"
    named = {node.id for node in ast.walk(values[0]) if isinstance(node, ast.Name)}
    found = set()
    for node in TREES[package].body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {f"{package}.{node.module or alias.name}" for alias in node.names if (alias.asname or alias.name) in named}
    return found & set(FILES)


@pytest.mark.parametrize(("folder", "registry"), [item for item in REGISTRIES.items() if (ROOT / item[0] / "__init__.py").exists()])
def test_members_of_a_list_never_import_each_other(folder, registry):
    listed = members(folder, registry)
    assert listed
    assert {name: imports(name) & (listed - {name}) for name in listed if imports(name) & (listed - {name})} == {}


@pytest.mark.parametrize("name", list(FILES))
def test_nothing_prints_and_nothing_is_caught_blindly(name):
    """The one boundary that catches everything is the engine's: a shot may fail in any way, the engine lives on."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name}:{node.lineno} prints"
        if isinstance(node, ast.ExceptHandler):
            caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)} if node.type else {"BaseException"}
            assert not caught & {"Exception", "BaseException"} or name == "engine.serve", f"{name}:{node.lineno} catches everything"


def test_the_repository_itself_is_thin():
    """Blender imports the root on every start; nothing may be imported at module level."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]

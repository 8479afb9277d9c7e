"""Makes the repository importable the way Blender does it: as one package, here called `sora`."""
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def as_package(name: str = "sora"):
    """The repository's root as the package `name`, so that `sora.sora_addon.slate` and `sora.engine.protocol` import."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


as_package()

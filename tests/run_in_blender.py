"""Runs pytest inside a Blender that is a Python module, and leaves at once: Blender 4.5 can hang while it cleans up."""
import os
import sys

import bpy      # noqa: F401  first: its libraries must load before those of OpenEXR
import pytest

code = pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]])
sys.stdout.flush()
sys.stderr.flush()
os._exit(int(code))

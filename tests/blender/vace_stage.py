"""A scene whose shots are VACE's, which takes stills, source clips, pictures of the subject and LoRAs; its takes and models lie in the test's own folder."""
import bpy
import pytest

import sora


@pytest.fixture
def scene(tmp_path, monkeypatch):
    bpy.ops.wm.read_factory_settings()
    monkeypatch.setenv("SORA_MODELS", str(tmp_path / "models"))
    addon = bpy.context.preferences.addons.new()
    addon.module = "sora"
    sora.register()
    bpy.context.preferences.addons["sora"].preferences.takes_folder = str(tmp_path / "takes")
    scene = bpy.context.scene
    scene.sora.prompt, scene.frame_start, scene.frame_end = "a stone arch", 10, 14
    scene.render.resolution_x, scene.render.resolution_y = 64, 64
    scene.sora.family = "vace"
    yield scene
    sora.unregister()
    bpy.context.preferences.addons.remove(bpy.context.preferences.addons["sora"])

"""The Blender side: bpy, the standard library and numpy; of the engine only `protocol` and `errors`."""

"""The Blender side: bpy, the standard library and numpy; of the engine only `protocol` and `errors`."""


def _parts() -> tuple:
    """What is registered, in order. Imported on enabling, not before; nothing here reaches the network or starts a process."""
    from . import doors, errands, operators, panels, preferences, reel, settings, stock, takes
    return preferences, settings, takes, reel, operators, panels, errands, stock, doors


def register():
    for part in _parts():
        part.register()


def unregister():
    for part in reversed(_parts()):
        part.unregister()

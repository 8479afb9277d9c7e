"""Sora: an open text-and-scene-to-video extension. Thin and lazy: nothing is imported until it is enabled."""


def register():
    from .sora_addon import register
    register()


def unregister():
    from .sora_addon import unregister
    unregister()

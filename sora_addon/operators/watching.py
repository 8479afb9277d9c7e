"""Watching a shot while it rolls."""
from __future__ import annotations

import bpy

from .. import reel


class Watch(bpy.types.Operator):
    """Show the rolling shot's preview in an open Image Editor until it is done; press again to stop watching"""

    bl_idname, bl_label = "sora.watch", "Watch"

    @classmethod
    def poll(cls, context):
        cls.poll_message_set("Open an Image Editor to watch in" if reel.there() else "There is no preview yet")
        return reel.watched() or (reel.there() and bool(reel.editors(context)))

    def execute(self, context):
        if reel.watched():
            reel.unwatch()
        else:
            reel.watch(reel.editors(context)[0])
        return {"FINISHED"}


CLASSES = (Watch,)

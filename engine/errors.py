"""What can go wrong, in the artist's language, with a way out. Standard library only; imported by both sides."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A way out that a button can carry out. `action` is one of ACTIONS; `value` is its argument as text."""

    action: str
    label: str
    value: str = ""


# The complete list of what a remedy button can do; sora_addon/operators/remedies.py has one branch for each.
ACTIONS = (
    "set_frames",         # value: number of frames
    "set_size",           # value: "832x480"
    "write_prompt",       # put the cursor into the prompt
    "add_camera",         # add a camera that sees what the viewport sees
    "drop_guide",         # value: kind of guide to switch off
    "use_guide",          # value: kind of guide to switch on
    "add_still",          # choose a picture that the clip must show; value: number of the scene's frame
    "render_guides",      # render the guides again
    "choose_folder",      # open the preferences at the takes folder
    "free_disk",          # reveal a folder: its disk is full, or something in it has to be put right; value: folder
    "install_engine",     # make the engine's environment
    "repair_engine",      # make it again from scratch
    "restart_engine",     # stop the process, start another
    "update_engine",      # the two sides are of different versions
    "unload",             # free the model's memory
    "shoot_again",        # the same shot once more
    "show_log",           # open the engine's log
    "choose_model",       # open the list of families, or, with the value "weights", of the family's weights where it has several
    "use_family",         # value: name of the family
    "get_model",          # download a model, or go on with it; value: its name
    "allow_online",       # open Blender's preferences where it may be allowed to go online
    "set_plan",           # how the model is kept in memory; value: one of protocol.PLANS, or ""
    "set_channel",        # value: channel of the sequencer to land on
    "leave_out",          # switch off what the shot has beside its guides; value: as sora_addon/lines.leave_out reads it
    "set_distance",       # value: metres from the camera to the backdrop
)

REPAIR = Remedy(action="repair_engine", label="Repair Engine")
CHOOSE = Remedy(action="choose_model", label="Choose a Model")
WEIGHTS = Remedy(action="choose_model", label="Choose Other Weights", value="weights")


class SoraError(Exception):
    """One clear sentence and, where there is one, a remedy. `code` is stable and machine-readable."""

    code = "failed"
    bad_request = False     # True: the asker has to change something (exit code 2); False: the shoot failed (1)

    def __init__(self, sentence: str, remedy: Remedy | None = None):
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy


class ShotError(SoraError):
    """The shot asks for something that cannot be: no prompt, no camera, frames or size off the grid."""

    code, bad_request = "bad_shot", True


class GuideError(SoraError):
    """A guide's frames are missing, too many, of another size or not finite."""

    code, bad_request = "bad_guide", True


class KeyframeError(SoraError):
    """A keyframe cannot be read or lies outside the shot."""

    code, bad_request = "bad_keyframe", True


class WireError(SoraError):
    """A line on the wire is not a message of this protocol."""

    code, bad_request = "bad_message", True


class VersionError(WireError):
    """The message is of another protocol version."""

    code = "other_version"


class ModelError(SoraError):
    """A model's files are missing, damaged, of another family or refused."""

    code, bad_request = "bad_model", True


class FolderError(SoraError):
    """A folder cannot be read, made or written."""

    code = "bad_folder"


class DiskFull(FolderError):
    """No space is left; everything printed so far is kept."""

    code = "disk_full"


class OutOfMemory(SoraError):
    """The device's memory did not suffice."""

    code = "out_of_memory"


class EngineMissing(SoraError):
    """The engine's environment is not there."""

    code = "engine_missing"


class EngineBroken(SoraError):
    """The engine's Python does not start or lacks a package."""

    code = "engine_broken"


class EngineDied(SoraError):
    """The engine process ended in the middle of a shot."""

    code = "engine_died"


class LandingError(SoraError):
    """The take cannot land where it is asked to: an occupied channel, no camera, a distance that the camera does not see."""

    code, bad_request = "bad_landing", True


class Cut(SoraError):
    """The artist cut the shot. Raised inside the engine to leave every stage at once."""

    code = "cut"

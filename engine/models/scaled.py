"""Files whose weights are floating point of 8 bits with scales of their own: which of them say beyond doubt what each weight is.

As ComfyUI and Lightricks write them (https://github.com/comfyanonymous/ComfyUI, QUANTIZATION.md): beside `layer.weight` there is
`layer.weight_scale`, or `layer.scale_weight` in older files, by which it is multiplied: one number, or one for each row. What stands there for a
layer's inputs concerns only those who multiply in 8 bits. Scales of blocks, of scales, or of whole numbers come in several ways that look alike.
"""
from __future__ import annotations

from pathlib import Path

from ..errors import CHOOSE, ModelError
from .admission import Tensor

ENDINGS = (".weight_scale", ".scale_weight")                                # of the scales' names
IDLE = (".input_scale", ".scale_input", ".comfy_quant", "scaled_fp8")       # of names of what is not needed
WEIGHTS, SCALES = ("F8_E4M3", "F8_E5M2"), ("F32", "F16", "BF16")            # types
OTHERS = (".weight_scale_2", ".pre_quant_scale", ".weight_scale_inv", ".weight_scalar", "_weight_scale")


def beside(name: str) -> bool:
    """Whether a tensor of this name is no weight, but belongs to one."""
    return name.endswith((*ENDINGS, *IDLE))


def scales(source: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Weight -> its scale, by the names of tensors in the file `source`; {} for one without. Raises ModelError where a scale's use is in doubt."""
    found = {}
    for name, scale in tensors.items():
        weight = f"{name.rpartition('.')[0]}.weight"
        if name.endswith(ENDINGS):
            if weight in found or not _certain(tensors.get(weight), scale):
                raise refused(source, name)
            found[weight] = name
        elif name.endswith(OTHERS):
            raise refused(source, name)
    return found


def _certain(weight: Tensor | None, scale: Tensor) -> bool:
    if weight is None or not weight.shape or weight.dtype not in WEIGHTS or scale.dtype not in SCALES:
        return False
    return scale.shape in ((), (1,), (1, 1), weight.shape[:1], (weight.shape[0], 1))


def refused(source: Path, name: str) -> ModelError:
    return ModelError(f"{source.name} keeps its weights in 8 bits with scales of their own that this engine does not read ({name}); "
                      "take the same model as GGUF or in 16 bits.", CHOOSE)

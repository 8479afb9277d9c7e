"""A card that is not there: tensors that say they lie on it and hold nothing, and that refuse, as real ones do, to meet the CPU's.

It is called `meta`, not `cuda`, which a torch without CUDA can neither index nor differentiate on, and knows no half precision.
"""
from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


NAME = "meta"


class Pretending(TorchFunctionMode):
    """Has torch believe in the card wherever a call touches it. Chance and files stay the CPU's, and real."""

    def __init__(self):
        super().__init__()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_function__(self, function, types, given=(), named=None):
        named = named or {}
        if not any(map(_lies_there, tree_leaves((given, named)))):
            return function(*given, **named)
        with self._fake:
            return function(*given, **named)


def _lies_there(found) -> bool:
    return isinstance(found, FakeTensor) or isinstance(found, (str, torch.device)) and str(found) == NAME

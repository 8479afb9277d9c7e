"""A transformer's matrices as whole numbers of 8 bits: half the memory of 16 bits, widened one layer at a time as they are used.

Each row has a scale of its own, so that its largest weight is 127: the largest error of a weight is 1/254 of its row's largest one
(weight-only quantisation by symmetric rows, as in Dettmers et al. 2022, section 2.1). Activations stay as they are.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn


class Narrow(nn.Linear):
    """A linear layer (in) -> (out) whose weight is int8 (out, in) with a scale (out, 1). Layers that ask for an nn.Linear, as LoRAs do, take it."""

    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        scale = layer.weight.detach().float().abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
        self.weight = nn.Parameter((layer.weight.detach().float() / scale).round().to(torch.int8), requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)       # in full precision whatever the model's is: it belongs to a whole row
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, (self.weight * self.scale).to(x.dtype), self.bias)


def narrow(model: nn.Module) -> None:
    """Replaces the linear layers in the model's own blocks, in place; what stands before and after them, and LoRAs, stay as they are."""
    for blocks in [child for child in model.children() if isinstance(child, nn.ModuleList)]:
        for parent in list(blocks.modules()):
            for name, layer in list(parent.named_children()):
                if type(layer) is nn.Linear and not _of_lora(parent):
                    setattr(parent, name, Narrow(layer))


def _of_lora(parent: nn.Module) -> bool:
    """Whether its children are a LoRA's halves, which peft keeps in dictionaries by the LoRA's name."""
    return isinstance(parent, nn.ModuleDict)

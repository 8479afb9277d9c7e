"""Components on the device as a memory plan says (engine/plan.py), and back."""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import plan as plans
from ..plan import LASTING, NARROW, TEXTS, TRANSFORMERS

if TYPE_CHECKING:
    import torch

    from ..device import Device

log = logging.getLogger(__name__)


class Placing:
    """Where a model's components are. After an error every component is whole, on the device or on the CPU."""

    def __init__(self, parts: dict[str, Any], device: torch.device):
        self._parts = {name: part for name, part in parts.items() if hasattr(part, "named_parameters")}
        self.device, self.plan = device, ""
        self._dtypes = {name: parts[name].dtype for name in TRANSFORMERS if parts.get(name) is not None}

    def fit(self, needed: plans.Need, place: Device, floor: str, asked: str) -> plans.Plan:
        """Goes over to the plan `asked` for, or to the fastest one from `floor` on that fits. Raises ModelError."""
        chosen = plans.choose(needed, place, floor, asked)
        self.apply(chosen.name)
        return plans.Plan(self.plan, needed.bytes(self.plan), chosen.fits)

    @property
    def lasting(self) -> bool:
        """Whether the transformers were changed for good: only loading again helps."""
        return self.plan in LASTING

    def apply(self, plan: str) -> None:
        """Goes over to `plan`, unless the one before is lasting."""
        if plan == self.plan or self.lasting:
            return
        self.plan = plan                                        # also where memory ends on the way
        for name, part in self._parts.items():
            part.to(self.device if plan == "full" else "cpu")
        if plan == "int8":
            self._rounded()
        if plan == "fp8":
            self._narrow()
        if plan == "blocks":
            self._by_blocks()
        if plan in LASTING:
            self._text_by_layers()
        log.info("memory plan: %s", plan)

    def _rounded(self) -> None:
        from .narrow import narrow
        for name in self._dtypes:
            narrow(self._parts[name])

    def _narrow(self) -> None:
        import torch
        for name, dtype in self._dtypes.items():
            self._parts[name].enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)

    def _by_blocks(self) -> None:
        stream = self.device.type == "cuda"
        for name in self._dtypes:
            self._parts[name].enable_group_offload(onload_device=self.device, offload_type="block_level", num_blocks_per_group=1, use_stream=stream)

    def _text_by_layers(self) -> None:
        """Text encoders are larger than small cards; they are asked twice a shot, layer by layer, which brings no byte more than all at once."""
        from diffusers.hooks import apply_group_offloading
        for name in self.layered:
            apply_group_offloading(self._parts[name], onload_device=self.device, offload_type="leaf_level", use_stream=self.device.type == "cuda")

    @property
    def layered(self) -> tuple[str, ...]:
        """Components whose layers come and go by themselves, beside a transformer's blocks."""
        return tuple(name for name in self._parts if name in TEXTS) if self.lasting else ()

    def bring(self, transformer: str) -> None:
        """This transformer is on the device; where there is no room for two, the other is not."""
        if self.plan not in ("turns", *NARROW):
            return
        for name in self._dtypes:
            self._parts[name].to(self.device if name == transformer else "cpu")

    def rest(self) -> None:
        """The transformers make room for the autoencoder."""
        if self.plan in ("turns", *NARROW):
            for name in self._dtypes:
                self._parts[name].to("cpu")

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[None]:
        """A component that is no transformer is on the device meanwhile."""
        alone = self.plan not in ("", "full") and name not in self.layered
        if alone:
            self._parts[name].to(self.device)
        try:
            yield
        finally:
            if alone:
                self._parts[name].to("cpu")

"""VACE's transformer with several controls at once: their hints are added, each with its own strength."""
from __future__ import annotations

import torch
from diffusers import WanVACETransformer3DModel


class Transformer(WanVACETransformer3DModel):
    """diffusers' own; only a tuple of controls takes another way through the same blocks."""

    def forward(self, hidden_states, timestep, encoder_hidden_states, control_hidden_states=None, control_hidden_states_scale=None,
                return_dict=True, cache=None, **more):
        """`cache`, what a draft remembers (sampling.draft), is for tuples of controls: diffusers' own would add the controls' hints twice.

        hidden_states (1, C, T, h, w); a control (1, 96, T, h, w) and its scale (layers,) or (layers, 1, tokens, 1), or a tuple of each."""
        if not isinstance(control_hidden_states, tuple):
            return super().forward(hidden_states, timestep, encoder_hidden_states, control_hidden_states=control_hidden_states,
                                   control_hidden_states_scale=control_hidden_states_scale, return_dict=return_dict, **more)
        shape, rotary = hidden_states.shape, self.rope(hidden_states)
        tokens = self.patch_embedding(hidden_states).flatten(2).transpose(1, 2)
        temb, steps, text, _ = self.condition_embedder(timestep, encoder_hidden_states, None)
        steps = steps.unflatten(1, (6, -1))

        def first(x: torch.Tensor) -> torch.Tensor:
            return self.blocks[0](x, text, steps, rotary)

        def others(x: torch.Tensor) -> torch.Tensor:
            hints = self._hints(tokens, text, steps, rotary, control_hidden_states, control_hidden_states_scale)
            for index, block in enumerate(self.blocks):
                x = block(x, text, steps, rotary) if index else x
                if index in hints:
                    x = x + hints[index].to(x.device)
            return x
        ended = others(first(tokens)) if cache is None else cache.through(tokens, first, others)
        return (self._unpatched(ended, temb, shape),)

    def _hints(self, tokens, text, steps, rotary, controls, scales) -> dict[int, torch.Tensor]:
        """Layer of the main blocks -> what the controls add there."""
        total: dict[int, torch.Tensor] = {}
        for control, scale in zip(controls, scales, strict=True):
            state = self.vace_patch_embedding(control).flatten(2).transpose(1, 2)
            for layer, strength, block in zip(self.config.vace_layers, scale.unbind(), self.vace_blocks, strict=True):
                hint, state = block(tokens, text, state, steps, rotary)
                total[layer] = total[layer] + hint * strength if layer in total else hint * strength
        return total

    def _unpatched(self, tokens, temb, shape) -> torch.Tensor:
        """As at the end of diffusers' forward: (1, tokens, width) -> (1, C, T, h, w)."""
        shift, scale = (self.scale_shift_table.to(temb.device) + temb.unsqueeze(1)).to(tokens.device).chunk(2, dim=1)
        tokens = self.proj_out((self.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens))
        (batch, _, frames, height, width), (t, h, w) = shape, self.config.patch_size
        patches = tokens.reshape(batch, frames // t, height // h, width // w, t, h, w, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return patches.flatten(6, 7).flatten(4, 5).flatten(2, 3)

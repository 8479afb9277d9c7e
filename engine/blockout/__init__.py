"""The family that is trained here: a small video diffusion transformer for blocked-out scenes, its data and its training."""

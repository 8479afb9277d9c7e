"""Schedules, samplers and guidance: pure functions on tensors, each naming its source. A denoiser is denoise(x, sigma) -> x0."""

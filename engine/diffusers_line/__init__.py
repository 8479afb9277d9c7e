"""What the families of open weights share: loading diffusers' own classes, text, autoencoders, the denoising loop, LoRAs, caches."""

"""The engine's own version, which light files may ask for."""

ENGINE_VERSION = "0.1.0"

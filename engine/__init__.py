"""The engine: its own process, its own Python environment. Never imports bpy; `python -m engine --help` says what it does."""

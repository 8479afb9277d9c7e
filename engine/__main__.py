"""The engine's command line. `serve` is looked at first: it must not wait for what the other commands need."""
from __future__ import annotations

import logging
import os
import sys


def main() -> int:
    """Runs a command; its exit code. The log goes to stderr, as loud as SORA_LOG (debug, info, warning, error) says."""
    level = os.environ.get("SORA_LOG", "warning").upper()
    logging.basicConfig(stream=sys.stderr, level=logging.getLevelNamesMapping().get(level, logging.WARNING),
                        format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if sys.argv[1:] == ["serve"]:
        from .serve import serve
        return serve()
    from .commands import run
    return run()


if __name__ == "__main__":
    sys.exit(main())

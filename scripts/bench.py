"""Measures one of the numbers this project promises, side by side with the plain way of doing it. Standard library only.

    python3 scripts/bench.py NAME [--json FILE] [--log] [the bench's own options]

The last line on stdout is the result as JSON: {"name", "ratio" or "value", "unit", "detail"}; --json writes it to a file
too, --log adds it with today's date to scripts/LOG.md. Each bench is one file in scripts/benches with a `measure()`.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environments

LOG = environments.ROOT / "scripts" / "LOG.md"
BENCHES = {             # name -> (environments that it may run in, first choice first; what is promised)
    "overhead": (("engine",), "ratio <= 1.05"),
    "stall": (("blender-5.0", "blender-5.2"), "value <= 8 ms, detail.landing_ms <= 50"),
    "write": (("engine",), "ratio >= 1.6 on two cores"),
    "cold": (("engine",), "ratio <= 1.15, detail.warm_ms <= 100"),
    "memory": (("engine",), "ratio <= 1.25"),
    "seeds": (("engine",), "ratio <= 0.5"),
    "load": (("engine",), "ratio <= 1.0, detail.memory_ratio <= 1.1"),
    "blockout": (("engine",), "value <= 3 s, detail.shot_s <= 45, detail.share >= 0.5, detail.peak_gb <= 2"),
    "clips": (("engine",), "no promise on a core; detail.cuda_clips >= 2000 where there is a card"),
    "draft": (("engine",), "no promise: what a draft saves and what it costs, per threshold"),
    "gpu": (("engine",), "ratio <= 0.6 for wan-14b at 832x480x81, detail.share >= 0.7; every family's plans equal but for rounding"),
}


def measured(name: str, more: list[str]) -> dict:
    """Runs the bench, with its own options `more`, in its environment. Raises Missing when there is none, CalledProcessError when it fails."""
    engine, python = environments.ready("engine"), None
    for choice in BENCHES[name][0]:
        try:
            python = environments.ready(choice)
            break
        except environments.Missing as missing:
            problem = missing
    if python is None:
        raise problem
    surroundings = {**os.environ, "SORA_ENGINE_PYTHON": str(engine)}
    script = environments.ROOT / "scripts" / "benches" / f"{name}.py"
    said = subprocess.run([str(python), str(script), *more], stdout=subprocess.PIPE, text=True, env=surroundings, check=True).stdout
    return json.loads(said.strip().splitlines()[-1])


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def line(result: dict) -> str:
    """The result as one dated entry of the log."""
    number = f"ratio {result['ratio']:.3f}" if "ratio" in result else f"{result['value']:.2f} {result['unit']}"
    today = datetime.date.today().isoformat()
    return f"- {today} `{result['name']}` {number} (promised: {BENCHES[result['name']][1]}; {machine()}): `{json.dumps(result['detail'])}`\n"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("name", choices=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    asked.add_argument("--json", type=Path, metavar="FILE")
    asked.add_argument("--log", action="store_true")
    options, more = asked.parse_known_args()
    try:
        result = measured(options.name, more)
    except environments.Missing as missing:
        sys.exit(str(missing))
    except subprocess.CalledProcessError as failed:
        sys.exit(f"The bench {options.name} ended with {failed.returncode}; what went wrong stands above.")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.log:
        with LOG.open("a") as log:
            log.write(line(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

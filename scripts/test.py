"""Runs every tier of tests that this machine can run, and says which it can't and why. Standard library only.

    python3 scripts/test.py [TIER ...] [-k EXPRESSION] [-v]
    tiers: plain  engine (both halves)  engine-1  engine-2  blender (all versions)  blender-4.5  blender-5.0  blender-5.2  gui  gpu

Ends with a line `N passed, N failed, N skipped`; the exit status is 1 if anything failed.
"""
from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environments
import window

ROOT = environments.ROOT
LOGS = ROOT / "out" / "test"
AT_ONCE = max(1, min(2, os.cpu_count() or 1))


@dataclass(frozen=True)
class Tier:
    """One folder of tests in one environment. `lacks` says in a sentence why the machine can't run it, "" when it can."""

    name: str
    environment: str
    folder: str
    minutes: int
    lacks: object = None
    needs: tuple[str, ...] = ()         # further environments that its tests start
    part: int = 0                       # of so many `parts`, each with as many of the folder's files
    parts: int = 1

    def command(self, python: Path, extra: list[str]) -> list[str]:
        runner = ["tests/run_in_blender.py"] if self.name.startswith("blender") else ["-m", "pytest"]
        return [str(python), *runner, *self._tests(), f"--junitxml={LOGS / self.name}.xml", *extra]

    def _tests(self) -> list[str]:
        files = sorted((ROOT / "tests" / self.folder).glob("test_*.py"))
        return [str(path.relative_to(ROOT)) for path in files[self.part::self.parts]] if self.parts > 1 else [f"tests/{self.folder}"]


@dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    said: str = ""

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def no_gpu() -> str:
    """Why the gpu tier can't run: asks the engine's torch. "" when it can."""
    ask = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 1)"
    found = subprocess.run([str(environments.ENVIRONMENTS["engine"].python), "-c", ask], capture_output=True).returncode == 0
    return "" if found else "the engine's torch sees no CUDA or ROCm device"


TIERS = (            # the longest first, so that two at a time end together
    Tier("gui", "plain", "gui", 20, window.lacks, needs=("engine", "blender-5.0")),
    *(Tier(f"engine-{part + 1}", "engine", "engine", 20, part=part, parts=2) for part in range(2)),
    *(Tier(name, name, "blender", 20, needs=("engine",)) for name in environments.BLENDERS),
    Tier("plain", "plain", "plain", 10),
    Tier("gpu", "engine", "gpu", 15, no_gpu),
)


def run(tier: Tier, extra: list[str]) -> Result:
    """Runs one tier to its end or to its time limit."""
    try:
        for name in (tier.environment, *tier.needs):
            python = environments.ready(name, lambda text: print(f"[{tier.name}] {text}", flush=True))
        python = environments.ENVIRONMENTS[tier.environment].python
    except environments.Broken as broken:
        return Result(failed=1, said=f"FAILED: {broken}")
    except environments.Missing as missing:
        return Result(skipped=1, said=f"SKIPPED: {missing}")
    lacking = tier.lacks() if tier.lacks else ""
    if lacking:
        return Result(skipped=1, said=f"SKIPPED: {lacking}.")
    began, log = time.monotonic(), LOGS / f"{tier.name}.log"
    code = _timed(tier.command(python, extra), log, tier.minutes * 60)
    result = _counted(LOGS / f"{tier.name}.xml")
    if code == 5 and extra:
        return Result(said="no test's name matches")
    if code not in (0, 1) and not result.failed:
        result.failed = 1
    how = {None: f"ran past its {tier.minutes} minutes", 0: "passed", 1: "FAILED", 5: "has NO TESTS"}.get(code, f"ENDED with {code}")
    result.said = f"{how} in {time.monotonic() - began:.0f} s: {result}; {log.relative_to(ROOT)}"
    return result


def _timed(command: list[str], log: Path, seconds: float) -> int | None:
    """Exit code of the command, whose whole process group ends with it; None when it ran past `seconds`."""
    threads = str(max(1, (os.cpu_count() or 1) // AT_ONCE))
    surroundings = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("w") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=surroundings, start_new_session=os.name != "nt")
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)


def _end(child: subprocess.Popen) -> None:
    """Ends the child and whatever it started and left behind."""
    if os.name == "nt":
        child.kill()
    else:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return                      # all of them had ended by themselves
    child.wait()


def _counted(report: Path) -> Result:
    """The counts of pytest's report; a missing one counts as one failure, since the tier did not come to its end."""
    if not report.exists():
        return Result(failed=1)
    result = Result()
    for suite in xml.parse(report).getroot().iter("testsuite"):
        failed, skipped = int(suite.get("failures", 0)) + int(suite.get("errors", 0)), int(suite.get("skipped", 0))
        result.failed, result.skipped = result.failed + failed, result.skipped + skipped
        result.passed += int(suite.get("tests", 0)) - failed - skipped
    return result


def skips(tier: Tier) -> list[str]:
    """One line for each reason of skipped tests, so that no skip stays unseen."""
    report = LOGS / f"{tier.name}.xml"
    if not report.exists():
        return []
    reasons = [case.get("message", "") for case in xml.parse(report).getroot().iter("skipped")]
    return [f"  [{tier.name}] skipped {reasons.count(reason)}: {reason}" for reason in dict.fromkeys(reasons)]


def _end_of(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def wanted(names: list[str], asked: argparse.ArgumentParser) -> list[Tier]:
    chosen = [tier for tier in TIERS if not names or tier.name in names or tier.folder in names]
    unknown = set(names) - {tier.name for tier in TIERS} - {tier.folder for tier in TIERS}
    if unknown:
        asked.error(f"there is no tier {', '.join(sorted(unknown))}; there are: {', '.join(tier.name for tier in TIERS)}, engine, blender")
    return chosen


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("tiers", nargs="*", metavar="TIER")
    asked.add_argument("-k", metavar="EXPRESSION", help="only tests whose name matches (pytest's -k)")
    asked.add_argument("-v", action="store_true", help="print the whole log of each tier")
    options = asked.parse_args()
    tiers, extra = wanted(options.tiers, asked), ["-k", options.k] if options.k else []
    LOGS.mkdir(parents=True, exist_ok=True)
    for tier in tiers:
        (LOGS / f"{tier.name}.xml").unlink(missing_ok=True)
        (LOGS / f"{tier.name}.log").unlink(missing_ok=True)
    total = Result()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [(tier, pool.submit(run, tier, extra)) for tier in tiers]
        for tier, future in results:
            result = future.result()
            if result.failed or options.v:
                print(f"---------------- {tier.name}\n{_end_of(LOGS / f'{tier.name}.log', 100000 if options.v else 60)}", flush=True)
            print(f"[{tier.name}] {result.said}", *skips(tier), sep="\n", flush=True)
            total = Result(total.passed + result.passed, total.failed + result.failed, total.skipped + result.skipped)
    print()
    for tier, future in results:
        print(f"{tier.name:12} {future.result().said}")
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())

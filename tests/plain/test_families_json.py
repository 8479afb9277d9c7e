"""The panel's snapshot of the families is what the engine has, and the panel reads it without an engine."""
import dataclasses
import json

from sora.engine.families import specs
from sora.engine.protocol import FamilySpec, Size
from sora.sora_addon import families


def test_the_snapshot_is_fresh():
    """When this fails: `python -m engine families --json > sora_addon/families.json`."""
    assert json.loads(families.SNAPSHOT.read_text(encoding="utf-8")) == json.loads(json.dumps([dataclasses.asdict(spec) for spec in specs()]))


def test_the_snapshot_reads_as_specs():
    assert families.read_snapshot() == specs()


def test_a_running_engine_replaces_the_snapshot():
    other = FamilySpec(name="other", label="Other", note="", licence="MIT")
    try:
        families.adopt((other,))
        assert families.specs() == (other,) and families.spec("other") is other
    finally:
        families.adopt(families.read_snapshot())
    assert families.specs() == specs()


def test_native_size_keeps_area_and_aspect():
    small = FamilySpec(name="small", label="Small", note="", licence="MIT", native_area=112 * 64)
    assert families.native_size(small, Size(832, 480)) == Size(112, 64)
    assert families.native_size(small, Size(64, 64)) == Size(64, 64)
    assert families.native_size(FamilySpec(name="full", label="Full", note="", licence="MIT"), Size(1920, 1080)) == Size(1920, 1080)

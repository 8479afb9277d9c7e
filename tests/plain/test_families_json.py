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


def test_a_spec_says_what_room_its_models_take():
    """As the catalogue has it; what comes with the engine takes none."""
    for spec in specs():
        assert {one.model for one in spec.weights} == (set(spec.models) if spec.name != "blockout" else set())
        assert all(one.memory > 10**9 for one in spec.weights)
    assert families.room(families.known("cogvideox"), "cogvideox-fun-5b-control") == (
        "20 GB on disk, about 10.0 GB of memory for its transformer, half in 8 bits")
    assert families.room(families.known("wan"), "wan2.1-t2v-14b").startswith("about 28.0 GB of memory") and families.room(families.known("wan"), "mine") == ""


def test_numbers_of_a_model_are_documented():
    """Each has its address; a model that nobody knows is shot as its family."""
    for spec in specs():
        assert {one.model for one in spec.defaults} <= set(spec.models) and len({one.model for one in spec.defaults}) == len(spec.defaults)
        assert all(one.source.startswith("https://") and one.steps > 0 and one.guidance >= 1 for one in spec.defaults)
        assert all(one.guidance_low < 0 or one.model in spec.experts for one in spec.defaults)
        assert (spec.own("mine").steps, spec.own("mine").guidance) == (spec.steps, spec.guidance)
    wan = families.known("wan").own("wan2.2-t2v-a14b")
    assert (wan.steps, wan.guidance, wan.guidance_low) == (40, 4.0, 3.0)


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

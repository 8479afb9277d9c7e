"""The README says what is there: its tree, its commands and its picture."""
import re
import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import tree  # noqa: E402


def test_the_tree_is_fresh():
    text = tree.README.read_text(encoding="utf-8")
    assert tree.renewed(text) == text, "run: python3 scripts/tree.py --write"


def test_every_command_names_a_file_that_exists():
    text = tree.README.read_text(encoding="utf-8")
    named = set(re.findall(r"python3 (scripts/\w+\.py)", text))
    assert {"scripts/demo.py", "scripts/test.py"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_picture_is_there():
    text = tree.README.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures and [name for name in pictures if not (ROOT / name).is_file()] == []

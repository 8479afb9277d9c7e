"""The tree in the README: every file with the first line of what it says it is. `--write` renews it; a test keeps it fresh."""
from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDERS = ("sora_addon", "engine", "scripts", "tests")
BEGIN, END = "<!-- tree: made by scripts/tree.py -->\n", "<!-- end of tree -->"


def tree() -> str:
    """Markdown: one block for each top folder, one line for each Python file."""
    return "".join(f"\n```\n{_block(folder)}```\n" for folder in FOLDERS)


def _block(folder: str) -> str:
    files = sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    names = [path.relative_to(ROOT).as_posix() for path in files]
    width = max(map(len, names))
    return "".join(f"{name:{width}}  {_says(path)}\n" for name, path in zip(names, files, strict=True))


def _says(path: Path) -> str:
    """The first sentence of the file's docstring."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".")


def renewed(text: str) -> str:
    """The README's text with the tree as it is now."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + tree() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    if "--write" in sys.argv:
        README.write_text(renewed(text), encoding="utf-8")
    elif renewed(text) != text:
        sys.exit("The README's tree is stale; run: python3 scripts/tree.py --write")

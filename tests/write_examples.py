"""Write the programs of `synevo guide examples`, and their commands, to a folder; `make examples` runs them.

Each section whose heading ends with a name gives two files: NAME.py, and the commands beside it, NAME.sh.
"""

import re
import sys
from pathlib import Path

import synevo

GUIDE = Path(synevo.__file__).parent / "guide"


def programs() -> dict[str, tuple[str, str]]:
    """Return the code and the commands of each program, by its name."""
    page = (GUIDE / "examples.md").read_text("utf-8")
    found = re.findall(r"^## [^`\n]*`(\w+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    regression = (GUIDE / "own-task.md").read_text("utf-8")  # the section on regression refers to it
    code = {name: text if "```python" in text else regression for name, text in found}
    return {name: (_block(code[name], "python"), _block(text, "sh")) for name, text in found}


def write(folder: Path) -> None:
    """Write every program and its commands to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (code, commands) in programs().items():
        (folder / f"{name}.py").write_text(code, "utf-8")
        (folder / f"{name}.sh").write_text(commands, "utf-8")


def _block(text: str, language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return block


if __name__ == "__main__":
    write(Path(sys.argv[1]))

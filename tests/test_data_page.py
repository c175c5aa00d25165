"""docs/data.md is generated."""

import subprocess
import sys
from pathlib import Path

from schemas import TABLES

ROOT = Path(__file__).resolve().parent.parent


def check(repository):
    command = [sys.executable, str(repository / "scripts" / "generate_data_page.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_is_up_to_date():
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_it_names_every_table_and_column():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert list(sections) == [table.name for table in TABLES]
    for table in TABLES:
        assert all(f"| `{name}` | {table.field(name).type} |" in sections[table.name] for name in table.columns)

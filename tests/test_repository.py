"""Rules that every file of the repository obeys."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("conf", "schemas", "models", "jobs", "serving")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FOLDERS = (*PACKAGES, "dags", "scripts", "benchmarks", "tests", "docs", "requirements")
TEXTS = sorted(
    path
    for path in [*ROOT.glob("*.*"), ROOT / "Makefile", *(found for name in FOLDERS for found in (ROOT / name).rglob("*"))]
    if path.is_file() and path.suffix in ("", ".py", ".md", ".yaml", ".toml", ".cfg", ".in", ".lock", ".txt", ".tsv", ".csv")
)
# Put together here, so that this file does not hold them itself. A temporary directory of the machine is no place either.
FORBIDDEN = ["/work" + "/", "/home" + "/", "/Users" + "/", "/root" + "/", "/tmp" + "/envs", "BEGIN " + "PRIVATE KEY"]


def relative(path):
    return path.relative_to(ROOT).as_posix()


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 60
    assert {"README.md", "Makefile", "conf/base.yaml", "dags/reelflow_daily.py"} <= {relative(path) for path in TEXTS}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_imports_and_says_what_it_is_for(path):
    module = importlib.import_module(module_name(path))
    assert Path(module.__file__) == path
    assert module.__doc__
    assert module.__doc__.strip()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_public_names_are_sorted_and_exist(path):
    module = importlib.import_module(module_name(path))
    names = getattr(module, "__all__", [])
    constants = sorted(name for name in names if name.isupper())
    classes = sorted(name for name in names if name[0].isupper() and not name.isupper())
    others = sorted(name for name in names if not name[0].isupper())
    assert list(names) == [*constants, *classes, *others]  # the order of ruff's RUF022
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)


def test_every_package_has_sources_of_its_own():
    for folder in {path.parent for path in SOURCES}:
        assert (folder / "__init__.py").exists(), relative(folder)


def test_every_stage_of_the_dag_has_a_module_with_a_main():
    tree = ast.parse((ROOT / "dags" / "reelflow_daily.py").read_text(encoding="utf-8"))
    stages = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("spark", "python")
        and isinstance(node.args[0], ast.Constant)
    }
    assert stages == {
        "ingest", "examples", "text", "features", "train_wals", "train_towers", "evaluate", "noise_floor", "gate", "index",
        "recommend", "scan", "publish", "shadow", "data_docs", "summary",
    }  # fmt: skip
    for stage in stages:
        module = importlib.import_module(f"jobs.{stage}")
        assert callable(module.main)
        assert callable(module.run)


def test_every_command_has_a_main():
    for path in (ROOT / "jobs").glob("[!_]*.py"):
        assert callable(importlib.import_module(f"jobs.{path.stem}").main), path.stem


def test_no_file_names_a_path_of_one_machine():
    found = [
        f"{relative(path)}: {word}"
        for path in TEXTS
        for word in FORBIDDEN
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_no_source_unpickles_or_draws_without_a_seed():
    forbidden = re.compile(
        r"\bpickle\.load|allow_pickle=True|torch\.load\(|np\.random\.(rand|seed|shuffle|choice)\b|default_rng\(\)"
    )
    assert [relative(path) for path in SOURCES if forbidden.search(path.read_text(encoding="utf-8"))] == []


def test_only_the_simulator_reads_the_truth():
    readers = [relative(path) for path in SOURCES if re.search(r"\.truth\b", path.read_text(encoding="utf-8"))]
    assert [path for path in readers if not path.startswith(("jobs/simulat", "benchmarks"))] == []


def test_links_between_documents_lead_somewhere():
    links = [
        (path, target)
        for path in TEXTS
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    ]
    broken = [
        f"{relative(path)}: {target}" for path, target in links if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []

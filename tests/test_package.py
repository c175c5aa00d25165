"""What an app gets that installs reelflow for its reader."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from serving import SqliteStore
from tests.serving.builders import publish, video
from tests.test_repository import PACKAGES, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources, so that nothing is built beside them."""
    tree, made = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(made)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (found,) = made.glob("*.whl")
    return found


def test_every_file_of_the_packages_is_in_it(wheel):
    files = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if ".dist-info/" not in name}
    assert packed == {file for file in files if "__pycache__" not in file}
    assert {"conf/base.yaml", "serving/postgres/roles.sql", "serving/redis/users.acl", "serving/py.typed"} <= packed


def test_the_reader_works_from_it(wheel, tmp_path):
    """What it needs comes from this environment, the sources from the wheel alone."""
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path / "installed")
    store = SqliteStore(tmp_path / "home" / "store" / "recommendations.sqlite")
    publish(store, 8, 1)
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "installed")!r})
import serving
assert serving.__file__.startswith(sys.path[0]), serving.__file__
print([row.video_id for row in serving.RecommendationReader().get(2, 3).rows])
"""
    variables = {"REELFLOW_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=variables, check=True, capture_output=True, text=True)
    assert done.stdout == f"{[video(8, 1, rank) for rank in (1, 2, 3)]}\n"

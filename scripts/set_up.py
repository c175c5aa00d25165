"""Make the two virtual environments from their locks, and see to it that there is a Java; quick when nothing is left to do.

``python3.11 scripts/set_up.py [reelflow] [airflow] [java]`` (all three by default). Standard library only: it runs first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = {"reelflow": ".venv", "airflow": ".venv-airflow"}
PURPOSE = {"reelflow": "Spark and the models, about 3 GB", "airflow": "Airflow, about 1 GB"}
JAVA_VERSIONS = (17, 21)
ARCHIVE_STAMP = ".class-archive"
STAMP = ".set-up"  # written last: an interrupted set-up is taken up again


def say(message: str) -> None:
    """Print a progress line."""
    print(f"set-up | {message}", flush=True)


def environment(name: str) -> None:
    """Install the lock of ``name`` into its virtual environment, unless the stamp says that this is done."""
    folder = REPOSITORY / FOLDERS[name]
    lock = REPOSITORY / "requirements" / f"{name}.lock"
    wanted = digest(lock, *([REPOSITORY / "setup.cfg", REPOSITORY / "pyproject.toml"] if name == "reelflow" else []))
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8").strip() == wanted and (folder / "bin" / "python").exists():
        return
    say(f"{folder.name}: installing {lock.relative_to(REPOSITORY)} ({PURPOSE[name]}); a few minutes, once")
    started = time.monotonic()
    stamp.unlink(missing_ok=True)
    if not works(folder / "bin" / "python"):
        virtual_environment(folder)
    pip(folder, "install", "--quiet", "--requirement", str(lock))
    if name == "reelflow":
        pip(folder, "install", "--quiet", "--no-deps", "--editable", str(REPOSITORY))
    stamp.write_text(wanted + "\n", encoding="utf-8")
    say(f"{folder.name}: ready after {time.monotonic() - started:.0f} s")


def class_archive() -> None:
    """Let Spark's JVM start from an archive of classes; without one it starts too, more slowly."""
    folder, script = REPOSITORY / FOLDERS["reelflow"], REPOSITORY / "scripts" / "archive_classes.py"
    version = subprocess.run([java_program() or "java", "-version"], capture_output=True, text=True, check=False).stderr
    wanted = digest(script, REPOSITORY / "requirements" / "reelflow.lock") + hashlib.sha256(version.encode()).hexdigest()
    stamp = folder / ARCHIVE_STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8").strip() == wanted:
        return
    say(f"{folder.name}: archiving the classes of Spark, so that it starts faster; half a minute, once")
    done = subprocess.run([folder / "bin" / "python", script], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        say(f"{folder.name}: no archive of classes, Spark will start more slowly: {reason}")
    stamp.write_text(wanted + "\n", encoding="utf-8")


def digest(*files: Path) -> str:
    """One digest of the files and of the interpreter's version."""
    total = hashlib.sha256(sys.version.encode())
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def works(python: Path) -> bool:
    """Whether an environment's interpreter starts and has pip."""
    return python.exists() and subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0


def virtual_environment(folder: Path) -> None:
    """Make an empty virtual environment, replacing a broken one."""
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and install_debian("python3.11-venv"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(
            f"{folder.name}: `{' '.join(command)}` failed:\n{done.stdout}{done.stderr}\n"
            "On Debian or Ubuntu type: sudo apt-get install python3.11-venv"
        )


def pip(folder: Path, *arguments: str) -> None:
    """Run an environment's pip; its messages are shown only where they say something."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY) as process:
        for line in process.stdout or ():
            if not re.match(r"WARNING: (Location|Running pip as the 'root')", line):
                print(f"  {line}", end="", flush=True)
    if process.returncode:
        stop(f"{folder.name}: pip failed (above); mend that and type the same command again, it goes on where it stopped")


def java() -> None:
    """See to it that ``java`` is one that Spark runs on."""
    found = java_version()
    if found in JAVA_VERSIONS:
        return
    if found is None and install_debian("openjdk-17-jre-headless"):
        found = java_version()
    if found not in JAVA_VERSIONS:
        state = "no `java` on the PATH" if found is None else f"`java` is version {found}"
        stop(
            f"Java: {state}; Spark needs 17 or 21.\n"
            "On Debian or Ubuntu type: sudo apt-get install openjdk-17-jre-headless\n"
            "On macOS type: brew install openjdk@17\n"
            "If you have one elsewhere: export JAVA_HOME=/path/to/it PATH=/path/to/it/bin:$PATH"
        )


def java_program() -> str | None:
    """The ``java`` that Spark would take."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else shutil.which("java")


def java_version() -> int | None:
    """The major version of the Java that Spark would take, or None."""
    program = java_program()
    if not program or not Path(program).exists():
        return None
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if match else None


def install_debian(package: str) -> bool:
    """Install a Debian package, where that can be done without asking; tells whether it was."""
    program = shutil.which("apt-get")
    if not program or os.geteuid() != 0:
        return False
    say(f"{package}: not here; installing it with apt-get")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([program, "update", "-qq"], stdout=subprocess.DEVNULL, env=quiet, check=False)
    install = [program, "install", "-y", "-qq", "--no-install-recommends", package]
    return subprocess.run(install, stdout=subprocess.DEVNULL, env=quiet, check=False).returncode == 0


def stop(message: str) -> None:
    """End with a message that says what to do."""
    sys.exit(f"set-up | error: {message}")


def main() -> None:
    """Set up what is named on the command line."""
    wanted = sys.argv[1:] or ["java", *FOLDERS]
    if unknown := set(wanted) - {"java", *FOLDERS}:
        stop(f"found {', '.join(sorted(unknown))}; expected java, {', '.join(FOLDERS)}")
    if sys.version_info[:2] != (3, 11):
        stop(
            f"Python: this is {sys.version.split()[0]}, reelflow needs 3.11.\n"
            "On Debian 12 type: sudo apt-get install python3.11 python3.11-venv\n"
            "If you have one elsewhere: make PYTHON=/path/to/python3.11 ..."
        )
    for name in wanted:
        if name == "java":
            java()
        else:
            environment(name)
    if {"java", "reelflow"} <= set(wanted):
        class_archive()


if __name__ == "__main__":
    main()

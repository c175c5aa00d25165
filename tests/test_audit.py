"""What ``make audit`` makes of the answers of the advisories' services."""

import json
import sys
from pathlib import Path

import pytest
from packaging.version import Version
from pip_audit._format import JsonFormat
from pip_audit._service.interface import ResolvedDependency, SkippedDependency, VulnerabilityResult

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import audit  # noqa: E402

BAD = audit.Vulnerability("jinja2", "2.10", ("PYSEC-2019-217", "CVE-2019-10906"), ("2.10.1",))
CLEAN, SILENT = audit.Answer(3, (), ()), audit.Answer(0, ("a", "b"), ())


@pytest.fixture
def ignoring(tmp_path, monkeypatch):
    def write(text):
        monkeypatch.setattr(audit, "IGNORED", tmp_path / "audit-ignore.txt")
        audit.IGNORED.write_text(text)

    write("")
    return write


def asked(answers):
    """A stand-in for the services; those left out cannot be reached."""
    return lambda lock, service: answers.get((lock, service))


def everywhere(answer):
    return asked(dict.fromkeys([(lock, "pypi") for lock in audit.LOCKS], answer))


def test_a_report_of_pip_audit_is_read():
    bad = VulnerabilityResult(BAD.ids[0], "a sandbox escape", [Version("2.10.1")], {BAD.ids[1]})
    packages = {
        ResolvedDependency("pytz", Version("2026.1")): [],
        SkippedDependency("own", "not found on PyPI"): [],
        ResolvedDependency("jinja2", Version("2.10")): [bad],
    }
    report = JsonFormat(output_desc=False, output_aliases=True).format(packages, [])
    assert audit.parse_report(json.loads(report)) == audit.Answer(2, ("own",), (BAD,))


def test_nothing_known_is_a_success(ignoring, capsys):
    assert audit.main(everywhere(CLEAN)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"audit | {lock}.lock: 3 packages asked about, 0 known vulnerabilities" for lock in audit.LOCKS
    ]


def test_a_known_vulnerability_fails_and_is_named(ignoring, capsys):
    assert audit.main(everywhere(audit.Answer(3, (), (BAD,)))) == 1
    assert (
        "reelflow.lock: VULNERABLE jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1; raise it by make lock"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", BAD.ids)
def test_one_with_a_reason_passes_and_the_reason_is_said(ignoring, capsys, name):
    ignoring(f"# known\n{name}: no template of ours comes from outside\n")
    assert audit.main(everywhere(audit.Answer(3, (), (BAD,)))) == 0
    said = capsys.readouterr().out
    assert "reelflow.lock: ignored jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1: no template of ours comes from outside" in said
    assert "no longer needed" not in said


def test_a_reason_that_is_no_longer_needed_is_said(ignoring, capsys):
    ignoring("PYSEC-1: for a while\n")
    assert audit.main(everywhere(CLEAN)) == 0
    assert "audit | audit-ignore.txt: no longer needed: PYSEC-1" in capsys.readouterr().out


def test_an_exception_without_a_reason_is_refused(ignoring):
    ignoring("\nPYSEC-1\n")
    with pytest.raises(SystemExit, match=r"line 2: found 'PYSEC-1' without a reason; expected ADVISORY: REASON"):
        audit.main(everywhere(CLEAN))


def test_osv_is_asked_where_pypi_knows_nothing(ignoring, capsys):
    answers = {(lock, "osv"): audit.Answer(3, (), (BAD,)) for lock in audit.LOCKS}
    assert audit.main(asked({("reelflow", "pypi"): SILENT, **answers})) == 1


@pytest.mark.parametrize("answers", [{}, {("reelflow", "pypi"): SILENT}])
def test_that_nobody_can_be_asked_is_one_line_and_no_clean_bill(ignoring, capsys, answers):
    assert audit.main(asked(answers)) == 0
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("audit | reelflow.lock: advisories could not be asked")
    assert said.endswith("nothing is known to be wrong, nor to be right")


def test_packages_that_are_not_known_are_named(ignoring, capsys):
    audit.main(everywhere(audit.Answer(3, tuple("abcdefg"), ())))
    assert "reelflow.lock: not known to the service: a, b, c, d, e and 2 more" in capsys.readouterr().out


def test_the_exceptions_of_this_repository_have_reasons():
    audit.parse_ignored((ROOT / "requirements" / "audit-ignore.txt").read_text(encoding="utf-8"))

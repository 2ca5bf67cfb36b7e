"""The doctor looks at this machine and says so, a line each."""

from pathlib import Path

import pytest

from onggi.daemon import doctor


def test_every_subject_has_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status = doctor.main(["--data-root", str(tmp_path / "not" / "there")])
    lines = capsys.readouterr().out.splitlines()
    assert all(line[0] in "✓!✗" for line in lines)
    subjects = {line[2:15].strip() for line in lines}
    assert {"python", "rights", "kernel", "namespaces", "overlayfs", "seccomp", "cgroups", "data root"} <= subjects
    assert status == any(line[0] == "✗" for line in lines)


def test_what_can_not_be_looked_at_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise PermissionError(13, "Permission denied", "/proc/self/status")

    monkeypatch.setattr(doctor, "_capabilities", fail)
    found = [finding for finding in doctor.findings(tmp_path) if finding.subject == "capabilities"]
    assert [finding.mark for finding in found] == ["✗"]
    assert "Permission denied" in found[0].text

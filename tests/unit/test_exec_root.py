"""What a restarted daemon finds beneath its exec root."""

from pathlib import Path

import pytest

from onggi.runtime import exec_root


def test_a_written_status(tmp_path: Path) -> None:
    assert exec_root.written_status(tmp_path) is None
    (tmp_path / "status").write_text('{"code": 7, "oom_killed": true, "finished_at_ns": 1500000000}')
    found = exec_root.written_status(tmp_path)
    assert found is not None
    assert (found.code, found.oom_killed, found.finished_at.timestamp()) == (7, True, 1.5)
    assert not exec_root.close_off(tmp_path)


@pytest.mark.parametrize("left", [b"", b'{"code": 7, "oo', b"\0" * 60])
def test_a_status_that_a_power_cut_has_spoilt_is_none(tmp_path: Path, left: bytes) -> None:
    directory = tmp_path / "container"
    directory.mkdir()
    (directory / "status").write_bytes(left)
    assert exec_root.written_status(directory) is None
    assert exec_root.close_off(directory), "nothing keeps the directory"

"""Detach keys, and clients that hang up while they wait for a start."""

import socket

import pytest

from onggi.engine.attach import detach_keys, still_there
from onggi.errors import InvalidParameter
from onggi.linux.fd import Fd
from onggi.runtime.runtime import Attachment


def test_detach_keys() -> None:
    assert detach_keys("") == b"\x10\x11"
    assert detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert detach_keys("ctrl-@,a,ctrl-[,ctrl-_,CTRL-Z,~") == b"\x00a\x1b\x1f\x1a~"
    for wrong in ("ctrl-", "ctrl-ä", "ab", ",", "ctrl-pq"):
        with pytest.raises(InvalidParameter) as caught:
            detach_keys(wrong)
        assert str(caught.value) == f"Invalid detach keys ({wrong}) provided"


def waiting(*, stdin: bool) -> tuple[Attachment, socket.socket]:
    ours, theirs = socket.socketpair()
    attachment = Attachment(connection=Fd(ours.detach()), stdin=stdin, stdout=True, stderr=True, framed=True)
    return attachment, theirs


def test_who_hangs_up_before_the_start_is_let_go() -> None:
    staying, staying_client = waiting(stdin=False)
    gone, gone_client = waiting(stdin=True)
    half_closed, half_client = waiting(stdin=True)
    left_input, input_client = waiting(stdin=True)
    closed, closed_client = waiting(stdin=False)
    gone_client.close()
    half_client.shutdown(socket.SHUT_WR)
    input_client.sendall(b"all there is")
    input_client.close()
    closed.connection.close()
    left = still_there([staying, gone, half_closed, left_input, closed])
    assert left == [staying, half_closed, left_input]
    assert gone.connection.closed
    for attachment in left:
        attachment.connection.close()
    for client in (staying_client, half_client, closed_client):
        client.close()

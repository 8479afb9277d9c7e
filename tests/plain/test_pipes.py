"""What children say and hear, in every way that a pipe can cut it up."""
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from sora.sora_addon.pipes import Incoming, Outgoing


@pytest.fixture
def pipe():
    """The end to listen at, and the one to write into."""
    there, here = os.pipe()
    listening, writing = os.fdopen(there, "rb", 0), os.fdopen(here, "wb", 0)
    yield listening, writing
    listening.close()
    writing.close()


def alive(listening):
    """A child of which only its pipe is looked at."""
    return SimpleNamespace(stdout=listening, poll=lambda: None)


def test_lines_come_whole_and_nothing_is_waited_for(pipe):
    listening, writing = pipe
    incoming = Incoming(alive(listening))
    assert incoming.line() is None
    writing.write(b"one\ntw")
    assert incoming.line() == b"one\n" and incoming.line() is None
    writing.write(b"o\n\nthree")
    assert [incoming.line() for _ in range(3)] == [b"two\n", b"\n", None] and not incoming.ended
    writing.close()
    assert incoming.line() == b"three" and incoming.line() is None and incoming.ended


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_of_an_overlong_line_the_beginning_is_kept(pipe, piece):
    listening, writing = pipe
    incoming, heard, text = Incoming(alive(listening), longest=10), [], b"0123456789\n" + b"x" * 500 + b"\nafter\n" + b"y" * 500
    for at in range(0, len(text), piece):
        writing.write(text[at:at + piece])
        while (line := incoming.line()) is not None:
            heard.append(line)
    writing.close()
    heard.append(incoming.line())
    assert heard == [b"0123456789\n", b"x" * 11 + b"\n", b"after\n", b"y" * 11]


def test_what_a_busy_child_has_no_room_for_waits_for_it():
    """Three megabytes to one that looks at its input only after half a second."""
    count = "import sys, time; time.sleep(.5); print(len(sys.stdin.buffer.read()))"
    child = subprocess.Popen([sys.executable, "-c", count], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    outgoing, incoming, said = Outgoing(child.stdin), Incoming(child), b"x" * 3_000_000
    outgoing.put(said)
    assert child.poll() is None and outgoing.waits
    while outgoing.waits:
        outgoing.flush()
        time.sleep(.005)
    outgoing.close()
    child.wait(30)
    assert incoming.line() == b"3000000\n" and incoming.code is None, "there may be more"
    assert incoming.line() is None and incoming.code == 0
    incoming.close()


def test_a_child_that_is_gone_is_not_spoken_to(caplog):
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
    child.wait(30)
    outgoing = Outgoing(child.stdin)
    outgoing.put(b"hello\n")
    assert not outgoing.waits and "no longer listens" in caplog.text
    outgoing.close()

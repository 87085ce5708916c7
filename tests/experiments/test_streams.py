"""Commands whose terminal, home or reader is gone."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from experiments import command_line, streams
from vae_jax.training.interruption import deferred


def test_a_reader_that_has_gone_stops_nothing():
    reading, writing = os.pipe()
    with open(writing, "w", encoding="ascii") as pipe:
        stream = streams.lasting(pipe)
        print("é", file=stream, flush=True)
        assert os.read(reading, 100) == b"\\xe9\n"
        os.close(reading)
        for _ in range(3):
            print("nobody reads this", file=stream, flush=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_file_that_cannot_be_written_is_an_error():
    with streams.Lasting("/dev/full", "w") as full, pytest.raises(OSError, match="No space left"):
        full.write(b"lost")


def test_two_interrupts_end_a_command_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(command_line, "_stopping", [])
    exits = []
    monkeypatch.setattr(os, "_exit", exits.append)
    with pytest.raises(KeyboardInterrupt):
        command_line._stop(2, None)
    assert not exits
    assert capfd.readouterr().err == "stopped by SIGINT\n"
    # Here os._exit returns.
    with pytest.raises(KeyboardInterrupt):
        command_line._stop(2, None)
    assert exits[0] == 130


def test_a_second_signal_gives_its_own_exit_code():
    with deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
    assert command_line.report(stop.value) == 128 + signal.SIGTERM
    assert command_line.report(KeyboardInterrupt()) == 128 + signal.SIGINT


def test_an_interrupt_that_a_library_turned_into_an_error_is_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_stopping", [])
    try:
        try:
            raise KeyboardInterrupt(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("of a library") from None
    except RuntimeError as error:
        assert command_line.report(error) == 128 + signal.SIGTERM
    assert command_line.report(RuntimeError("KeyboardInterrupt: <EMPTY>")) == 128 + signal.SIGINT
    assert capsys.readouterr().err == ""
    assert command_line.report(RuntimeError("a defect")) == 1
    assert "a defect" in capsys.readouterr().err
    monkeypatch.setattr(command_line, "_stopping", [130])
    assert command_line.report(RuntimeError("no result")) == 130
    assert capsys.readouterr().err == ""


def test_a_signal_in_a_collector_is_not_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)
    for kind in (KeyboardInterrupt, ValueError):
        command_line._show_unraisable(SimpleNamespace(exc_type=kind))
    assert [unraisable.exc_type for unraisable in shown] == [ValueError]


def test_a_command_without_home_and_streams_does_its_work(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment |= {"PYTHONIOENCODING": "ascii", "JAX_COMPILATION_CACHE_DIR": "", "HOME": "/proc/x"}
    output = tmp_path / "settings"
    command = f"{sys.executable} -m experiments.settings --markdown >{output} 2>&- <&-"
    assert subprocess.run(command, shell=True, env=environment).returncode == 0
    assert output.read_text().startswith("#")

"""Foreign exceptions become ours, each with its class and a sentence that names the host."""

import socket

import asyncssh
import pytest

from replicator.errors import (
    AgentFailed,
    AgentMissing,
    AgentTooOld,
    ChannelLost,
    ConnectFailed,
    HostKeyRefused,
    LoginRefused,
)
from replicator.transport import failures
from replicator.transport.bundle import DAMAGED, TOO_OLD


@pytest.mark.parametrize(
    ("foreign", "ours", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), ConnectFailed, "connection refused"),
        (TimeoutError(), ConnectFailed, "no answer in time"),
        (socket.gaierror(-2, "Name or service not known"), ConnectFailed, "unknown host name"),
        (OSError(113, "No route to host"), ConnectFailed, "No route to host"),
        (UnicodeError("label too long"), ConnectFailed, "no host name"),
        (asyncssh.ConnectionLost("Connection lost"), ConnectFailed, "Connection lost"),
        (asyncssh.ProtocolError("Bad MAC"), ConnectFailed, "Bad MAC"),
        (asyncssh.PermissionDenied("no"), LoginRefused, "authorized_keys of deploy"),
        (asyncssh.KeyImportError("Invalid private key"), LoginRefused, "/key cannot be used"),
        (asyncssh.KeyEncryptionError("Unknown cipher"), LoginRefused, "/key cannot be used"),
        (FileNotFoundError(2, "No such file", "/key"), LoginRefused, "/key cannot be read"),
        (FileNotFoundError(2, "No such file", "/other"), ConnectFailed, "No such file"),
        (asyncssh.ChannelOpenError(1, "prohibited"), AgentFailed, "no session"),
        (asyncssh.HostKeyNotVerifiable("odd"), HostKeyRefused, "odd"),
    ],
)
def test_each_cause_has_its_class(foreign, ours, words):
    with pytest.raises(ours) as caught, failures.translated("h:1", user="deploy", identity="/key"):
        raise foreign
    assert type(caught.value) is ours
    assert str(caught.value).startswith("h:1: ")
    assert words in str(caught.value)
    assert caught.value.__cause__ is foreign


@pytest.mark.parametrize("error", [ChannelLost("x"), KeyboardInterrupt(), ZeroDivisionError()])
def test_ours_and_bugs_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, failures.translated("h", user="u", identity=""):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("status", "output", "ours"),
    [
        (TOO_OLD, "3.6.9", AgentTooOld),
        (127, "bash: line 1: python3: command not found", AgentMissing),
        (127, "sh: 1: python3: not found", AgentMissing),
        (127, "zsh:1: command not found: python3", AgentMissing),
        (1, "python3: Command not found.", AgentMissing),
        (127, "fish: Unknown command: python3", AgentMissing),
        (127, "/usr/bin/env: 'python3': No such file or directory", AgentMissing),
        (127, "bash: Zeile 1: python3: Kommando nicht gefunden.", AgentMissing),
        (127, "", AgentMissing),
        (
            127,
            "bash: line 1: /opt/replicator/bin/replicator: No such file or directory",
            AgentFailed,
        ),
        (127, "sh: 1: /opt/replicator/bin/python3: not found", AgentFailed),
        (1, "sudo: /opt/replicator/bin/python3: command not found", AgentFailed),
        (1, "ModuleNotFoundError: spam not found", AgentFailed),
        (DAMAGED, "", AgentFailed),
        (1, "This account is currently not available.", AgentFailed),
        (None, "closed", AgentFailed),
        (255, "", AgentFailed),
    ],
)
def test_why_an_agent_did_not_start(status, output, ours):
    error = failures.start_failure("h:1", status, output)
    assert type(error) is ours
    assert str(error).startswith("h:1: ")
    assert output in str(error)


def test_a_pinned_command_with_a_wrong_path_is_an_error_with_its_output():
    output = "bash: line 1: /opt/wrong/replicator: No such file or directory"
    text = str(failures.start_failure("h:1", 127, output))
    assert output in text
    assert "authorized_keys" in text
    assert "there is no python3" not in text


@pytest.mark.parametrize("output", ["", "This account is currently not available."])
def test_a_login_shell_that_runs_nothing_is_suspected(output):
    assert "login shell" in str(failures.start_failure("h:1", 1, output))

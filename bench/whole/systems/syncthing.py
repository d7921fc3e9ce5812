"""Syncthing: sends only here, receives only there, addresses fixed, nothing found or announced, no fsync."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.stage import Host
from bench.whole.systems.job import Job, System

PORT = 22_017
OPTIONS = """
  <options>
    <listenAddress>tcp://{listen}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled><localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled><startBrowser>false</startBrowser>
    <reconnectionIntervalS>1</reconnectionIntervalS><urAccepted>-1</urAccepted>
    <crashReportingEnabled>false</crashReportingEnabled><autoUpgradeIntervalH>0</autoUpgradeIntervalH>
  </options>
  <gui enabled="false"/>
"""
SERVE = "syncthing serve --home {home} --no-browser --no-restart --no-upgrade --no-default-folder"


class Syncthing(System):
    """One process on each host; the one on the backend connects to the others."""

    def start(self, hosts: Sequence[Host]) -> None:
        """Give everybody keys and settings, and run them; alone it need not run, since it learns of frontends at its start."""
        if not hosts:
            return
        job = self.job
        home = job.place / "syncthing"
        ours = _identity(["sh", "-c", _generate(str(home))])
        theirs = {host: self._prepare(host, ours) for host in hosts}
        devices = {name: f"tcp://{host.address}:{PORT}" for host, name in theirs.items()}
        devices[ours] = "dynamic"
        config = _config(str(job.source), "sendonly", devices, "127.0.0.1:0")
        (home / "config.xml").write_text(config)
        (Path(job.source) / ".stfolder").mkdir(exist_ok=True)
        for host in hosts:
            # The remote process ends when its standard input, the SSH connection, is closed.
            serve = f"{SERVE.format(home=shlex.quote(_home(job)))} & cat >/dev/null; kill $!; wait"
            self._spawn(job.stage.ssh(host, "sh", "-c", serve))
        self._spawn(SERVE.format(home=home).split())

    def fill(self, hosts: Sequence[Host]) -> None:
        """Start it; the eyewitnesses detect when it is done, because it does not report that."""
        self.start(hosts)

    def _prepare(self, host: Host, ours: str) -> str:
        """Make a frontend's keys and settings; return its name."""
        job = self.job
        theirs = _identity(job.stage.ssh(host, "sh", "-c", _generate(_home(job))))
        devices = {ours: "dynamic", theirs: "dynamic"}
        config = _config(job.target, "receiveonly", devices, f"{host.address}:{PORT}")
        write = f"mkdir -p {shlex.quote(job.target)}/.stfolder && cat >{shlex.quote(_home(job))}/config.xml"
        subprocess.run(job.stage.ssh(host, "sh", "-c", write), input=config, text=True, check=True)
        return theirs

    def stop(self) -> None:
        """End ours, and theirs by ending their input."""
        for child in self._children:
            if child.stdin:
                child.stdin.close()
        super().stop()


def _home(job: Job) -> str:
    return f"{job.target}.syncthing"


def _generate(home: str) -> str:
    return f"mkdir -p {shlex.quote(home)} && syncthing generate --no-default-folder --home {shlex.quote(home)} 2>&1"


def _identity(command: Sequence[str]) -> str:
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Device ID: (\S+)", said) or re.search(r"((?:[A-Z0-9]{7}-){7}[A-Z0-9]{7})", said)  # fmt: skip
    assert found, said
    return found[1]


def _config(folder: str, kind: str, devices: dict[str, str], listen: str) -> str:
    members = "".join(f'<device id="{name}"/>' for name in devices)
    known = "".join(
        f'<device id="{name}" name="{name[:7]}" compression="never"><address>{address}</address></device>\n'
        for name, address in devices.items()
    )
    return (
        '<configuration version="35">\n'
        f'  <folder id="bench" label="bench" path="{folder}" type="{kind}" rescanIntervalS="3600"'
        ' fsWatcherEnabled="true" fsWatcherDelayS="1" ignorePerms="false" autoNormalize="false">\n'
        f"    {members}<disableFsync>true</disableFsync><copiers>2</copiers>\n"
        f"  </folder>\n{known}{OPTIONS.format(listen=listen)}</configuration>\n"
    )

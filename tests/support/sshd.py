"""Real OpenSSH servers on loopback addresses, each with its own keys, log, environment and, as root, its own mounts."""

import contextlib
import functools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.tools import find, missing
from tests.support.waiting import FOREVER, wait_for

READ = "/usr/bin:/bin"
"""Directories of the programs that a login needs besides python3: sh, head, tr."""


def find_sshd():
    """Return the absolute path of sshd, which refuses to start by a relative one."""
    return find("sshd") or missing("sshd (apt-get install openssh-server)")


def find_keygen():
    """Return ssh-keygen's path."""
    return find("ssh-keygen") or missing("ssh-keygen (apt-get install openssh-client)")


def find_python(version):
    """Return the path of another Python, such as `3.9`."""
    if found := find(f"python{version}"):
        result = subprocess.run([found, "-c", ""], check=False, capture_output=True)
        if result.returncode == 0:  # a pyenv shim may exist without the version
            return found
    pattern = f".pyenv/versions/{version}*/bin/python{version}"
    found = sorted(Path.home().glob(pattern))
    return str(found[0]) if found else missing(f"python{version}")


def needs_namespaces():
    """Skip the test without permission to create a mount namespace."""
    command = ["unshare", "--mount", "--propagation", "private", "true"]
    if not find("unshare") or subprocess.run(command, check=False, capture_output=True).returncode:
        missing("the right to make mount namespaces (root)")


@functools.cache
def _version():
    printed = subprocess.run([find_sshd(), "-V"], check=False, capture_output=True, text=True)
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", printed.stdout + printed.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Keys:
    """A client's key pair, a certificate authority for host keys, and further keys. Several servers may share them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.identity = self.make("client")

    def make(self, name, passphrase="", kind="ed25519"):
        """Make a key pair; return the private key's path."""
        path = self.directory / name
        command = [find_keygen(), "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", path]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    @functools.cached_property
    def authority(self):
        """Path of the certificate authority's private key."""
        return self.make("authority")


@dataclass(frozen=True)
class Certificate:
    """Parameters of a host certificate; `principals` None: the address on which the server listens."""

    validity: str = "-1h:+1h"
    principals: str | None = None


class Sshd:
    """One server; runs until the context ends.

    Args:
        directory: its own directory; created if missing.
        keys: keys of the client that may log in, and of the certificate authority; default: new ones.
        address: loopback address on which it listens.
        forced_command: if given, `restrict,command="..."` in authorized_keys.
        python: interpreter that a login finds as python3; None: no python3.
        env: additional environment of logins.
        noise_bytes: number of bytes that each login prints before the command runs.
        certificate: if given, sign the host key with these parameters.
        binds: bind mounts that only its logins see: {absolute target: directory}.
        tmpfs: small file systems that only its logins see: {absolute target: size}.
        shell: login shell of all accounts; needs root.
        extra: additional lines of sshd_config.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keys: Keys | None = None,
        address="127.0.0.1",
        forced_command=None,
        python=sys.executable,
        env=None,
        noise_bytes=0,
        certificate: Certificate | None = None,
        binds=None,
        tmpfs=None,
        shell="",
        extra="",
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.keys = keys or Keys(directory / "keys")
        self.address = address
        self.port = 0
        self.log = directory / "sshd.log"
        self._process = None
        self._shell = shell
        self._mounts = {
            **(binds or {}),
            **(tmpfs or {}),
            **({"/etc/passwd": shell} if shell else {}),
        }
        self._binds = binds or {}
        self._tmpfs = tmpfs or {}
        self._extra = extra
        self._env = {"HOME": str(directory / "home"), "PATH": self._path_for(python), **(env or {})}
        self._noise = noise_bytes
        self._make_host_key(certificate)
        self.authorize(self.keys.identity, forced_command)

    def _path_for(self, python):
        """Create a directory with the python3 of logins; return their PATH."""
        (self.directory / "home").mkdir(exist_ok=True)
        bin_directory = self.directory / "bin"
        bin_directory.mkdir(exist_ok=True)
        if python is None:
            return str(bin_directory)
        # Link to the real interpreter: one of a virtual environment would not find its library through a second symlink.
        (bin_directory / "python3").unlink(missing_ok=True)
        (bin_directory / "python3").symlink_to(os.path.realpath(python))
        return f"{bin_directory}:{READ}"

    def _make_host_key(self, certificate):
        key = self.directory / "host_key"
        self.certified = certificate is not None
        keygen = find_keygen()
        if not key.exists():
            command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "host", "-f", key]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        if certificate is not None:
            principals = self.address if certificate.principals is None else certificate.principals
            command = [keygen, "-q", "-s", self.keys.authority, "-I", "host", "-h"]
            command += ["-n", principals] if principals else []
            command += ["-V", certificate.validity, f"{key}.pub"]
            subprocess.run(command, check=True)

    def authorize(self, identity, forced_command=None):
        """Authorize one key, and no other."""
        command = (forced_command or "").replace("\\", "\\\\").replace('"', '\\"')
        options = f'restrict,command="{command}" ' if forced_command else ""
        public = Path(f"{identity}.pub").read_text()
        (self.directory / "authorized_keys").write_text(options + public)

    def new_host_key(self):
        """Use a new host key from the next start on, as a new machine at the same address would."""
        (self.directory / "host_key").unlink()
        self._make_host_key(None)

    @property
    def frontend(self):
        """Address of the server for `discovery.frontends`."""
        return f"{self.address}:{self.port}"

    @property
    def host_key(self):
        """Type and base64 of its public host key."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def fingerprint(self):
        """Return the fingerprint of its host key, as ssh-keygen prints it."""
        command = [find_keygen(), "-l", "-f", self.directory / "host_key.pub"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    def known_hosts_line(self, marker=""):
        """Return its line for known_hosts; `marker` such as @revoked."""
        return f"{marker} [{self.address}]:{self.port} {self.host_key}\n".lstrip()

    def ca_line(self):
        """Return the @cert-authority line for known_hosts."""
        public = " ".join(Path(f"{self.keys.authority}.pub").read_text().split()[:2])
        return f"@cert-authority [{self.address}]:{self.port},{self.address} {public}\n"

    def logins(self):
        """Return the number of logins since the server was created."""
        return self.log.read_text(errors="replace").count("Accepted publickey")

    def see(self, path):
        """Return the path at which this process sees a path of the logins."""
        if not self._mounts:
            return Path(path)
        return Path(f"/proc/{self._process.pid}/root{path}")

    @property
    def pid(self):
        """Process id of the server."""
        return self._process.pid

    def sessions(self):
        """Return the process ids of all descendants of the server."""
        return _below(self._process.pid)

    def configuration(self):
        lines = [
            f"ListenAddress {self.address}:{self.port}",
            f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "PrintMotd no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "MaxStartups 100",
            "LogLevel VERBOSE",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in self._env.items()),
        ]
        if self.certified:
            lines.append(f"HostCertificate {self.directory}/host_key-cert.pub")
        if _version() >= (9, 8):
            lines.append("PerSourcePenalties no")  # tests fail to log in often, on purpose
        if self._noise:
            script = self.directory / "noisy"
            script.write_text(
                "#!/bin/sh\n"
                f"head -c {self._noise} /dev/zero | tr '\\0' '#'\n"
                'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
            )
            script.chmod(0o755)
            lines.append(f"ForceCommand {script}")
        return "\n".join([*lines, self._extra, ""])

    def _command(self, config):
        # pdeathsig: the server ends even if the test run is killed.
        leash = [find("setpriv"), "--pdeathsig", "KILL"] if find("setpriv") else []
        server = [*leash, find_sshd(), "-D", "-e", "-f", str(config)]
        if not self._mounts:
            return server
        steps = self._change_shell() if self._shell else []
        for target, directory in self._binds.items():
            Path(target).mkdir(parents=True, exist_ok=True)
            Path(directory).mkdir(parents=True, exist_ok=True)
            steps.append(f"mount --bind {shlex.quote(str(directory))} {shlex.quote(str(target))}")
        for target, size in self._tmpfs.items():
            Path(target).mkdir(parents=True, exist_ok=True)
            steps.append(f"mount -t tmpfs -o size={size},mode=755 tmpfs {shlex.quote(str(target))}")
        script = " && ".join([*steps, f"exec {shlex.join(server)}"])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def _change_shell(self):
        """Write a copy of /etc/passwd with another shell for all accounts; return the commands that mount it."""
        accounts = self.directory / "passwd"
        lines = Path("/etc/passwd").read_text().splitlines()
        accounts.write_text("".join(f"{line.rpartition(':')[0]}:{self._shell}\n" for line in lines))
        return [f"mount --bind {shlex.quote(str(accounts))} /etc/passwd"]

    def start(self):
        """Start the server, on its previous port if it had one; return when it accepts connections."""
        assert self._process is None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        config = self.directory / "sshd_config"
        fixed = self.port
        for _ in range(1 if fixed else 5):  # another process may take the free port meanwhile
            self.port = fixed or free_port(self.address)
            config.write_text(self.configuration())
            before = self._listening()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(config),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if self._accepts(before):
                return self
            self._process = None
        raise AssertionError(f"sshd did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def _listening(self):
        """Return how often its log reports listening. Not tested by connecting, which would add lines to the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.count(f"Server listening on {self.address} port {self.port}.")

    def _accepts(self, before):
        """Wait until it listens; return False if it ends instead."""
        process = self._process

        def settled():
            return process.poll() is not None or self._listening() > before

        wait_for(settled, f"sshd to listen, see {self.log}")
        return process.poll() is None

    def stop(self):
        """End the server and all its sessions, and wait for them."""
        process, self._process = self._process, None
        if process is None:
            return
        # Stop the server first, so that it accepts no connection while its sessions are listed.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)
        below = _below(process.pid)
        for pid in [process.pid, *below]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(FOREVER)
        wait_for(lambda: not any(map(_alive, below)), f"sessions {below} to end")

    @contextlib.contextmanager
    def frozen(self):
        """Stop server and sessions (SIGSTOP) until the context ends: connections stay open without an answer."""
        pids = [self._process.pid, *self.sessions()]
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # a session may end at any time
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def cut(self):
        """Kill all sessions, but not the server; for the backend this equals a crash of the frontend."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def free_port(address="127.0.0.1"):
    """Return a port on which no process listens at the moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def _parents():
    """Return {pid: (parent, state)} of all processes."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(entry.name)] = (int(fields[1]), fields[0])
    return found


def _below(root):
    """Return the process ids of all descendants."""
    parents = _parents()
    found = [root]
    for pid in found:
        found += [child for child, (parent, _) in parents.items() if parent == pid]
    return found[1:]


def _alive(pid):
    return _parents().get(pid, (0, "Z"))[1] not in "ZX"

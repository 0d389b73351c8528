"""A real SLURM on this machine's loopback alone, for tests and measurements: started in seconds, gone without a trace.

    python scripts/loopback_slurm.py COMMAND ...     start one, run a command with it, stop it

Two nodes of this one machine, a partition `main` and a partition `gpu` with devices that compute nothing, without systemd and
cgroups, all state in one folder. It needs root and Debian's packages slurm-wlm and munge, for accounting slurmdbd and
mariadb-server too (`scripts/setup.sh --dev` installs them). One at a time: commands that run inside jobs find SLURM's
configuration in /etc/slurm alone.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/slurm/slurm.conf")
LOCK = Path(tempfile.gettempdir()) / "trainatlas-loopback-slurm.lock"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb-admin")
MARK = "TRAINATLAS_LOOPBACK_NODE"
"""Variable of a slurmd's environment; all that it starts inherits it, so that a node's processes are known."""

_KILL_WAIT = 5  # seconds from SIGTERM to SIGKILL at a time limit
_READY = 60.0  # seconds that a daemon may take to answer
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class SlurmError(Exception):
    """SLURM does not do as it should; says which daemon and where its log lies."""


def obstacle(accounting: bool = True) -> str | None:
    """Return why no SLURM can be started here; None where one can."""
    missing = [name for name in PROGRAMS + ACCOUNTING_PROGRAMS * accounting if shutil.which(name, path=_PATH) is None]
    if missing:
        return (
            f"SLURM is not installed: there is no {', '.join(missing)}; `scripts/setup.sh --dev` installs it on Debian"
        )
    if os.geteuid():
        return "SLURM's daemons want root"
    if SYSTEM_CONFIG.exists() and not SYSTEM_CONFIG.is_symlink():
        return f"{SYSTEM_CONFIG} belongs to another SLURM"
    return None


class Slurm:
    """A cluster of nodes n1, n2, ... on this machine.

    Parameters
    ----------
    folder
        For configuration, state and logs; short, since a socket's path may have 107 bytes.
    accounting
        Whether slurmdbd and a database of its own run beside it.
    nodes, cpus, gpus
        How many nodes, and of each how many CPUs (more than there are, if wished) and devices.
    """

    def __init__(self, folder: Path, accounting: bool, nodes: int = 2, cpus: int = 4, gpus: int = 2) -> None:
        self.folder, self.accounting, self.cpus, self.gpus = folder, accounting, cpus, gpus
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = _free_ports(2 + nodes)
        self.environment = os.environ | {"SLURM_CONF": str(self._config), "PATH": _PATH}

    @property
    def _config(self) -> Path:
        return self.folder / "slurm.conf"

    def run(self, *words: str, check: bool = True) -> str:
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise SlurmError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def start(self) -> None:
        """Start every daemon and wait until all nodes are idle."""
        for name in ("state", "log", "spool", "munge", "devices"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o755)
        self._write_configuration()
        SYSTEM_CONFIG.parent.mkdir(parents=True, exist_ok=True)
        SYSTEM_CONFIG.unlink(missing_ok=True)
        SYSTEM_CONFIG.symlink_to(self._config)
        socket_path = str(self._munge_socket)
        munge = self.folder / "munge"
        places = [f"--{name}={munge / name}" for name in ("pid-file", "log-file", "seed-file")]
        self._spawn(
            "munged", "--foreground", "--force", f"--socket={socket_path}", f"--key-file={munge / 'key'}", *places
        )
        self._wait("munged", lambda: self._succeeds("munge", "-n", "-S", socket_path))
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self._wait("slurmctld", lambda: self._states() == ["idle"] * len(self.nodes))

    def _states(self) -> list[str]:
        return self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).split()

    def start_controller(self) -> None:
        """Start slurmctld, which goes on from the state it left."""
        self._spawn("slurmctld", "-D")
        self._wait("slurmctld", lambda: "is UP" in self.run("scontrol", "ping", check=False))

    def kill_controller(self) -> None:
        """Kill slurmctld; jobs go on."""
        self._end("slurmctld", signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._spawn("slurmd", "-D", "-N", node, name=node, environment={MARK: node})

    def crash_node(self, node: str) -> None:
        """End a node as a power cut would, its slurmd and all that runs under it, and tell slurmctld as a health check would.

        By itself slurmctld takes a node for lost after SlurmdTimeout, which is long here: on a busy machine all are slow to
        answer.
        """
        self._end(node, signal.SIGKILL)
        for _ in range(3):  # what was being started while the first were killed
            for process in _marked(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=crashed")

    def stop(self) -> None:
        """Cancel all jobs, end every daemon and all that is left of their jobs."""
        with contextlib.suppress(SlurmError, subprocess.TimeoutExpired):
            if "slurmctld" in self._daemons:
                subprocess.run(["scancel", "--user=root"], env=self.environment, timeout=5, check=False)
        self._end("slurmctld", signal.SIGTERM)
        for node in self.nodes:
            self._end(node, signal.SIGKILL)
            for process in _marked(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        for name in ("slurmdbd", "mariadbd", "munged"):
            self._end(name, signal.SIGTERM)
        if SYSTEM_CONFIG.is_symlink() and SYSTEM_CONFIG.readlink() == self._config:
            SYSTEM_CONFIG.unlink()

    # Daemons.

    @property
    def _munge_socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _spawn(self, program: str, *words: str, name: str = "", environment: dict[str, str] | None = None) -> None:
        name = name or program
        path = shutil.which(program, path=_PATH)
        assert path is not None, program
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [path, *words],
                env=self.environment | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _succeeds(self, *words: str) -> bool:
        return not subprocess.run(words, env=self.environment, capture_output=True, timeout=20, check=False).returncode

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _READY
        while not ready():
            code = self._daemons[name].poll()
            if code is not None or time.monotonic() > end:
                state = f"ended with {code}" if code is not None else f"is not ready after {_READY:.0f} s"
                logs = [self.folder / "log" / file for file in (f"{name}.out", f"{name}.log")]
                said = [line for log in logs if log.exists() for line in log.read_text(errors="replace").split("\n")]
                raise SlurmError(f"{name} {state}; in {self.folder / 'log'}: " + " | ".join(said[-12:]))
            time.sleep(0.05)

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(10)

    def _start_accounting(self) -> None:
        """Start a database that listens on a socket alone, and slurmdbd, which libmariadb leads there by a variable."""
        data, listening = self.folder / "database", str(self.folder / "database.socket")
        done = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"),
                *("--skip-test-db", "--auth-root-authentication-method=socket"),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SlurmError(f"mariadb-install-db: {done.stderr.strip()}")
        self._spawn(
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={listening}", "--skip-networking",
            f"--pid-file={self.folder / 'mariadbd.pid'}", "--innodb-lock-wait-timeout=900", "--skip-log-bin",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        self._wait(
            "mariadbd",
            lambda: self._succeeds("mariadb-admin", "--no-defaults", f"--socket={listening}", "-u", "root", "ping"),
        )
        self._spawn("slurmdbd", "-D", environment={"MYSQL_UNIX_PORT": listening})
        self._wait("slurmdbd", lambda: self._succeeds("sacctmgr", "-n", "-i", "show", "cluster"))

    # Configuration.

    def _write_configuration(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        for number in range(self.gpus):
            # Only a device node makes SLURM set CUDA_VISIBLE_DEVICES: these are more of /dev/null.
            with contextlib.suppress(FileExistsError):
                os.mknod(self.folder / "devices" / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        devices = f"{self.folder / 'devices' / 'gpu'}[0-{self.gpus - 1}]"
        lines = [f"NodeName={node} Name=gpu File={devices}\n" for node in self.nodes]
        (self.folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(lines))
        if self.accounting:
            path = self.folder / "slurmdbd.conf"
            path.write_text(self._dbd_conf())
            path.chmod(0o600)
        self._config.write_text(self._slurm_conf())

    def _dbd_conf(self) -> str:
        host = socket.gethostname().split(".")[0]
        return f"""\
AuthType=auth/munge
AuthInfo=socket={self._munge_socket}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={self._ports[1]}
SlurmUser=root
LogFile={self.folder / "log" / "slurmdbd.log"}
PidFile={self.folder / "slurmdbd.pid"}
CommitDelay=1
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
"""

    def _slurm_conf(self) -> str:
        host = socket.gethostname().split(".")[0]
        log, state = self.folder / "log", self.folder / "state"
        kept = (
            f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self._ports[1]}
AccountingStoragePass={self._munge_socket}
AccountingStorageTRES=gres/gpu
"""
            if self.accounting
            else "AccountingStorageType=accounting_storage/none\n"
        )
        nodes = "".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} RealMemory=64000 "
            f"Gres=gpu:{self.gpus} State=UNKNOWN\n"
            for node, port in zip(self.nodes, self._ports[2:], strict=True)
        )
        # proctrack/pgid, since linuxproc loses what outlives its batch shell; OverMemoryKill, since without cgroups nothing
        # else ends a job that is over its memory; cred_expire is what a requeued job waits before it starts again.
        return f"""\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self._ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self._munge_socket},cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile={self.folder / "slurmctld.pid"}
SlurmctldLogFile={log / "slurmctld.log"}
StateSaveLocation={state}
SlurmdPidFile={self.folder / "slurmd-%n.pid"}
SlurmdLogFile={log / "slurmd-%n.log"}
SlurmdSpoolDir={self.folder / "spool" / "%n"}
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=900
SlurmctldTimeout=30
SlurmdTimeout=300
InactiveLimit=0
KillWait={_KILL_WAIT}
CompleteWait=0
MessageTimeout=20
DefMemPerCPU=200
GresTypes=gpu
{kept}{nodes}\
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=20
"""


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if int(path.name) != os.getpid()]


def _environment(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _marked(node: str) -> list[int]:
    """Return what a node's slurmd has started, and what jobs on it run."""
    marks = {f"{MARK}={node}", f"SLURMD_NODENAME={node}"}
    return [process for process in _processes() if marks & set(_environment(process))]


@contextlib.contextmanager
def running(accounting: bool, nodes: int = 2, cpus: int = 4, gpus: int = 2) -> Iterator[Slurm]:
    """Keep a SLURM for as long as the block runs, after any other on this machine has ended."""
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            slurm = Slurm(Path(folder), accounting, nodes, cpus, gpus)
            try:
                slurm.start()
                yield slurm
            finally:
                slurm.stop()


def main() -> None:
    """Run a command with a SLURM of its own; ends with the command's status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--no-accounting", action="store_true", help="without slurmdbd and its database")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=4, help="of each node")
    parser.add_argument("--gpus", type=int, default=2, help="devices of each node")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    accounting = not given.no_accounting
    if not given.command:
        parser.error("no command")
    if (reason := obstacle(accounting)) is not None:
        sys.exit(f"loopback_slurm: {reason}")
    with running(accounting, given.nodes, given.cpus, given.gpus) as slurm:
        sys.exit(subprocess.run(given.command, env=slurm.environment, check=False).returncode)


if __name__ == "__main__":
    main()

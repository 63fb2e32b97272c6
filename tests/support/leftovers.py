"""The resources that the processes of a local cloud hold, read from /proc (Linux)."""

from dataclasses import dataclass
from pathlib import Path

_PAGE = 4096
# The growth that is allowed for one process. The heap of an interpreter does not shrink again.
_MOST_GROWTH = 24 * 1024 * 1024
# The control plane calls itself over connections that it keeps, of which it has both ends. How many
# it has depends on how many calls came at the same time, so some more may come at any time.
_KEPT = 2 * 4


@dataclass
class Held:
    """The resources of all processes of one role.

    `files` includes `sockets`. `memory` and `largest` are resident bytes: of all, and of the
    largest process.
    """

    processes: int = 0
    files: int = 0
    sockets: int = 0
    memory: int = 0
    largest: int = 0

    def __str__(self) -> str:
        """Return the resources on one line."""
        return (
            f"{self.processes} process, {self.files} files, {self.sockets} sockets, "
            f"{self.memory / 1e6:.0f} MB"
        )


State = dict[str, Held]


def processes(root: int) -> list[int]:
    """Return the ids of a process and all of its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may contain any character.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = [root] if root in parents else []
    for one in found:
        found.extend(pid for pid, parent in parents.items() if parent == one)
    return found


def state(root: int) -> State:
    """Return the resources by role: cloud, control, container, function."""
    found: State = {}
    for pid in processes(root):
        proc = Path(f"/proc/{pid}")
        try:
            command = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
            links = [str(link.readlink()) for link in (proc / "fd").iterdir()]
            memory = int((proc / "statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue  # the process has just ended
        held = found.setdefault(_role(pid == root, command), Held())
        held.processes += 1
        held.files += len(links)
        held.sockets += sum(link.startswith("socket:") for link in links)
        held.memory += memory
        held.largest = max(held.largest, memory)
    return found


def _role(is_root: bool, command: list[str]) -> str:
    if is_root:
        return "cloud"
    if "local.control_plane" in command:
        return "control"
    return "container" if "serve" in command else "function"


def grown(before: State, after: State, *, stored: int = 0) -> list[str]:
    """Return a sentence for each resource that has grown.

    `stored` is the number of bytes that the control plane was given to keep.
    """
    found = []
    for role in before.keys() | after.keys():
        was, now = before.get(role, Held()), after.get(role, Held())
        memory = _MOST_GROWTH + (stored if role == "control" else 0)
        kept = _KEPT if role == "control" else 0
        found += [
            f"{role}: {name} {getattr(was, name)} -> {getattr(now, name)}"
            for name, slack in (
                ("processes", 0),
                ("files", kept),
                ("sockets", kept),
                ("memory", memory),
            )
            if getattr(now, name) > getattr(was, name) + slack
        ]
    return found

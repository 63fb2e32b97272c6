"""The benchmark of a local cloud: it finds the work and the memory of all of its processes."""

import subprocess
import sys
from pathlib import Path

from bench import local_cloud
from bench.adapter import processes

WORKS = "while True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKS!r}])"


def test_the_work_of_descendants() -> None:
    """What a child of the measured process uses counts, under the name of the child."""
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    try:
        used: dict[str, float] = {}
        while not any(WORKS in name and "subprocess" not in name for name in used):
            used = local_cloud.cpu(process.pid, 1)
        busiest = max(used, key=lambda name: used[name])
        assert WORKS in busiest
        assert "subprocess" not in busiest
        assert local_cloud.proportional(process.pid) > 1_000_000
    finally:
        for pid in reversed(processes.tree(process.pid)):
            subprocess.run(["kill", "-9", str(pid)], check=True)
        process.wait()
    assert local_cloud.proportional(process.pid) == 0
    assert not Path(f"/proc/{process.pid}").exists()

"""The machine's kernel settings, which a cluster must leave as they are.

kubelet sets a few of them at every start and does not run where it may not: with its
`protectKernelDefaults` it would refuse a machine that has others. What is below /proc/sys/net
belongs to a network namespace, and so to the cluster; all else is the machine's, in whichever
namespaces the writer is. A laptop would reboot ten seconds after an oops, long after the tests.

So kubelet gets files of its own in their place, in the cluster's mount namespace, and the rest can
be read but not written there: a component that starts to set another one fails aloud.
"""

from __future__ import annotations

from pathlib import Path

SYS = Path("/proc/sys")
# What kubelet 1.36 sets: `setupKernelTunables` of pkg/kubelet/cm/container_manager_linux.go.
SET_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# The parts of /proc/sys that have no namespace, as far as components of a node write there.
OF_THE_MACHINE = ("fs", "kernel", "vm")


def settings() -> dict[str, str]:
    """The values that kubelet would change, as the caller's namespace has them."""
    return {name: (SYS / name).read_text().strip() for name in SET_BY_KUBELET}


def script(folder: Path) -> list[str]:
    """Lines of a shell in the cluster's mount namespace; the files in place lie in `folder`."""
    lines = [f"mkdir -p {folder}"]
    for part in OF_THE_MACHINE:
        lines.append(f"mount --bind {SYS / part} {SYS / part}")
        lines.append(f"mount -o remount,bind,ro {SYS / part}")
    for name in SET_BY_KUBELET:
        own = folder / name.replace("/", ".")
        lines.append(f"cat {SYS / name} > {own}")
        lines.append(f"mount --bind {own} {SYS / name}")
    return lines

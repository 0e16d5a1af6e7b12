"""A store on NFS: a kernel's server in one guest, kernels' clients in others, each mount of its own version."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.hosts.guests import PROGRAMS as EMULATION
from support.hosts.guests import Guest, Guests

PROGRAMS = {
    **EMULATION,
    "mkfs.ext4": "e2fsprogs",
    "rpc.nfsd": "nfs-kernel-server",
    "mount.nfs": "nfs-common",
    "rpcbind": "rpcbind",
    "ip": "iproute2",
}
VERSIONS = ("3", "4.2")
NETWORK = "10.79"
# Grace periods are for clients of a server that went down: this one has none yet.
SERVER = """\
mkdir -p /export /run/rpcbind
mount -t tmpfs none /var/lib/nfs
mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak
modprobe -a loop ext4 nfsd lockd
truncate --size 256M /run/disk
mkfs.ext4 -q /run/disk
mount -o loop /run/disk /export
echo 10 > /proc/sys/fs/nfs/nlm_grace_period
rpcbind -w
rpc.statd --no-notify
exportfs -o rw,no_root_squash,no_subtree_check,fsid=0 '*:/export'
rpc.nfsd --grace-time 10 4
rpc.mountd
"""
CLIENT = """\
mkdir -p /run/rpcbind
mount -t tmpfs none /var/lib/nfs
mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak
chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak
rpcbind -w
rpc.statd --no-notify
"""


@dataclass(frozen=True)
class Shared:
    """The server and its clients."""

    server: Guest
    clients: Sequence[Guest]

    def folder(self, version: str) -> Path:
        """Where a client sees what is mounted by this version; no two of these are one folder on the server."""
        return Path("/srv") / f"nfs-{version}"


def share(guests: Guests, *names: str) -> Shared:
    """A server and clients of these names, with every version mounted."""
    server = guests.add("server", to=names)
    shared = Shared(server, [guests.add(name) for name in names])
    guests.wait()
    cables = "".join(_cable(number, number, end=1) for number in range(len(names)))
    folders = "".join(f"mkdir /export/nfs-{version}\n" for version in VERSIONS)
    server.run("bash", "-exc", cables + SERVER + folders)
    for number, client in enumerate(shared.clients):
        mounts = "".join(_mount(number, version, shared.folder(version)) for version in VERSIONS)
        client.run("bash", "-exc", _cable(0, number, end=2) + CLIENT + mounts)
    return shared


def _cable(device: int, number: int, *, end: int) -> str:
    return f"ip addr add {NETWORK}.{number}.{end}/24 dev eth{device}\nip link set eth{device} up\n"


def _mount(number: int, version: str, folder: Path) -> str:
    root = "/export" if version == "3" else ""  # v4 sees what is exported as its root
    source = f"{NETWORK}.{number}.1:{root}/nfs-{version}"
    return f"mkdir -p {folder}\nmount -t nfs -o vers={version} {source} {folder}\n"

#!/bin/bash
# Record what the Docker Engine of a Debian release prints of networks and containers. For Debian, as root.
#
#   tests/container_engines/record.sh RELEASE FILE      as `forky tests/unit/status/golden/engine-28.5.2.json`
#   tests/container_engines/record.sh RELEASE FILE SCENE      who reaches whom in one of packet_scenes.py, as
#                                                             `forky tests/kernel/golden/packets-networks-28.5.2.json networks`
#
# The packages are unpacked into a temporary tree and run there, with its own network, mounts and processes: nothing is installed,
# nothing of this machine is touched, and nothing stays. The engine makes its own bridges and firewall there; record.py or
# record_packets.py asks it.
set -euo pipefail

release=$1 file=$(realpath "$2") scene=${3:-} here=$(cd "$(dirname "$0")" && pwd)
packages="docker.io containerd runc iptables busybox-static libc6 libgcc-s1 libsystemd0 libseccomp2 libcap2 libdevmapper1.02.1
    libudev1 libselinux1 libpcre2-8-0 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1 libnftnl11 libmnl0 libxtables12
    libip4tc2 libip6tc2 libnetfilter-conntrack3 libnfnetlink0"
work=$(mktemp -d) engine=
tree=$work/tree groups=/recorded-$$

finish() {
    if [ -n "$engine" ]; then # the parent of the namespace's first process: all end with it
        kill -KILL "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
        export -f remove_groups
        unshare --mount --cgroup bash -c remove_groups
    fi
    rm -rf --one-file-system "$work"
}
trap finish EXIT

remove_groups() { # of the containers; processes that were killed take a moment
    mount -t cgroup2 none "$tree/sys"
    for _ in $(seq 50); do
        rmdir "$tree/sys$groups"/* "$tree/sys$groups" 2>/dev/null || true
        [ -d "$tree/sys$groups" ] || return 0
        sleep 0.1
    done
    echo "control groups are left in $groups" >&2
}

main_archive() { # the machine's own Debian archive, as apt knows it
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
        awk '$2 !~ /-/ && !seen++ { print $1 }'
}

unpack() {
    mkdir -p "$work"/{lists/partial,cache/archives/partial,debs} "$tree"/{usr/{bin,sbin,lib,lib64},proc,sys,dev,run,tmp,etc,root,old}
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$tree/$folder"; done
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(main_archive) $release main" >"$work/engine.list"
    set -- -qq -o Acquire::Retries=3 -o APT::Sandbox::User= -o "Dir::Etc::sourcelist=$work/engine.list" -o Dir::Etc::sourceparts=-
    set -- "$@" -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
    apt-get "$@" update
    # shellcheck disable=SC2086 # several packages
    (cd "$work/debs" && apt-get "$@" download $packages)
    for package in "$work"/debs/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$tree"; done
    for name in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
        ln -sf xtables-nft-multi "$tree/usr/sbin/$name"
    done
    for name in sh ps; do ln -sf busybox "$tree/usr/bin/$name"; done
    cp /etc/passwd /etc/group "$tree/etc/"
    echo "nameserver 192.0.2.53" >"$tree/etc/resolv.conf"
    echo "127.0.0.1 localhost" >"$tree/etc/hosts"
}

serve() { # in namespaces of its own: a host with an uplink and the engine
    mount --make-rprivate /
    hostname alpha
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t sysfs sysfs "$tree/sys"
    mount --rbind /dev "$tree/dev"
    mount -t cgroup2 none "$tree/sys/fs/cgroup"
    ip link set lo up
    ip link add uplink0 type veth peer name outside0
    ip link set outside0 up
    ip link set uplink0 up
    ip address add 192.0.2.1/24 dev uplink0
    ip route add default via 192.0.2.2
    cd "$tree"
    pivot_root . old
    /usr/bin/busybox umount -l /old
    export PATH=/usr/sbin:/usr/bin
    exec dockerd --host=unix:///run/docker.sock --storage-driver=vfs --exec-opt=native.cgroupdriver=cgroupfs \
        "--cgroup-parent=$groups" $options
}

unpack
cd "$here/../.."
if [ -n "$scene" ]; then options=$(python3 -m tests.container_engines.record_packets "$scene"); else options=; fi
export tree groups options
export -f serve
unshare --net --mount --pid --uts --ipc --cgroup --fork --kill-child bash -euc serve >"$work/log" 2>&1 &
engine=$!
for _ in $(seq 120); do
    kill -0 "$engine" 2>/dev/null || break
    ! grep -q "API listen on" "$work/log" || break
    sleep 0.5
done
set -- "$tree/run/docker.sock" "$tree/usr/bin/busybox" "$(pgrep --parent "$engine")" "$scene"
python3 -m "tests.container_engines.record${scene:+_packets}" "$@" >"$work/recorded" || { tail -n 30 "$work/log" >&2; exit 1; }
mv "$work/recorded" "$file"
echo "recorded in $file"

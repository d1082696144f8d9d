#!/bin/sh
# Get the key-value servers that tests/contracts runs against: Consul, etcd, ZooKeeper. For Debian 12, as root.
#
#   tests/kv_servers/install.sh [FOLDER]      default ~/.cache/network-reconciler/kv-servers
#
# Consul and etcd are single static binaries: their packages are unpacked into FOLDER, not installed, so that no daemon
# is started. ZooKeeper's jars come as the package libzookeeper-java, which has none. A repeat is harmless and quick.
set -eu

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/network-reconciler/kv-servers}
mkdir -p "$folder/apt/lists/partial"
folder=$(cd "$folder" && pwd)

unpack() { # PACKAGE PROGRAM APT-OPTION…: take one program out of a package
    package=$1 program=$2
    shift 2
    work=$(mktemp -d)
    (cd "$work" && apt-get -q "$@" -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb tree)
    install -m 755 "$work/tree/usr/bin/$program" "$folder/$program"
    rm -rf "$work"
}

main_archive() { # the machine's own Debian archive, as apt knows it
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
        awk '$2 !~ /-/ && !seen++ { print $1 }'
}

[ -e "$folder/etcd" ] && [ -e /usr/share/java/zookeeper.jar ] && command -v java >/dev/null || apt-get -q update

if [ ! -e "$folder/consul" ]; then # bookworm has none: the release before it has 1.8
    list=$folder/apt/consul.list
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(main_archive) bullseye main" >"$list"
    set -- -o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/apt/lists"
    apt-get -q "$@" update
    unpack consul consul "$@"
fi
[ -e "$folder/etcd" ] || unpack etcd-server etcd
if [ ! -e /usr/share/java/zookeeper.jar ] || ! command -v java >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends libzookeeper-java default-jre-headless
fi

rm -rf "$folder/apt"
echo "key-value servers are in $folder"

#!/bin/sh
# Get the key-value servers that tests/contracts runs against: Consul, etcd, ZooKeeper. For Debian 12.
#
#   tests/kv_servers/install.sh [FOLDER]      default ~/.cache/network-reconciler/kv-servers
#
# Consul and etcd are single static binaries: their packages are unpacked into FOLDER, not installed, so that no daemon
# is started; that needs no rights. ZooKeeper's jars come as the package libzookeeper-java, which has no daemon: that,
# and the tools that the tests use, are installed if we are root, else named. A repeat is harmless and quick.
set -eu

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/network-reconciler/kv-servers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
apt=$folder/apt
trap 'rm -rf "$apt"' EXIT

get() { # what apt-get says goes to stderr; a mirror that stumbles is asked again
    apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

unpack() { # PACKAGE PROGRAM APT-OPTION…: take one program out of a package
    package=$1 program=$2
    shift 2
    rm -rf "$apt/work" && mkdir -p "$apt/work"
    (cd "$apt/work" && get "$@" -o APT::Sandbox::User= download "$package" && dpkg-deb -x "$package"_*.deb tree)
    install -m 755 "$apt/work/tree/usr/bin/$program" "$folder/$program"
}

main_archive() { # the machine's own Debian archive, as apt knows it
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
        awk '$2 !~ /-/ && !seen++ { print $1 }'
}

missing=
[ -e /usr/share/java/zookeeper.jar ] || missing="$missing libzookeeper-java"
for pair in java:default-jre-headless curl:curl openssl:openssl; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "Please install:$missing" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # several packages
    set -- install --yes --no-install-recommends $missing
    get "$@" || { get update && get "$@"; }
fi

[ -e "$folder/etcd" ] || unpack etcd-server etcd || { get update && unpack etcd-server etcd; }

if [ ! -e "$folder/consul" ]; then # bookworm has none; the release before it has 1.8
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keys] $(main_archive) bullseye main" >"$apt/consul.list"
    set -- -o "Dir::Etc::sourcelist=$apt/consul.list" -o Dir::Etc::sourceparts=-
    set -- "$@" -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=
    get "$@" update
    unpack consul consul "$@"
fi
echo "key-value servers are in $folder"

#!/bin/sh
# Get the container engines that tests/kernel and tests/examples run: Docker with its containerd, Podman, and runc. For Debian 12.
#
#   tests/container_engines/install.sh [FOLDER]      default ~/.cache/network-reconciler/container-engines
#
# The packages are unpacked into FOLDER, not installed: installing them starts a daemon, which changes the machine's firewall.
# That needs no rights. Common libraries are installed if we are root, else named. A repeat is harmless and quick.
set -eu

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/network-reconciler/container-engines}
programs="usr/sbin/dockerd usr/bin/docker usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/sbin/runc
    usr/bin/podman usr/bin/conmon"
packages="docker.io containerd runc podman conmon libsubid4 libgpgme11 libassuan0"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$folder/.work
trap 'rm -rf "$work"' EXIT

get() { # what apt-get says goes to stderr; a mirror that stumbles is asked again
    apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

download() {
    # shellcheck disable=SC2086 # several packages
    (cd "$work" && get -o APT::Sandbox::User= download $packages)
}

if [ ! -e "$folder/complete" ]; then
    rm -rf "$work" && mkdir -p "$work"
    download || { get update && download; }
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
    for program in $programs; do install -m 755 "$work/tree/$program" "$folder/"; done
    mkdir -p "$folder/lib"
    cp -P "$work"/tree/usr/lib/*/lib*.so.* "$folder/lib/"
    touch "$folder/complete"
fi

missing=
for pair in libdevmapper.so.1.02.1:libdevmapper1.02.1 libseccomp.so.2:libseccomp2 libsystemd.so.0:libsystemd0 libglib-2.0.so.0:libglib2.0-0; do
    PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | grep -qF "${pair%%:*}" || missing="$missing ${pair#*:}"
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
echo "the container engines are in $folder"

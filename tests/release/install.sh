#!/bin/sh
# Get a small Debian 12 into a folder, for tests/release to install our package in: Python, nftables, iproute2, nothing of ours.
#
#   tests/release/install.sh [FOLDER]      default ~/.cache/network-reconciler/debian-12
#
# Only root can: for others nothing happens, and the test that needs it says so. A repeat is harmless and quick.
set -eu

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/network-reconciler/debian-12}
if [ -e "$folder/complete" ] || [ "$(id -u)" -ne 0 ]; then exit 0; fi
work=$folder.new
trap 'rm -rf "$work"' EXIT

"$(dirname "$0")/../../.ci/install-tools" mmdebstrap:mmdebstrap
archive=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
    awk '$2 !~ /-/ && !seen++ { print $1 }')
rm -rf "$folder" "$work" && mkdir -p "$work"
packages() { # a mirror that stumbles is asked again
    mmdebstrap --quiet --mode=root --variant=minbase --include=python3,nftables,iproute2 bookworm "$work/root" "$archive" >&2
}
packages || { rm -rf "$work/root" && sleep 5 && packages; }
touch "$work/complete"
mv "$work" "$folder"

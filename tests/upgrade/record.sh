#!/bin/sh
# Record what a version writes that later ones read, for tests/unit/upgrade. As root, in namespaces of its own:
#
#   unshare -nm tests/upgrade/record.sh CODE FOLDER      CODE: a checkout of that version
set -eu
code=$1 folder=$2
mount -t tmpfs run /run
ip link set lo up
export PYTHONPATH="$code"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/specs" "$folder"
cat >"$work/specs/specs.yaml" <<'SPECS'
networks:
  front: {driver_opts: {com.docker.network.driver.mtu: "1400"}, labels: {team: web}}
  back: {internal: true, enable_ipv6: true, ipam: {config: [{subnet: 172.30.0.0/16, aux_addresses: {printer: 172.30.0.9}}]}}
  lan: {driver: macvlan, driver_opts: {macvlan_mode: bridge}}
attachments:
  web:
    networks: {front: {aliases: [www]}, back: {ipv4_address: 172.30.0.7}}
    ports: ["8080:80", "9000-9001:9000-9001/udp"]
    links: ["db:data"]
    sysctls: {net.ipv4.ip_unprivileged_port_start: "0"}
  db: {networks: [front, back], expose: ["5432"]}
  printer: {networks: [lan]}
  alone: {}
SPECS
reconcile() { (cd "$work" && python3 -P -m reconciler --host alpha --state-dir "$work/state" "$@"); }
reconcile
reconcile snapshot | gzip -9n >"$folder/snapshot.json.gz"
sed -i '/^  alone/d' "$work/specs/specs.yaml"
reconcile --dry-run --out "$folder/plan.json" >"$folder/plan.txt"
cp "$work/specs/specs.yaml" "$work/state/state.db" "$work/state/last-good.json" "$work/state/verified.json" "$folder/"
reconcile down

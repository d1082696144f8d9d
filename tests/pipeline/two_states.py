"""Two states of a host that differ in every kind of object that a bridge network has: what tests of the ways between them use."""

from __future__ import annotations

from typing import Final

FIRST: Final = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}
  back: {internal: true, enable_ipv6: true, ipam: {config: [{subnet: 10.2.0.0/24}, {subnet: "fd00:2::/64"}]}}
attachments:
  one: {}
  two: {networks: {front: {}, back: {}}, ports: ["8080:80"]}
  three: {networks: {back: {}}}
"""

SECOND: Final = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.254}]}, labels: {new: "yes"},
          driver_opts: {com.docker.network.driver.mtu: "1400"}}
  side: {ipam: {config: [{subnet: 10.3.0.0/24}]}}
  back: {internal: false, ipam: {config: [{subnet: 10.2.0.0/24}]}}
attachments:
  one: {networks: {side: {interface_name: lan0}}}
  two: {networks: {front: {mac_address: "02:42:00:00:00:77"}}}
  four: {networks: {front: {ipv4_address: 10.1.0.99}, side: {}}}
"""

SANDBOXES: Final = ("one", "two", "three", "four")

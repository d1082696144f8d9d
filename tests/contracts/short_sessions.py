"""Sessions of Consul that are shorter than its default allows: our servers take them (session_ttl_min in `tests.kv_servers`)."""

from __future__ import annotations

from reconciler.kv import consul


class _Seconds(int):
    """What the client library, which insists on Consul's default, takes for long enough."""

    def __ge__(self, other: object) -> bool:
        return True


CHANGES = {
    "SESSION_TTL_S": range(1, consul.SESSION_TTL_S.stop),
    "round": lambda ttl_s: _Seconds(round(ttl_s)),
}
"""Of the module `reconciler.kv.consul`, for a process of tests."""

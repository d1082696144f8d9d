from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from reconciler.importing.pools import Pool, pool_entries
from reconciler.importing.values import NotCarried
from reconciler.model.subnets import usable, usable_in_range

SUBNET = ip_network("10.1.2.0/26")
GATEWAY = ip_address("10.1.2.1")


@given(st.integers(1, 63), st.integers(1, 63))
def test_a_range_gives_out_what_it_did_or_less_and_says_so(first: int, last: int) -> None:
    told: list[NotCarried] = []
    pool = Pool(subnet=str(SUBNET), first=str(SUBNET[min(first, last)]), last=str(SUBNET[max(first, last)]))

    (entry,) = pool_entries([pool], "here", told)

    block = ip_network(entry["ip_range"]) if "ip_range" in entry else None
    low, high = usable_in_range(SUBNET, block)  # type: ignore[arg-type]  # of one family
    reserved = entry.get("aux_addresses", {})
    assert isinstance(reserved, dict)
    given_out = set(range(low, high + 1)) - {int(ip_address(each)) for each in reserved.values()} - {int(GATEWAY)}
    lowest, highest = usable(SUBNET)
    meant = {int(SUBNET[at]) for at in range(min(first, last), max(first, last) + 1)} - {int(GATEWAY)}
    meant &= set(range(lowest, highest + 1))
    assert given_out <= meant
    assert given_out == meant or told


def test_what_is_no_subnet_or_no_part_of_it_is_told_or_left_to_the_loader() -> None:
    told: list[NotCarried] = []
    pools = [
        Pool(subnet="10.1.0.7/24", gateway="10.1.0.1", first="10.2.0.1", last="10.1.0.9"),
        Pool(subnet="nonsense"),
        Pool(subnet="10.3.0.0/24"),
    ]

    entries = pool_entries(pools, "here", told)

    assert entries == [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}, {"subnet": "nonsense"}]
    assert [each.what for each in told] == ["addresses 10.2.0.1-10.1.0.9", "subnet 10.3.0.0/24"]

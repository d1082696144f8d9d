from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Seen, Sysctl, Unit
from reconciler.sandbox.compile import sysctl_path
from reconciler.sandbox.readings import Reading, decode_readings, kept_readings, seen_as_typed

READING = Reading(ns=NsRef("netns:a"), name="net/ipv4/ip_default_ttl", typed="0x20", given="32")
RECORDS = {READING.path: READING.text()}


def seen(value: str) -> dict[tuple[str, ...], Seen]:
    setting = replace(READING.setting, value=value)
    return {setting.key: Seen(setting, is_ours=False)}


def test_setting_that_is_as_it_was_read_is_seen_as_it_was_typed() -> None:
    key = READING.setting.key

    assert seen_as_typed(seen("32"), (READING,)) == {key: Seen(READING.setting, is_ours=False)}
    assert seen_as_typed(seen("64"), (READING,)) == {}
    assert seen_as_typed({}, (READING,)) == {}


def test_record_stays_as_long_as_the_setting_is_wanted_as_it_was_typed() -> None:
    unit = Unit(attachment="a")
    same, other = (Sysctl(unit=unit, ns=READING.ns, name=READING.name, value=value) for value in ("0x20", "32"))

    (kept,) = kept_readings({same.key: same}.get, (READING,))
    assert (kept.unit, kept.path, kept.value) == (unit, READING.path, RECORDS[READING.path])
    assert list(kept_readings({other.key: other}.get, (READING,))) == []
    assert list(kept_readings({}.get, (READING,))) == []


@given(
    st.text(max_size=40) | st.just(READING.text()) | st.just(READING.text().replace("netns", "\\ud800")),
    st.sampled_from([READING.path, "reading/", "reading/x", "sysctl/x"]),
)
def test_records_that_are_none_are_passed_over(text: str, path: str) -> None:
    assert decode_readings(RECORDS) == (READING,)
    assert decode_readings({path: text}) == ((READING,) if {path: text} == RECORDS else ())


def test_slash_in_a_name_with_dots_is_a_dot_of_the_path() -> None:
    assert sysctl_path("net.ipv4.conf.eth0/10.rp_filter") == "net/ipv4/conf/eth0.10/rp_filter"

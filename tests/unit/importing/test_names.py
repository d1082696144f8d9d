from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.importing.names import renamed, spec_names
from reconciler.spec.fields import parse_served_name


def test_names_that_specs_take_stay() -> None:
    assert spec_names(["web", "db_1", "a.b"]) == {"web": "web", "db_1": "db_1", "a.b": "a.b"}


def test_two_that_fall_together_get_a_number() -> None:
    assert spec_names(["my web", "my-web", "my/web"]) == {
        "my web": "my-web-2",
        "my-web": "my-web",
        "my/web": "my-web-3",
    }


@given(st.lists(st.text(max_size=200) | st.text("ab/. ", max_size=140)))
def test_every_name_is_one_that_specs_take_and_nobody_elses(names: list[str]) -> None:
    found = spec_names(names)

    assert [parse_served_name(name) for name in found.values()] == list(found.values())
    assert len({*found.values()}) == len({*names})


def test_a_new_name_is_told() -> None:
    assert renamed("x", "web", "web") == ()
    (told,) = renamed("container 5", "my web", "my-web")
    assert str(told).startswith("container 5: not carried: the name 'my web': specs take letters, digits,")
    assert str(told).endswith("it is called 'my-web' here")

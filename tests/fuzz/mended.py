"""What the fuzzer found in the product, and the test that keeps it out: border, what it was, test."""

from __future__ import annotations

from typing import Final

MENDED: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "consul",
        "a version of `1e999`, which is infinite, and nesting without end were no error of ours; a bad number was repeated in full",
        "unit/kv/test_strange_answers.py::test_of_consul",
    ),
    ("etcd", "a revision of `1e999` likewise", "unit/kv/test_strange_answers.py::test_of_etcd"),
    (
        "state folder",
        "numbers beyond those of machines, in JSON and in files of the guards",
        "unit/records/test_fields.py::test_number_with_more_digits_than_machines_have_is_none",
    ),
    (
        "state folder",
        "a suspension until a year that no calendar has",
        "unit/guard/test_suspension.py::test_a_moment_that_no_calendar_has_is_the_last_one",
    ),
    (
        "netlink events",
        "an event shorter than its header",
        "unit/kernel/test_strange_answers.py::test_an_event_shorter_than_its_header_may_concern_anything",
    ),
    (
        "netlink dumps",
        "a tracked connection without a header, or without addresses; an error with a number too large to be named",
        "unit/kernel/test_strange_answers.py::test_a_connection_shorter_than_its_header_is_refused",
    ),
    (
        "nft listings",
        "objects without their names or of other types, in seventeen places",
        "unit/kernel/test_strange_answers.py::test_what_is_no_listing_is_an_error_of_ours",
    ),
    (
        "zones",
        "a list in the place of a request's name ended the name server",
        "unit/dns/test_control.py::test_a_request_that_is_none_is_refused_in_a_few_words",
    ),
    (
        "status files",
        "three marks that turn the writing direction reached the terminal",
        "unit/status/test_status_json_text.py::test_character_that_could_harm_a_terminal_is_escaped",
    ),
    (
        "status files",
        "half of a surrogate pair in a status file or the journal kept the state from the page",
        "unit/watch/test_live_page.py::test_half_of_a_pair_in_the_files_keeps_no_state_from_who_looks",
    ),
    (
        "sealed files",
        "half of a surrogate pair in a snapshot's paths was an error that is not ours, when the plan was made from it",
        "unit/records/test_sealed.py::test_half_a_character_is_refused_and_bytes_of_paths_are_none",
    ),
    (
        "sealed files",
        "a snapshot with values of ours in a file of the state folder, which holds JSON",
        "unit/snapshot/test_typed.py::test_types_hold_down_to_the_last_part",
    ),
    (
        "import compose",
        "a fault of several lines, for a variable with a line break; the reason that `:?` gives showed values",
        "unit/importing/test_compose_variables.py::test_what_is_no_variable_is_refused",
    ),
    (
        "formatting",
        "a blank behind a carriage return kept it for the next round",
        "unit/cli/test_fmt.py::test_a_carriage_return_at_the_end_of_a_line_goes_at_once",
    ),
    (
        "own records",
        "half of a surrogate pair in the path of a record",
        "unit/ipam/test_promises.py::test_misfit_is_left_out_and_harms_no_other",
    ),
    (
        "sealed files",
        "a snapshot with a checksum that fits, and members of other types or under other keys",
        "unit/snapshot/test_typed.py::test_one_with_a_member_of_another_type_is_refused",
    ),
    (
        "configuration",
        "one `K=V` where a list of them is expected",
        "unit/cli/test_cli_options.py::test_fault_of_the_file_is_named_with_its_place",
    ),
    (
        "import engines",
        "two containers of one name made specs that do not load",
        "unit/importing/test_carried.py::test_what_has_the_name_of_another_is_left_out_and_named",
    ),
    (
        "formatting",
        "carriage returns at the ends of lines went one by one, a round each",
        "unit/cli/test_fmt.py::test_a_carriage_return_at_the_end_of_a_line_goes_at_once",
    ),
    (
        "command lines",
        "an argument that nobody expected could control the terminal",
        "unit/cli/test_cli_terminal.py::test_what_was_typed_wrongly_controls_no_terminal",
    ),
    (
        "git addresses",
        "an address or host that begins with a dash, which programs may take for an option",
        "unit/watch/test_git_source.py::test_addresses_that_run_programs_or_tell_secrets_are_refused",
    ),
)

import typing

from gru_complete.training import events


def test_the_names_in_the_log_are_a_file_format():
    names = {kind.__name__: kind.log_name for kind in typing.get_args(events.Event) if hasattr(kind, "log_name")}
    assert names == {
        "Stepped": "stepped",
        "Evaluated": "looked",
        "Replanned": "replanned",
        "RolledBack": "wentback",
    }

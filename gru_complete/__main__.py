"""Where the process starts, as ``gru-complete`` and as ``python -m gru_complete``."""

from gru_complete.search_paths import leave_out_current_directory, leave_out_relative_programs

if __name__ == "__main__":
    leave_out_current_directory()

from gru_complete.cli.loading import no_garbage_collection


def main() -> None:
    """The console script ``gru-complete``."""
    leave_out_relative_programs()
    with no_garbage_collection():
        from gru_complete.cli import app
    app.main()


if __name__ == "__main__":
    main()

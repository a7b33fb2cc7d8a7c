"""Where the process starts, as ``gru-complete`` and as ``python -m gru_complete``."""

if __name__ == "__main__":
    from gru_complete.import_path import leave_out_current_directory

    leave_out_current_directory()

from gru_complete.cli.loading import no_garbage_collection


def main() -> None:
    """The console script ``gru-complete``."""
    with no_garbage_collection():
        from gru_complete.cli import app
    app.main()


if __name__ == "__main__":
    main()

"""``python -m gru_complete`` is ``gru-complete``."""

from gru_complete.cli.app import main

if __name__ == "__main__":
    main()

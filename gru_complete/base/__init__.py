"""The models that come with the program, each in a directory of its name, and how they are made (``__main__.py``)."""

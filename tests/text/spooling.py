"""Reading documents for the tests of the corpus."""

import io

from gru_complete.errors import CorpusError
from gru_complete.text.corpus import spool

TEXT_FILES = (".txt", "md")


def spooled(data, name="-"):
    """What one document becomes, with its report."""
    out = io.BytesIO()
    return out.getvalue, spool([name], out, extensions=TEXT_FILES, stdin=io.BytesIO(data))


def outcome(data):
    """The clean text and the report, or the error."""
    out = io.BytesIO()
    try:
        report = spool(["-"], out, extensions=(), stdin=io.BytesIO(data)).report
    except CorpusError as error:
        return str(error)
    return out.getvalue(), report


def spool_files(sources):
    out = io.BytesIO()
    result = spool([str(source) for source in sources], out, extensions=TEXT_FILES)
    return out.getvalue(), result

"""JSON that others wrote, read into msgspec structs whose types say what fits.

A mistake is told by its path, as `parts[3].rows`, and by what should stand there; never by the value that stands there.
"""

from __future__ import annotations

import codecs
import re
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

#: The greatest number that PostgreSQL, BigQuery and Cloud Storage all have a place for.
MAX_INT64 = 2**63 - 1

Count = Annotated[int, Meta(ge=0, le=MAX_INT64)]
Number = Annotated[int, Meta(ge=1, le=MAX_INT64)]

#: A whole number as text, as JSON for 64 bits often has it.
Digits = Annotated[str, Meta(pattern=r"\A[0-9]{1,18}\Z")]

#: A name, of an object at the longest. No text of PostgreSQL holds a NUL
#: (https://www.postgresql.org/docs/current/datatype-character.html), and no UTF-8 half a surrogate pair.
Text = Annotated[str, Meta(max_length=1_024, pattern=r"\A[^\0\ud800-\udfff]*\Z")]

#: An instant; what is made of it says which years it may be of.
Instant = Annotated[datetime, Meta(tz=True)]


class MalformedError(ValueError):
    """What is wrong with a document, in a few words that quote nothing of it."""


class Reader[T]:
    """Reads documents of one type. Make a reader when a module is imported: threads that make the first one of a type
    at once crash the process.
    """

    def __init__(self, type_: type[T]) -> None:
        self._type, self._decoder = type_, msgspec.json.Decoder(type_)

    def read(self, content: bytes) -> T:
        """The document. Raises MalformedError."""
        try:
            return self._decoder.decode(content.removeprefix(codecs.BOM_UTF8))
        except msgspec.ValidationError as e:
            raise MalformedError(_told(str(e))) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedError("is not JSON in UTF-8") from None

    def convert(self, value: object) -> T:
        """The document in JSON that a library has parsed already. Raises MalformedError."""
        try:
            return msgspec.convert(value, self._type)
        except msgspec.ValidationError as e:
            raise MalformedError(_told(str(e))) from None
        except UnicodeEncodeError:
            raise MalformedError("has a field whose name is not UTF-8") from None


def _told(error: str) -> str:
    """What msgspec says, in the words of JSON, with the path before it. What it quotes of the document is left out: the
    names of fields that it has are those of the types.
    """
    what, _, place = error.rpartition(" - at ") if " - at " in error else (error, "", "")
    key = "a key of " if place.startswith("`key` in ") else ""
    path = place.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".") or "the document"
    return f"{key}{path} {next((told for begins, told in _TOLD.items() if what.startswith(begins)), _reworded(what))}"


def _reworded(what: str) -> str:
    """Of `Expected `int | null`, got `str``, what people say; what our own types say is left as it is."""
    if field := re.fullmatch(r"Object contains unknown field `([A-Za-z_][A-Za-z0-9_]{0,62})`", what):
        return f"has a field that is not known here, {field[1]}"
    if what.startswith("Object contains unknown field"):
        return "has a field that is not known here"
    what = re.sub(r"`([a-z0-9 |]+)`", lambda m: " or ".join(_WORDS.get(word, word) for word in m[1].split(" | ")), what)
    what = what.replace("Object missing required field", "lacks").replace("Expected ", "should be ").replace("`", "")
    return re.sub(r", got (?!\d)", ", and is ", what)


#: How msgspec begins what quotes the document, or a pattern.
_TOLD = {
    "Expected `str` matching": "is not spelt as it should be",
    "Invalid RFC3339": "should be a time as RFC 3339 writes it",
    "Invalid": "has a value that is not known here",
    "Integer value out of range": "is out of range",
    "Number out of range": "is out of range",
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "a time",
}

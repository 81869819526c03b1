"""What a table's columns need for staged parts to become its children."""

import pytest

from shared.errors import TargetError
from shared.target.columns import changes

AB, ABC = {"a": "integer", "b": "text"}, {"a": "integer", "b": "text", "c": "date"}
WIDE = {"a": "bigint", "b": "text"}

#: What the table has, the catalog, the parts and what is to be kept; then what is added, dropped and retyped.
CASES = {
    "nothing": ((AB, AB, [AB, AB], ()), ({}, (), {})),
    "no part": ((AB, ABC, [], ()), ({"c": "date"}, (), {})),
    "a column more": ((AB, ABC, [ABC], ()), ({"c": "date"}, (), {})),
    "a part that was staged before it": ((AB, ABC, [AB, ABC], ()), ({"c": "date"}, (), {})),
    "a column less": ((ABC, AB, [AB], ()), ({}, ("c",), {})),
    "a part that was staged before it went": ((ABC, AB, [ABC, AB], ()), ({}, (), {})),
    "another type": ((AB, WIDE, [WIDE], ()), ({}, (), {"a": "bigint"})),
    "parts of the older type": ((AB, WIDE, [AB], ()), ({}, (), {})),
    "back to the older type": ((WIDE, WIDE, [AB], ("a", "b")), ({}, (), {"a": "integer"})),
    "back to a column that went": ((AB, AB, [ABC], ("a", "b")), ({"c": "date"}, (), {})),
    "back to before a column": ((ABC, ABC, [AB], ("a", "b", "c")), ({}, (), {})),
    "back, and the catalog went on": ((AB, WIDE, [{"b": "text"}], ("a", "b")), ({}, (), {})),
    "a column of others": ((ABC, AB, [AB], ("c",)), ({}, (), {})),
    "renamed": (({"a": "integer"}, {"b": "text"}, [{"b": "text"}], ()), ({"b": "text"}, ("a",), {})),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_what_changes(given, expected):
    present, _, _, _ = given
    found = changes(*given)
    assert (found.added, found.dropped, found.retyped) == expected
    assert bool(found) == any(expected)
    assert found.breaking == (*found.dropped, *found.retyped)
    stays = {name: type_ for name, type_ in present.items() if name not in found.dropped}
    assert found.columns == {**stays, **found.retyped, **found.added}
    assert list(found.columns) == [*stays, *found.added]


def test_parts_that_contradict_each_other_are_refused():
    with pytest.raises(TargetError, match="a is integer in one part and bigint in another"):
        changes(AB, WIDE, [AB, WIDE], ())

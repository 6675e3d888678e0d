"""Line numbers of TOML keys."""

from __future__ import annotations

from seedcli.recipe.layers import lines_of

TEXT = '''\
a = 1  # comment = 9

b.c = """
x = 1
[not.a.table]
"""
list = [
  { k = 1 },
  2,
]
"quoted key" = { deep = { deeper = 1 } }

[table.inner] # a table
d = 1
[[many]]
e = 1
[many.sub]
f = 1
[[many]]
[[many.parts]]
g = 1
[[many.parts]]
g = 2
'''


def test_every_key_has_the_line_where_its_statement_starts() -> None:
    lines = lines_of(TEXT)
    expected = {
        ("a",): 1,
        ("b", "c"): 3,
        ("list",): 7,
        ("list", 0, "k"): 7,
        ("quoted key", "deep", "deeper"): 11,
        ("table", "inner"): 13,
        ("table", "inner", "d"): 14,
        ("many", 0, "e"): 16,
        ("many", 0, "sub", "f"): 18,
        ("many", 1): 19,
        ("many", 1, "parts", 0, "g"): 21,
        ("many", 1, "parts", 1, "g"): 23,
    }
    assert {loc: lines.get(loc) for loc in expected} == expected
    assert ("x",) not in lines
    assert ("not", "a", "table") not in lines

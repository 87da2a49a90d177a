from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.spec.edit_yaml import flow, set_value
from graftwork.spec.yaml_text import ValuePath, parse_documents
from tests.unit.spec.examples import changed

TEXT = """\
# How to run it.
kind: A   # first
---
kind: B
spec:
  # The head.
  head: {dropout: 0.2, hidden: [64]}  # small
  phases:
    - {name: head, epochs: 3}
    - name: tune
      epochs: 5  # enough

      # Slow.
      learningRate: 1e-5
  training:
    batchSize: 32
    # Not too long.
    earlyStopping:
      patience: 3
  empty: {}
# The end.
"""
_COMMENTS = [line.strip().partition("#")[2] for line in TEXT.splitlines() if "#" in line]


def second(text: str) -> Any:
    documents, problems = parse_documents(text, "x.yaml")
    assert problems == []
    assert documents[0].value == {"kind": "A"}
    return documents[1].value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "head", "dropout"), 0.5),
        (("spec", "head", "activation"), "gelu"),
        (("spec", "head", "hidden"), [256, 64]),
        (("spec", "phases", 0, "learningRate"), 0.001),
        (("spec", "phases", 1, "epochs"), 10),
        (("spec", "phases", 1, "learningRate"), 1e-6),
        (("spec", "phases", 1, "unfreeze", "fraction"), 0.3),
        (("spec", "training", "earlyStopping", "patience"), 5),
        (("spec", "training", "earlyStopping", "monitor"), "val_loss"),
        (("spec", "training", "optimizer"), "adamw"),
        (("spec", "empty", "a"), 1),
        (("spec", "search", "space", "head.dropout"), {"choice": [0, "no", None, True]}),
        (("spec", "kind of"), "a: b, #c"),
    ],
)
def test_only_the_value_changes(path: ValuePath, value: Any) -> None:
    """The text reads as the same values with one set; every comment and every other line stays."""
    after = set_value(TEXT, 1, path, value)
    wanted = second(TEXT)
    for depth in range(1, len(path)):
        holder = wanted
        for step in path[: depth - 1]:
            holder = holder[step]
        if isinstance(holder, dict):
            holder.setdefault(path[depth - 1], {})
    assert second(after) == changed(wanted, path, value)
    assert all(comment in after for comment in _COMMENTS)
    before = set(TEXT.splitlines())
    assert len(before - set(after.splitlines())) <= 1


def test_a_block_that_is_replaced_leaves_its_neighbours() -> None:
    """Only the comments inside it go."""
    after = set_value(TEXT, 1, ("spec", "phases"), [{"name": "only", "epochs": 1}])
    assert second(after) == changed(second(TEXT), ("spec", "phases"), [{"name": "only", "epochs": 1}])
    for comment in ("# The head.", "# small", "# Not too long.", "# The end."):
        assert comment in after


def test_a_word_gives_way_to_a_mapping() -> None:
    """`unfreeze: none` becomes `unfreeze: {fraction: 0.3}`."""
    text = "a: {unfreeze: none}  # x\n"
    assert set_value(text, 0, ("a", "unfreeze", "fraction"), 0.3) == "a: {unfreeze: {fraction: 0.3}}  # x\n"


def test_what_is_not_there_is_named() -> None:
    """A document or a list entry."""
    with pytest.raises(ValueError, match="2 documents"):
        set_value(TEXT, 2, ("kind",), "C")
    with pytest.raises(ValueError, match="expected entries that are there"):
        set_value(TEXT, 1, ("spec", "phases", 7, "epochs"), 1)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(_PLAIN)
@settings(max_examples=200)
def test_any_value_is_read_as_it_was_meant(value: Any) -> None:
    """Whatever looks like a number, a boolean or YAML's own marks."""
    documents, problems = parse_documents(f"a: {{b: {flow(value)}}}\n", str(Path("x")))
    assert problems == []
    assert documents[0].value == {"a": {"b": value}}

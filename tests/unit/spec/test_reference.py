from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.spec.reference import PAGES, FieldWords, reference_pages, sections_of

_DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


def test_committed_pages_are_those_of_the_models() -> None:
    """The pages in `docs/reference/` are what `python -m graftwork.spec.reference` writes."""
    assert {file.name: file.read_text() for file in _DOCS.glob("*.md")} == reference_pages()


@pytest.mark.parametrize("kind", PAGES)
def test_every_field_says_what_it_does(kind: str) -> None:
    """No field stands there without its type and meaning, and every section it points to exists once."""
    sections = sections_of(kind)
    paths = [section.path for section in sections]
    assert len(paths) == len(set(paths))
    for section in sections:
        for field in section.fields:
            assert field.type, f"{section.path}.{field.key}"
            assert field.meaning, f"{section.path}.{field.key}"
            assert field.section is None or field.section in paths


def test_a_field_tells_bounds_default_and_whether_it_is_needed() -> None:
    """As the models say: `epochs` must be given, `patience` is 3 and at least 1."""
    assert _field("spec.phases[]", "epochs").required
    patience = _field("spec.training.earlyStopping", "patience")
    assert (patience.type, patience.default, patience.required) == ("a whole number >= 1", "3", False)


def test_a_field_of_words_or_a_section_names_both() -> None:
    """`unfreeze` takes words, or a section that has its own entry."""
    unfreeze = _field("spec.phases[]", "unfreeze")
    assert "`none`" in unfreeze.type
    assert unfreeze.type.endswith("or a section")
    assert unfreeze.section == "spec.phases[].unfreeze"


def _field(path: str, key: str) -> FieldWords:
    section = next(each for each in sections_of("FineTuneJob") if each.path == path)
    return next(field for field in section.fields if field.key == key)

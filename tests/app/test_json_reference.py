"""The page about JSON is made from the types of rows, and is the present one."""

from dataclasses import fields
from pathlib import Path

from workbench.app.json_reference import reference, unit_of
from workbench.core.kinds import contents, spec_classes

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def test_the_page_is_what_the_types_say_now():
    assert PAGE.read_text() == reference(), "write it anew: python -m workbench.app.json_reference > docs/json.md"


def test_the_page_names_every_kind_and_every_field_of_its_rows():
    page = reference()
    for kind in spec_classes():
        assert f"## `{kind}`" in page
        for row in contents(kind).rows.values():
            assert all(f"| `{field.name}` |" in page for field in fields(row))


def test_a_unit_is_the_longest_end_of_a_name():
    assert [unit_of(n) for n in ("ttft_s", "good_per_s", "output_tokens_per_s", "weight_bytes", "label")] == [
        "s",
        "1/s",
        "tokens/s",
        "bytes",
        "",
    ]

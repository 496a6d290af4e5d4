"""The reader's own devices, models and prices: they come first, and a wrong row loses nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest

from workbench.catalog.models import catalog_models, model_spec_from, plannable_models
from workbench.catalog.own_rows import cached_while_unchanged, catalogue_columns
from workbench.catalog.own_tables import DEVICES, MODELS, PRICES, add_rows, rows_in
from workbench.catalog.paths import DATA, REFERENCE_MODEL, workbench_home
from workbench.catalog.prices import median_price
from workbench.catalog.shapes import own_shapes_file, read_shapes, row_of, write_shapes
from workbench.catalog.tables import device_named, devices
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.estimate.device_calibration import offers

CARD = {"id": "my-card", "name": "My card", "memory_gb": "48", "mem_bw_gbs": "864", "bf16_tflops": "181"}
CARD |= {"pcie_gbs_bidir": "64", "provenance": "own", "source": "our rack, 2026-11-30"}
PRICE = {"provider": "own", "hardware_id": "my-card", "gpu_count": "1", "on_demand_usd_gpu_h": "0.5"}
PRICE |= {"price_date": "2026-11-30", "source": "our rack"}
MODEL = {"model": "me/own-7b", "architecture": "own", "layers": "32", "hidden": "4096", "heads": "32", "kv_heads": "8"}
MODEL |= {"vocab": "32000", "max_context": "4096", "attention": "GQA", "kv_bytes_per_token_bf16": "131072"}
MODEL |= {"params_total": "7000000000", "params_active": "7000000000", "provenance": "own", "source": "paper"}


@pytest.mark.parametrize("table", [DEVICES, MODELS, PRICES], ids=lambda t: t.word)
def test_the_catalogues_own_tables_are_right(table):
    assert table.problems(DATA / table.table) == []
    assert {f.name for f in fields(table.kind)} <= set(table.columns)


def test_an_own_device_and_its_price_are_there_at_once_and_gone_with_the_file():
    assert "my-card" not in devices()
    add_rows(DEVICES, [CARD])
    add_rows(PRICES, [PRICE])
    assert devices()["my-card"].bandwidth_bytes_per_s == 864e9
    (offer,) = offers(["my-card"])
    assert (offer.usd_per_hour, offer.memory_bytes) == (0.5, 48e9)
    assert offer.price_label.startswith("your own price")
    PRICES.file.unlink()
    DEVICES.file.unlink()
    assert "my-card" not in devices()


def test_own_rows_come_before_those_of_the_catalogue():
    listed = median_price("h100-sxm")
    add_rows(DEVICES, [CARD | {"id": "h100-sxm", "memory_gb": "94"}])
    add_rows(PRICES, [PRICE | {"hardware_id": "h100-sxm"}])
    add_rows(MODELS, [MODEL | {"model": "Qwen/Qwen3-8B"}])
    assert devices()["h100-sxm"].memory_bytes == 94e9
    assert median_price("h100-sxm").usd_per_gpu_hour == 0.5 != listed.usd_per_gpu_hour
    assert catalog_models()["Qwen/Qwen3-8B"].n_params == 7_000_000_000
    assert "Qwen/Qwen3-8B" in plannable_models()


def test_a_model_keeps_all_that_was_understood_of_it():
    model = model_spec_from(str(REFERENCE_MODEL))
    add_rows(MODELS, [row_of(model, provenance="own", source="its file")])
    write_shapes(own_shapes_file(), {model.name: model})
    again = model_spec_from(model.name)
    assert again.products == model.products is not None
    assert again.kv_layers == model.kv_layers
    assert read_shapes(own_shapes_file()) == {model.name: model}


def test_a_row_that_was_changed_by_hand_holds_over_the_shape_that_was_kept():
    model = model_spec_from(str(REFERENCE_MODEL))
    row = row_of(model, provenance="own", source="its file") | {"params_total": "99000000"}
    add_rows(MODELS, [row])
    write_shapes(own_shapes_file(), {model.name: model})
    assert model_spec_from(model.name).n_params == 99_000_000


@pytest.mark.parametrize(
    ("table", "right", "wrong", "says"),
    [
        (DEVICES, CARD, {"mem_bw_gbs": "-3"}, "mem_bw_gbs"),
        (DEVICES, CARD, {"mem_bw_gbs": "nan"}, "mem_bw_gbs"),
        (DEVICES, CARD, {"mem_bw_gbs": "fast"}, "mem_bw_gbs"),
        (DEVICES, CARD, {"mem_bw_gbs": "1e300"}, "mem_bw_gbs"),
        (DEVICES, CARD, {"mem_bw_gbs": ""}, "mem_bw_gbs"),
        (DEVICES, CARD, {"id": "<script>"}, "id"),
        (DEVICES, CARD, {"name": "two\nlines"}, "name"),
        (DEVICES, CARD, {"source": ""}, "source"),
        (DEVICES, CARD, {"colour": "red"}, "colour"),
        (MODELS, MODEL, {"layers": "0"}, "layers"),
        (MODELS, MODEL, {"layers": "3.5"}, "layers"),
        (MODELS, MODEL, {"params_total": "1" + "0" * 400}, "params_total"),
        (MODELS, MODEL, {"params_active": "8000000000"}, "params_active"),
        (MODELS, MODEL, {"model": "<b>x</b>"}, "model"),
        (PRICES, PRICE, {"on_demand_usd_gpu_h": "0"}, "on_demand_usd_gpu_h"),
        (PRICES, PRICE, {"gpu_count": "-1"}, "gpu_count"),
    ],
)
def test_a_wrong_row_is_one_error_that_names_its_column_and_changes_nothing(table, right, wrong, says):
    add_rows(DEVICES, [CARD])
    if table is not DEVICES:
        add_rows(table, [right])
    before = table.file.read_bytes()
    with pytest.raises(InvalidSpec, match=says):
        add_rows(table, [right | {table.key[0]: "another"} | wrong, right])
    assert table.file.read_bytes() == before
    assert [p.name for p in workbench_home().glob(".*") if not p.name.endswith(".lock")] == []


def test_a_row_of_the_same_name_is_replaced_only_when_asked():
    add_rows(DEVICES, [CARD])
    with pytest.raises(InvalidSpec, match="already"):
        add_rows(DEVICES, [CARD | {"memory_gb": "1"}])
    add_rows(DEVICES, [CARD | {"memory_gb": "96"}], does_replace=True)
    assert [r["memory_gb"] for r in rows_in(DEVICES)] == ["96"]


def test_a_file_that_somebody_broke_is_never_overwritten():
    DEVICES.file.parent.mkdir(parents=True, exist_ok=True)
    broken = ",".join(catalogue_columns("hardware.csv")) + "\nx,y\n"
    DEVICES.file.write_text(broken)
    with pytest.raises(InvalidSpec, match="line 2: it has 2 cells"):
        add_rows(DEVICES, [CARD])
    assert DEVICES.file.read_text() == broken


def test_rows_that_are_added_at_the_same_time_are_all_kept():
    names = [f"card-{i}" for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: add_rows(DEVICES, [CARD | {"id": n}]), names))
    assert sorted(r["id"] for r in rows_in(DEVICES)) == sorted(names)


def test_every_problem_of_a_file_is_found_with_line_and_column(tmp_path):
    head = "id,name,mem_bw_gbs,provenance,source,colour"
    file = tmp_path / "cards.csv"
    file.write_text(f"{head}\na,A,100,own,x,red\nb,B,none,own,x,red\nc,C\nd,D,-1,own,x,red\n")
    found = [(p.line, p.column) for p in DEVICES.problems(file)]
    assert found == [(1, "colour"), (3, "mem_bw_gbs"), (4, ""), (5, "mem_bw_gbs")]
    file.write_text("id,name\na,A\n")
    assert [(p.line, p.column) for p in DEVICES.problems(file)] == [
        (1, c) for c in ("mem_bw_gbs", "provenance", "source")
    ]
    file.write_text("id,name,mem_bw_gbs,provenance,source\na,A,1,own,x\na,A,1,own,x\n")
    assert [(p.line, p.column) for p in DEVICES.problems(file)] == [(3, "id")]


def test_a_price_of_an_unknown_device_is_found(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text(",".join(PRICE) + "\nown,h100-sx,1,2.5,2026-11-30,x\n")
    (problem,) = PRICES.problems(file)
    assert (problem.line, problem.column) == (2, "hardware_id")
    assert "Did you mean h100-sxm" in problem.cause


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"\x00" * 10, b'"never closed\n', "id\n".encode("utf-16")],
    ids=["utf", "nul", "quote", "utf16"],
)
def test_a_hostile_file_is_one_error(content):
    DEVICES.file.parent.mkdir(parents=True, exist_ok=True)
    DEVICES.file.write_bytes(content)
    with pytest.raises(InvalidSpec, match=r"devices\.csv"):
        devices()
    DEVICES.file.unlink()


def test_hostile_shapes_are_one_error():
    own_shapes_file().parent.mkdir(parents=True, exist_ok=True)
    for content in ("[" * 100_000, "{}x", json.dumps({"a": {"name": 3}}), "null"):
        own_shapes_file().write_text(content)
        with pytest.raises(InvalidSpec, match="shapes"):
            catalog_models()


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(NotAvailable, match="cannot be written"):
        add_rows(DEVICES, [CARD])


def test_results_are_kept_while_the_files_are_the_same():
    made = []

    @cached_while_unchanged("hardware.csv")
    def counted():
        made.append(1)
        return len(made)

    assert [counted(), counted()] == [1, 1]
    add_rows(DEVICES, [CARD])
    assert [counted(), counted()] == [2, 2]


def test_an_unknown_device_names_near_ones():
    with pytest.raises(NotAvailable) as caught:
        device_named("h100")
    assert "h100-sxm" in caught.value.remedy

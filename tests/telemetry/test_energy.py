"""The processor's energy counter: packages added, an overflow put right, and None where there is none."""

from workbench.telemetry.energy import processor_meter


def write(folder, name, microjoule):
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "energy_uj").write_text(str(microjoule))
    (place / "max_energy_range_uj").write_text("10000000")


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    write(tmp_path, "intel-rapl:0", 2_000_000)
    write(tmp_path, "intel-rapl:1", 3_000_000)
    write(tmp_path, "intel-rapl:0:0", 1_000_000)
    assert processor_meter(tmp_path)() == 5.0


def test_an_overflow_is_put_right(tmp_path):
    write(tmp_path, "intel-rapl:0", 9_000_000)
    read = processor_meter(tmp_path)
    before = read()
    write(tmp_path, "intel-rapl:0", 1_000_000)
    assert read() - before == 2.0


def test_without_a_counter_there_is_no_energy(tmp_path):
    assert processor_meter(tmp_path)() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert processor_meter(tmp_path)() is None

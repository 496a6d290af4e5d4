"""The sliders of a report choose as the panel does."""

import json
import shutil
import subprocess

import pytest

from workbench.interface.report.page import HERE, SettingRequests, setting_explorer

PAIRS = {
    "default": [(0.1, 0.02), (0.4, 0.03), (0.9, 0.02), (None, None)],
    "small": [(0.6, 0.01), (0.7, 0.01), (0.8, None), (0.2, 0.01)],
}


def rows():
    return [
        SettingRequests(
            label=name,
            launch=f"vllm serve {name}",
            is_measured=True,
            is_default=name == "default",
            per_s=8.0,
            pairs=pairs,
            ttft_p90_s=0.5,
            tpot_p90_s=0.02,
        )
        for name, pairs in PAIRS.items()
    ]


def goodput(name, ttft_s, tpot_s):
    good = [a is not None and a <= ttft_s and (b is None or b <= tpot_s) for a, b in PAIRS[name]]
    return 8.0 * sum(good) / len(good)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_choice_follows_the_slo_and_stays_with_the_default_where_nothing_is_gained():
    section = setting_explorer(rows(), inputs=[], worth_fraction=0.02, basis="")
    data = section.split('<script type="application/json">')[1].split("</script>")[0]
    slos = [(500, 50), (1000, 15), (1000, 50), (50, 50)]
    script = (
        f"const W = require({json.dumps(str(HERE / 'runtime.js'))}), data = {data};"
        f"console.log(JSON.stringify({json.dumps(slos)}.map(([a, b]) => {{const r = W.settingsFor(data, a, b);"
        "return [r.chosen.label, Object.fromEntries(r.all.map((row) => [row.label, row.goodput]))]})));"
    )
    out = json.loads(subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout)
    assert [chosen for chosen, _ in out] == ["default", "small", "small", "default"]
    for (ttft_ms, tpot_ms), (_, found) in zip(slos, out, strict=True):
        assert found == {name: goodput(name, ttft_ms / 1e3, tpot_ms / 1e3) for name in PAIRS}

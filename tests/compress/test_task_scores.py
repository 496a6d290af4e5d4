import sys
from pathlib import Path

import pytest

from workbench.compress.task_scores import TasksFailed, scores_in, task_scores


def test_metrics_are_read_with_their_standard_errors():
    # an excerpt of what lm-eval 0.4.13 wrote for the reference model
    document = {
        "results": {
            "next_line": {
                "alias": "next_line",
                "sample_len": 80,
                "acc,none": 0.5,
                "acc_stderr,none": 0.05625439504630119,
                "exact_match,strict": 0.25,
            }
        }
    }
    scores = scores_in(document)["next_line"]
    assert scores["acc"] == 0.5
    assert scores["acc_stderr"] == pytest.approx(0.0563, abs=1e-4)
    assert scores["exact_match,strict"] == 0.25
    assert "alias" not in scores


def test_an_error_of_lm_eval_is_told_with_a_remedy(tmp_path):
    """Our own interpreter has no lm-eval: its error is what is told."""
    with pytest.raises(TasksFailed, match="No module named lm_eval") as told:
        task_scores(Path(sys.executable), "model", tasks=["x"], folder=None, scratch=tmp_path, device="cpu")
    assert "--task-folder" in told.value.remedy

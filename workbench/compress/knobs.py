"""Knobs that measurements of compressed models share: the model, the evaluation text and the calibration text."""

from typing import Annotated

from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.knobs import Knob

Original = Annotated[
    str, Knob("Model", "Folder of the unquantized transformers model.", suggestions=OFFERED_MODELS, is_argument=True)
]
EvaluationText = Annotated[
    str | None,
    Knob(
        "Evaluation text",
        "UTF-8 file that accuracy is measured on; without one, the held-out text of the reference model is used.",
        is_path=True,
    ),
]
CalibrationText = Annotated[
    str | None,
    Knob(
        "Calibration text",
        "UTF-8 file that GPTQ, AWQ and SmoothQuant are calibrated on; without one, the calibration text of the reference model "
        "is used.",
        is_path=True,
        is_advanced=True,
    ),
]
CalibrationWindows = Annotated[
    int,
    Knob(
        "Calibration windows",
        "Number of text windows that GPTQ, AWQ and SmoothQuant are calibrated on; more windows take longer.",
        low=1,
        option="samples",
        is_advanced=True,
    ),
]
Windows = Annotated[
    int,
    Knob(
        "Evaluation windows",
        "Number of text windows that accuracy is measured on; more windows give narrower confidence intervals.",
        low=1,
        option="windows",
        is_advanced=True,
    ),
]
WindowTokens = Annotated[
    int, Knob("Window length", "Number of tokens in each window of text.", unit="tokens", low=1, is_advanced=True)
]

"""Every text that readers see is translated, with the same values and numbers, and shown in the language of the process."""

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter

import nbformat
import pytest

from workbench.app import lab, messages
from workbench.catalog.paths import NOTEBOOKS
from workbench.core import language
from workbench.core.errors import WorkbenchError
from workbench.core.language import SOURCE, keep_english, offered, spoken
from workbench.interface import translated_notebook
from workbench.interface.translated_notebook import copy_translated
from workbench.jobs import manager as manager_module
from workbench.jobs.manager import JobManager

LANGUAGES = [name for name in offered() if name != SOURCE]
each = pytest.mark.parametrize("name", LANGUAGES)
CHINESE = re.compile("[\u4e00-\u9fff]")
SENTENCE = re.compile(r"(?:\b[A-Za-z][a-z'’-]+[,;:]? ){4,}[a-z'-]+")
"""Five English words in a row."""
KEPT = re.compile(r"[<{]|::|\bpackage |\brecalled: |ended with code")
"""Specs, names of kernels, sources of facts, and what a program printed when it failed."""
PLACEHOLDER = re.compile(r"(?<!%)\{\w+\}")
NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
CONTROL = re.compile(r"`[A-Z\u4e00-\u9fff]")
"""Begins the name of a control in a notebook's text."""
WORD = re.compile("[A-Za-z]{2}")
COMMAND = "command.py"
NOT_OF_PANELS = (
    *("app/", "release/", "load/peers/"),  # commands, which speak English
    *("gateway/", "engines/openai_", "engines/onnx_engine", "engines/torch_engine", "engines/turns_engine"),  # HTTP
    *("apparatus/", "compress/", "engines/paged_check"),  # jobs, which store English
    "attention/",  # its reasons are kept in runs, and translated where they are shown
    *("questions/edge/measure/", "questions/surge/standby/measure", "questions/utilization/served/measure"),  # jobs
)
"""Packages whose errors stay English."""
SAME_TITLE = ("01", "02", "04", "05", "06", "07", "08", "10", "11", "13", "14")
"""Notebooks whose panel has the same title."""


@pytest.fixture(scope="module")
def domains():
    return messages.domains()


def translated(name, domains):
    """Each text with its translations."""
    files = messages.tables(name)
    for domain, texts in domains.items():
        known = messages.translations(files[domain]) if domain in files else {}
        yield from ((domain, text, known.get(text.one, ())) for text in texts)


@each
def test_the_tables_hold_the_texts_of_the_sources(name, domains):
    files = messages.tables(name)
    assert set(files) == set(domains)
    for domain, file in files.items():
        current = messages.updated(domains[domain], messages.translations(file), name)
        remedy = f"{file} is not current: run `python -m workbench.app.messages {domain}` and translate what is new"
        assert file.read_text(encoding="utf-8") == current, remedy


@each
def test_every_text_has_a_translation(name, domains):
    assert [(d, t.one) for d, t, forms in translated(name, domains) if not forms or not all(forms)] == []


@each
def test_a_translation_has_the_same_values_and_numbers(name, domains):
    for domain, text, forms in translated(name, domains):
        for form in forms:
            for pattern in (PLACEHOLDER, NUMBER):
                said = Counter(pattern.findall(text.many or text.one)), Counter(pattern.findall(form))
                assert said[0] == said[1], (domain, text.one, form)


@each
def test_a_rate_counts_in_the_readers_words(name, domains):
    counted = re.compile(r"\b(requests|inputs|tokens)/s")
    assert [form for _, _, forms in translated(name, domains) for form in forms if counted.search(form)] == []


@each
def test_code_in_notebooks_is_not_translated(name, domains):
    for domain, text, forms in translated(name, domains):
        if domain == "notebooks":
            code = [[c for c in CODE.findall(said) if not CONTROL.match(c)] for said in (text.one, forms[0])]
            assert Counter(code[0]) == Counter(code[1]), text.one


@each
def test_a_text_has_one_translation_in_all_domains(name, domains):
    known = {}
    for domain, text, forms in translated(name, domains):
        assert known.setdefault(text.one, forms) == forms, (domain, text.one)


def test_a_language_is_found_by_what_environments_call_it():
    assert [spoken(asked) for asked in ("", "en", "en_GB.UTF-8", "zh-CN", "zh_CN.UTF-8", "zh", "fr")] == [
        SOURCE,
        SOURCE,
        SOURCE,
        "zh_CN",
        "zh_CN",
        "zh_CN",
        None,
    ]


@pytest.fixture
def unspoken(monkeypatch):
    """The language is looked up anew, and in English again afterwards."""
    yield monkeypatch
    monkeypatch.undo()
    language.language.cache_clear()


def test_a_command_speaks_english_and_its_kernels_the_language_of_the_reader(unspoken):
    unspoken.setenv("WORKBENCH_LANG", "zh_CN")
    language.language.cache_clear()
    keep_english()
    assert language.language() == SOURCE
    assert os.environ["WORKBENCH_LANG"] == "zh_CN"


def test_jobs_store_english(tmp_path, monkeypatch):
    asked = {}

    class Started:
        pid = os.getpid()

        def __init__(self, *_, **options):
            asked.update(options)

    monkeypatch.setattr(manager_module.subprocess, "Popen", Started)
    monkeypatch.setenv("WORKBENCH_LANG", "zh_CN")
    JobManager(tmp_path).submit("engine_sweep", {})
    assert "WORKBENCH_LANG" not in asked["env"]
    assert asked["env"]["PATH"] == os.environ["PATH"]


def test_the_display_language_of_jupyterlab_is_that_of_the_notebooks(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path))
    assert lab.display_language() == ""
    file = tmp_path / "@jupyterlab" / "translation-extension" / "plugin.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    for content, chosen in (
        ('{\n    // Language\n    "locale": "zh_CN",\n}', "zh_CN"),
        ('{"locale": "default"}', ""),
        ("[", ""),
    ):
        file.write_text(content)
        assert lab.display_language() == chosen


@pytest.fixture
def chinese_cells(monkeypatch):
    monkeypatch.setattr(translated_notebook, "gettext", lambda text: f"译：{text}")


@pytest.mark.usefixtures("chinese_cells")
def test_a_copy_of_a_notebook_follows_its_source_and_keeps_what_the_reader_wrote(tmp_path):
    source, folder = tmp_path / "01_engines.ipynb", tmp_path / "copies"
    folder.mkdir()
    content = nbformat.read(NOTEBOOKS / source.name, as_version=4)
    nbformat.write(content, source)
    copy = copy_translated(source, folder)
    first = nbformat.read(copy, as_version=4)
    assert [c.source for c in first.cells if c.cell_type == "code"] == [
        c.source for c in content.cells if c.cell_type == "code"
    ]
    assert all(c.source.startswith("译：") for c in first.cells if c.cell_type == "markdown")

    first.cells[1].outputs = [nbformat.v4.new_output("stream", text="ran")]  # saved by JupyterLab after a run
    nbformat.write(first, copy)
    assert nbformat.read(copy_translated(source, folder), as_version=4).cells[1].outputs

    content.cells[0].source = "# Another question"
    nbformat.write(content, source)
    assert nbformat.read(copy_translated(source, folder), as_version=4).cells[0].source == "译：# Another question"
    assert [f.name for f in folder.iterdir()] == ["01_engines.ipynb"]

    own = nbformat.read(copy, as_version=4)
    own.cells[1].source = "my_own = 1"
    nbformat.write(own, copy)
    assert nbformat.read(copy_translated(source, folder), as_version=4).cells[1].source == "my_own = 1"
    content.cells[0].source = "# A third question"
    nbformat.write(content, source)
    assert nbformat.read(copy_translated(source, folder), as_version=4).cells[0].source == "译：# A third question"
    kept = nbformat.read(folder / "01_engines_edited_1.ipynb", as_version=4)
    assert kept.cells[1].source == "my_own = 1"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a process in Chinese shows."""
    environment = {
        **os.environ,
        "WORKBENCH_LANG": "zh_CN",
        "WORKBENCH_HOME": str(tmp_path_factory.mktemp("home")),
    }
    command = [sys.executable, "-W", "ignore", "-m", "support.spoken"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_every_panel_speaks_the_language_of_the_process(seen):
    for name, panel in seen["panels"].items():
        assert panel["errors"] == [], name
        assert CHINESE.search(panel["title"]), name
        assert all(map(CHINESE.search, panel["tabs"])), name
        assert CHINESE.search(panel["answer"][0]), (name, panel["answer"])


def test_no_english_sentence_is_left(seen):
    parts = [
        (n, t)
        for n, p in seen["panels"].items()
        for part in ("answer", "texts", "controls", "figures")
        for t in p[part]
    ]
    parts += [(part, text) for part in ("cards", "claims", "doctor") for text in seen[part]]
    left = [(name, text) for name, text in dict.fromkeys(parts) if SENTENCE.search(text) and not KEPT.search(text)]
    assert left == []


def test_errors_speak_the_language_of_the_process(seen):
    for name, texts in seen["errors"].items():
        assert len(texts) >= 2, name
        assert all(map(CHINESE.search, texts)), (name, texts)
        assert not [t for t in texts if SENTENCE.search(t) or PLACEHOLDER.search(t)], name


def raised(tree, errors):
    """The calls that make errors of these classes, each with the expressions of its cause and its remedy."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors:
            yield node, [*node.args[:1], *(k.value for k in node.keywords if k.arg in {"cause", "remedy"})]


def is_plain(text):
    """Whether an expression is English that the tables do not hold."""
    if isinstance(text, ast.IfExp | ast.BoolOp | ast.BinOp):
        parts = {ast.IfExp: ("body", "orelse"), ast.BinOp: ("left", "right")}.get(type(text))
        return any(map(is_plain, [getattr(text, p) for p in parts] if parts else text.values))
    if isinstance(text, ast.JoinedStr):
        return any(map(is_plain, text.values))
    return isinstance(text, ast.Constant) and bool(WORD.search(str(text.value)))


def test_no_error_of_a_panel_is_plain_english():
    trees = {f: ast.parse(f.read_text(encoding="utf-8")) for f in messages.sources()}
    errors = {WorkbenchError.__name__}
    for _ in range(3):  # classes of classes
        errors |= {
            node.name
            for tree in trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and errors & {getattr(base, "id", "") for base in node.bases}
        }
    places = {f: f.relative_to(messages.PACKAGE).as_posix() for f in trees}
    spoken_of = {f for f, place in places.items() if not place.startswith(NOT_OF_PANELS) and COMMAND not in f.parts}
    plain = [
        f"{places[f]}:{call.lineno}"
        for f in spoken_of
        for call, texts in raised(trees[f], errors)
        if any(map(is_plain, texts))
    ]
    assert plain == []


def test_no_value_is_left_open(seen):
    for name, panel in seen["panels"].items():
        assert not [t for part in ("answer", "texts", "figures") for t in panel[part] if PLACEHOLDER.search(t)], name


def test_a_report_says_its_language(seen):
    assert '<html lang="zh-CN">' in seen["page"]
    assert '<script id="wb-texts" type="application/json">' in seen["page"]
    assert "script-src 'sha256-" in seen["page"]
    assert "Noto Sans CJK SC" in seen["page"]


def test_a_notebook_has_the_title_of_its_panel(seen):
    titles = {panel["title"] for panel in seen["panels"].values()}
    headings = {stem: heading for stem, heading in seen["headings"].items() if stem.startswith(SAME_TITLE)}
    assert {stem: heading for stem, heading in headings.items() if heading not in titles} == {}

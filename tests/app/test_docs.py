"""What the documentation says is there: commands with their options, linked files, and the words of the field."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from workbench.app.main import app

ROOT = Path(__file__).parents[2]
README, CLI = ROOT / "README.md", ROOT / "docs" / "cli.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
WORDED = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "data" / "measured" / "README.md")
LONGEST_README = 130
PROGRAM = typer.main.get_command(app)
BANNED = re.compile(r"\b(promise[sd]?|in turns|beliefs?|worn|told)\b", re.I)
"""Private words; STYLE has those of the field."""
FENCE = re.compile(r"^ *```.*?\n(.*?)^ *```", re.M | re.S)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}
"""Where the shell ends a command's own words."""


def named(path):
    return str(path.relative_to(ROOT))


def calls(line):
    """The words after each ``workbench`` that begins a command in a line of a shell."""
    shell = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
    shell.whitespace_split = True
    found, begins = [], True
    for word in shell:
        if begins and word == "workbench":
            found.append([])
        elif word in ENDS:
            found.append(None)  # what follows belongs to another command, or is a file
        elif found and found[-1] is not None:
            found[-1].append(word)
        begins = word in ENDS
    return [words for words in found if words is not None]


def examples(page):
    """Whole commands in the page's blocks of code."""
    blocks = "\n".join(FENCE.findall(page.read_text()))
    lines = blocks.replace("\\\n", " ").splitlines()
    commands = [line for line in lines if re.match(r" *(\$ )?(workbench\b|(echo|cat) [^│]*\| *workbench\b)", line)]
    return [words for line in commands for words in calls(line)]


def mentions(page):
    """Commands named in the text; ``workbench COMMAND`` stands for any."""
    text = FENCE.sub("", page.read_text())
    spans = [span for span in SPAN.findall(text) if re.match(r"workbench [a-z-]", span)]
    return [shlex.split(span)[1:] for span in spans]


def resolved(words):
    """The command or group that words name, the words of its name, and the words after them."""
    command, path, rest = PROGRAM, [], list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"`workbench {' '.join(words)}`: there is no {rest[0]!r}"
        path.append(rest[0])
        command = command.commands[rest.pop(0)]
    return command, path, rest


def leaves(command=PROGRAM, path=()):
    if not hasattr(command, "commands"):
        return [path]
    return [leaf for name, sub in command.commands.items() for leaf in leaves(sub, (*path, name))]


def each(of):
    return [pytest.param(words, id=f"{named(page)}: {' '.join(words)[:60]}") for page in PAGES for words in of(page)]


def test_the_readme_is_read_within_minutes():
    assert len(README.read_text().splitlines()) <= LONGEST_README


def test_every_command_has_an_example():
    shown = {tuple(resolved(words)[1]) for words in examples(CLI)}
    assert not [" ".join(leaf) for leaf in leaves() if leaf not in shown]


@pytest.mark.parametrize("words", each(examples))
def test_an_example_is_accepted_by_the_command_itself(words):
    command, path, rest = resolved(words)
    if hasattr(command, "commands"):  # `workbench` alone, or an option of the program
        assert set(rest) <= {o for p in command.get_params(command.context_class(command)) for o in p.opts}
        return
    command.make_context(" ".join(path), rest)


@pytest.mark.parametrize("words", each(mentions))
def test_a_mentioned_command_has_the_options_that_are_mentioned(words):
    command, _, rest = resolved(words)
    own = rest[: rest.index("--")] if "--" in rest else rest
    known = {o for p in command.get_params(command.context_class(command)) for o in (*p.opts, *p.secondary_opts)}
    assert {word.split("=")[0] for word in own if word.startswith("--")} <= known


@pytest.mark.parametrize("page", WORDED, ids=named)
def test_linked_files_and_headings_exist(page):
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{named(page)} links to {link}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{named(page)} links to {link}"


@pytest.mark.parametrize("page", WORDED, ids=named)
def test_pages_use_the_words_of_the_field(page):
    lines = SPAN.sub("", page.read_text()).splitlines()
    assert not [f"{number}: {line}" for number, line in enumerate(lines, 1) if BANNED.search(line)]

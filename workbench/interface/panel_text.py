"""HTML of a panel as text for a terminal."""

from html.parser import HTMLParser

BLOCKS = frozenset({"p", "div", "tr", "h1", "h2", "h3", "li", "pre", "summary", "br"})


class _Lines(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag in BLOCKS and self.lines[-1]:
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS and self.lines[-1]:
            self.lines.append("")
        elif tag in ("td", "th"):
            self.lines[-1] += "  "

    def handle_data(self, data: str) -> None:
        self.lines[-1] += data


def text_of(content: str) -> str:
    """Return the text of HTML, each paragraph and each row of a table on a line of its own."""
    parser = _Lines()
    parser.feed(content)
    parser.close()
    return "\n".join(line.strip() for line in parser.lines if line.strip())

"""Titles of figures stay within half of a panel."""

from rich.cells import cell_len

from workbench.interface.theme import BREAK, HEIGHT_PX, figure, wrapped

LONG = "● measured · share of time of each loss, and what remains · dotted: the roofline of the device at its highest clock"
CHINESE = "● 实测 · 每种损失占用的时间份额，以及剩余部分，越低越好；虚线：所要求的达成率与最高时钟下的屋顶线"


def test_lines_are_no_wider_than_asked_and_lose_nothing():
    for text in (LONG, CHINESE):
        lines = wrapped(text, 54)
        assert len(lines) > 1
        assert all(cell_len(line) <= 54 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("one<br>two", 54) == ["one", "two"]


def test_a_long_subtitle_takes_room_above_the_plot_and_none_of_it():
    short, long = (figure("Losses", x_title="x", y_title="y", subtitle=s) for s in ("● measured", LONG))
    assert short.layout.height == HEIGHT_PX
    assert BREAK in long.layout.title.text
    assert long.layout.height - long.layout.margin.t == short.layout.height - short.layout.margin.t

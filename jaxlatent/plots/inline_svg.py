"""A matplotlib figure as SVG that can stand inside a page beside others."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def inline_svg(ax: Axes, name: str, title: str = "") -> str:
    """The figure of these axes without prolog and metadata; ids start with the name, so that none occurs twice."""
    import matplotlib

    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("Expected axes that belong to a figure.")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    head = f'<svg role="img" aria-label={quoteattr(title or name)} stroke-linejoin="round" stroke-linecap="butt" '
    return text.replace("<svg ", head, 1)

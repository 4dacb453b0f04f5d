"""Pictures: path diagrams as SVG, and plots that need matplotlib."""

from jaxlatent.plots.path_diagram import PathDiagram, path_diagram

__all__ = ["PathDiagram", "path_diagram"]

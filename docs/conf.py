"""Sphinx configuration: ``python -m sphinx -W --keep-going -b html docs build/docs`` builds everything."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import api_page

api_page.write(Path(__file__).with_name("api.rst"))  # before autosummary looks for it

project = "regcore"
author = "The regcore developers"
copyright = "The regcore developers"
release = metadata.version("regcore")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "command_output",
    "plain_docstrings",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_templates",
    "examples",
    "gallery/**/*.ipynb",
    "gallery/**/*.py",
    "sg_execution_times.rst",
]
default_role = "py:obj"
highlight_language = "python"
suppress_warnings = ["config.cache"]  # the gallery's ordering is a class, which no pickle holds

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it better
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them with their docstrings
numpydoc_use_plots = True

plot_formats = [("svg", 100)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {
    "figure.figsize": (8, 3.2),
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10**6,
    "remove_config_comments": True,
    "default_thumb_file": str(Path(__file__).parent / "compare-digits.png"),
}

html_theme = "furo"
html_title = f"regcore {release}"
html_static_path = ["_static"]
html_css_files = ["regcore.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

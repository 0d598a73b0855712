"""What mkdocs does besides: generated reference, anchors as on GitHub, links that leave the site. See mkdocs.yml."""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import check_docs
import site_reference

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Headings get the anchors that tools/check_docs.py holds links against."""
    config.mdx_configs["toc"] = {
        **config.mdx_configs.get("toc", {}),
        "slugify": slug,
        "permalink": True,
    }
    return config


def slug(heading: str, separator: str) -> str:
    """The anchor of a heading."""
    return check_docs.slug(heading)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of the sources."""
    for path, text in site_reference.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to a file of the repository that is no page becomes its text and the file's name."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if not target.startswith("../"):
            return link[0]
        name = target.removeprefix("../")
        return f"`{name}`" if link[1].strip("`") == name else f"{link[1]} (`{name}`)"

    return LINK.sub(inside, markdown)

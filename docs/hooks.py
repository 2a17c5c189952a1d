"""For mkdocs: links that lead out of docs/ work in a checkout, and are the names of files on the site."""

import posixpath
import re
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Replace links to files beside docs/ by their names; leave all others."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if target == "ATTRIBUTION.md":
            return f"[{link[1]}]({posixpath.relpath('models/attribution.md', folder or '.')})"
        return link[0] if target.startswith("docs/") else f"{link[1]} (`{target}`)"

    return LINK.sub(inside, markdown)

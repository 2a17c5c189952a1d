"""For mkdocs: pages from research/ and from the code, and links to other files of a checkout as their names."""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
PLACES = {"ATTRIBUTION.md": "models/attribution.md"}  # of files that a page of the site shows


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the code, and that of each experiment, under its path in a checkout."""
    sys.path.insert(0, str(ROOT))
    from docs.generate import SITE_PAGES

    for name, write in SITE_PAGES.items():
        files.append(File.generated(config, name, content=write()))
    for path in sorted(ROOT.glob("research/*/*.md")):
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **others: Any) -> str:
    """Turn links that are right in a checkout into links of the site; of files that it hasn't, give the names."""
    place = page.file.src_uri
    origin = posixpath.dirname(place if place.startswith("research/") else f"docs/{place}")

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(origin, link[2]))
        target = PLACES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            return f"{link[1]} (`{target}`)"
        return f"[{link[1]}]({posixpath.relpath(target, posixpath.dirname(place) or '.')}{link[3] or ''})"

    return LINK.sub(inside, markdown)

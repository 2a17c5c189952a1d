"""The pages name what is there, and what is made from the code and the results is up to date."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

from docs import generate

ROOT = Path(__file__).resolve().parents[1]
SITE_PAGES = {f"docs/{name}": write() for name, write in generate.SITE_PAGES.items()}  # which no file holds
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in generate.pages()} | SITE_PAGES


@pytest.mark.parametrize("name", PAGES)
def test_generated_blocks_are_up_to_date(name):
    assert generate.filled(PAGES[name]) == PAGES[name], "run python -m docs.generate"


def test_every_block_stands_in_a_page_and_once():
    places = [block[2] for text in PAGES.values() for block in generate.BLOCK.finditer(text)]
    assert sorted(places) == sorted(generate.BLOCKS)


def test_the_one_place_for_each_change_is_there():
    section = PAGES["docs/contribute.md"].split("## The one place for")[1].split("\n## ")[0]
    paths = re.findall(r"`((?:speechrnn|export|docs|research)/[\w./-]*)`", section)
    assert len(paths) > 12
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_links_lead_to_pages_and_pictures_that_are_there():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if not target.startswith(("http://", "https://")):
                path = (ROOT / name).parent / target
                assert path.exists() or str(path.relative_to(ROOT)) in SITE_PAGES, f"{name}: {target}"


def commands():
    """What the pages tell people to type: lines of shell, and code that begins with a command."""
    for name, text in PAGES.items():
        blocks = re.findall(r"```sh\n(.*?)```", text.replace("\\\n", ""), flags=re.DOTALL)
        inline = re.findall(r"`((?:speechrnn|python -m) [^`]+)`", text)
        yield from ((name, line) for block in (*blocks, *inline) for line in block.splitlines())


def test_commands_that_pages_name_are_taken_as_they_stand():
    verbs, taken = generate.verbs(), 0
    for name, line in commands():
        for call in re.findall(r"\bspeechrnn ([a-z][^|>&;#`]*)", line):
            verb, *arguments = shlex.split(call.replace(" ...", ""))
            if verb in ("VERB", "listen.py"):
                continue
            app = typer.Typer(add_completion=False)
            app.command()(verbs[verb])
            command = typer.main.get_command(app)
            try:
                command.make_context(verb, arguments)
            except Exception as error:
                if arguments or not str(error).startswith("Missing parameter"):  # a verb may be named on its own
                    pytest.fail(f"{name}: {line}: {error}")
            taken += 1
    assert taken > 50


def test_modules_that_pages_name_are_there():
    ours = r"python -m ((?:speechrnn|export|data_scripts|benchmarks|research|docs|tests)[\w.]*)"
    named = {(name, module) for name, line in commands() for module in re.findall(ours, line)}
    assert len(named) > 10
    paths = {(name, module): ROOT / module.replace(".", "/") for name, module in named}
    missing = [key for key, path in paths.items() if not (path.with_suffix(".py").is_file() or path.is_dir())]
    assert missing == []


def test_the_readme_fits_a_few_screens():
    assert len(PAGES["README.md"].splitlines()) <= 130


class Loaded(HTMLParser):
    """What a browser loads of a page by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.addresses += [value for key, value in attributes if key in ("src", "srcset", "poster", "data") and value]
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(found.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [address for address in parser.addresses if re.match(r"(https?:)?//", address)] == [], page
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
    for picture in (tmp_path / "site").rglob("*.svg"):
        assert "url(" not in picture.read_text(encoding="utf-8").replace("url(#", ""), picture

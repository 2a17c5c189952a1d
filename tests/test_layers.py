"""Which file may import which: every import, at the top and inside functions, read from the source."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("speechrnn", "export", "data_scripts", "benchmarks", "research")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
}
HEAVY = {"torch", "torchaudio", "librosa", "scipy", "sklearn", "onnx", "lightning_fabric"}
LAYERS = (  # a file imports none of a later one; what isn't named here is as low as what it imports allows
    {"errors", "level", "text", "text_files", "names", "installation", "interrupts", "protobuf"},
    {"audio", "byte_stream", "channels", "containers", "folders", "media", "mpeg", "pcm", "pipes", "signatures"},
    {"labels", "card"},
    {"inference", "model", "decision"},
    {"spotter"},
    {"evaluation", "enrolment", "archive"},
    {"export", "training"},
    {"cli", "servers", "__main__"},
)
# Of a checkout: what is a verb, too, calls it, and the picture of `listen` is drawn by what draws it.
THIN = {"export", "data_scripts"}


def imports(name, top=False):
    """The names that a file imports, whole; `top`: those that importing it needs."""
    path = FILES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()

    def look(node, deep):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            if not (top and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
                look(child, deep)

    look(tree, True)
    return found


def module(name):
    """The file of ours that an import names; None for others."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None


def arrows(top=False):
    return {name: {module(used) for used in imports(name, top)} - {None, name} for name in FILES}


def layer(name):
    parts = name.split(".")
    if parts[0] != "speechrnn" or len(parts) < 2:
        return None
    return next((number for number, names in enumerate(LAYERS) if parts[1] in names), None)


def folder(name):
    path = FILES[name]
    return path.parent.relative_to(ROOT).as_posix()


def test_no_file_imports_one_of_a_higher_layer():
    assert not [
        (name, used)
        for name, others in arrows().items()
        for used in others
        if layer(name) is not None and layer(used) is not None and layer(name) < layer(used)
    ]


def test_nothing_below_imports_what_is_above_all():
    """Commands of a checkout that are verbs, too, call them; nobody else does."""
    for name, others in arrows().items():
        for used in others:
            above = used.split(".")[1:2] in (["cli"], ["servers"]) or used.split(".")[0] == "research"
            inside = folder(name).split("/")[:2] == folder(used).split("/")[:2] or name == "speechrnn.__main__"
            assert not above or inside or name.split(".")[0] in THIN, (name, used)


def test_the_package_imports_nothing_of_the_checkout():
    for name, others in arrows().items():
        if name.startswith("speechrnn"):
            assert {used.split(".")[0] for used in others} <= {"speechrnn"}, name


def test_there_is_no_circle_of_files():
    """At the top of files: an import inside a function is there to break one, or to start fast."""
    try:
        list(TopologicalSorter({name: used - {"speechrnn"} for name, used in arrows(top=True).items()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_there_is_no_circle_of_folders():
    graph = {}
    for name, others in arrows().items():
        if name != "speechrnn.__main__":  # stands beside what the command line uses
            own = graph.setdefault(folder(name), set())
            own |= {folder(used) for used in others} - {folder(name)}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.split(".")[0] == "speechrnn"))
def test_a_runtime_file_loads_nothing_heavy(name):
    if name.split(".")[1:2] in (["training"], ["export"]):
        return
    assert not {used.split(".")[0] for used in imports(name, top=True)} & HEAVY


def test_no_file_is_longer_than_400_lines():
    long = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert not {name: lines for name, lines in long.items() if lines > 400}

"""The page's JavaScript, run by node."""

import base64
import json
import subprocess

import numpy as np
import typer

from export.web import build as building
from tests.support.command_line import ROOT, run
from tests.support.environment import needs

PAGE = ROOT / "export" / "web" / "page"


def by_node(module, script, *values):
    """What a script returns that has the exports of a module as `page`, and the values as `given`."""
    program = f"""
import * as page from {json.dumps((PAGE / module).as_uri())};
import {{ readFileSync }} from "node:fs";
const given = JSON.parse(readFileSync(0, "utf8"));
const answer = (() => {{ {script} }})();
process.stdout.write(JSON.stringify(answer));
"""
    command = [needs("node"), "--input-type=module", "-e", program]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def random_posteriors(model, seed, blocks=3000):
    """Words that rise and fall, alone and together, over a restless ground."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.0, (blocks, len(model.labels)))
    for start in np.cumsum(rng.integers(3, 60, blocks // 20)):
        logits[start : start + rng.integers(2, 30), rng.integers(len(model.labels))] += rng.uniform(2.0, 9.0)
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


READ = """
return given.map((bytes) => {
  try { return page.readCard(Uint8Array.from(Buffer.from(bytes, "base64"))); }
  catch (error) { if (error instanceof page.ModelError) return error.message; throw error; }
});
"""


def read_cards(*files):
    return by_node("card.js", READ, *(base64.b64encode(file).decode() for file in files))


def build(*arguments):
    shown = run(*arguments, start=lambda: typer.run(building.main))
    assert shown.returncode == 0, shown.stderr
    return shown

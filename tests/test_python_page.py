"""The page on the Python interface: its code runs, and it names everything public."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import fmanet_cli

EXAMPLES = Path(__file__).parent.parent / "examples"
PAGE = (EXAMPLES / "python.md").read_text(encoding="utf-8")


def test_every_block_runs_in_order(make_clip, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) >= 6
    make_clip("street.mp4")  # As small as can be: what is tested is the page.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # ([^.\n]*)", "\n".join(blocks))
    assert len(said) >= 4
    for expected in said:
        assert expected in done.stdout
    assert {"sharp.mkv", "stream.mp4"} <= {path.name for path in tmp_path.iterdir()}


def test_every_public_name_is_on_the_page_and_can_be_imported() -> None:
    for name in fmanet_cli.__all__:
        assert f"`{name}`" in PAGE, name
        assert getattr(fmanet_cli, name) is not None
    assert sorted(fmanet_cli.__all__) == fmanet_cli.__all__


def test_every_public_name_explains_itself_and_says_its_types() -> None:
    for name in fmanet_cli.__all__:
        public = getattr(fmanet_cli, name)
        if name != "__version__":
            assert public.__doc__, name
        if inspect.isfunction(public):
            assert public.__annotations__.keys() >= {*inspect.signature(public).parameters, "return"}, name


def test_examples_need_nothing_but_public_names() -> None:
    pages = [path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".md")]
    deeper = {
        page.name: re.findall(r"from fmanet_cli\.\S+ import .*", page.read_text(encoding="utf-8")) for page in pages
    }
    assert {name: lines for name, lines in deeper.items() if lines} == {}

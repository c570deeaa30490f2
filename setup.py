"""What pyproject.toml cannot say: a wheel brings the notebooks and tables, which lie beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("notebooks/*.ipynb", "data/README.md", "data/published/*", "data/measured/*")


class BuildWithNotebooks(build_py):
    """Copies what comes with the kit to lnl_kit/shipped (see `lnl_kit.files.places`)."""

    def run(self):
        super().run()
        if self.editable_mode:  # a clone: they are read where they lie
            return
        found = {pattern: [f for f in ROOT.glob(pattern) if f.name[0] != "."] for pattern in SHIPPED}
        if lacking := [pattern for pattern, some in found.items() if not some]:
            raise FileNotFoundError(
                f"the source has no {', '.join(lacking)}: build from a whole clone or sdist"
            )
        files = [file for some in found.values() for file in some]
        for file in files:
            target = Path(self.build_lib, "lnl_kit", "shipped", file.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithNotebooks})

"""Builds what is compiled: the C extension and the BPF objects; everything else about the package stands in pyproject.toml."""

from __future__ import annotations

import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithObjects(build_py):
    """A wheel without its BPF objects would install and then not run: compile them first, as `make bpf` does."""

    def run(self) -> None:
        """Compile, then collect the package's files, among them the objects."""
        subprocess.run(["make", "--silent", "bpf"], check=True)
        super().run()


setup(
    cffi_modules=["src/fairlead/_native/build.py:builder"],
    cmdclass={"build_py": BuildWithObjects},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

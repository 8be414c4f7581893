"""Builds the C extension; everything else about the package stands in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["src/fairlead/_native/build.py:builder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

"""The documentation site: `python -m lnl_kit.site`, or `make docs`.

Its pages are made from what is there already: docstrings, settings, the papers' numbers and ours, executed
notebooks. What only a person can write (how-tos, the glossary, equations as TeX) lies in `pages/` and
`equations.md`. MkDocs lays them out; the result is opened from a folder, with the network off.
"""

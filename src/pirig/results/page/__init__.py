"""This package renders self-contained HTML pages about runs, with charts as inline SVG and one stylesheet.

Only the live page has a script.
"""

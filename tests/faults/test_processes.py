"""Signals, deaths, hangs, memory; and what a policy answers."""

from faults.course import each, follow
from faults.rows_processes import ROWS


@each(ROWS)
def test_the_final_csv_is_the_clean_one(fault, clean, tmp_path, record_property):
    follow(fault, clean, tmp_path, record_property)

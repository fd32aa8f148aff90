"""Disks, files, handles, ports, clocks, a second command."""

from faults.course import each, follow
from faults.rows_machine import ROWS


@each(ROWS)
def test_the_final_csv_is_the_clean_one(fault, clean, tmp_path, record_property):
    follow(fault, clean, tmp_path, record_property)

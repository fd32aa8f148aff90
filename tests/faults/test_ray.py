"""On a Ray cluster. `make test-faults`."""

from faults.course import each, follow
from faults.rows_ray import ROWS


@each(ROWS)
def test_the_final_csv_is_the_clean_one(fault, clean, tmp_path, record_property):
    follow(fault, clean, tmp_path, record_property)

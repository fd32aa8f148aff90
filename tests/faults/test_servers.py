"""What a policy server can do to a run."""

from faults.course import each, follow
from faults.rows_servers import ROWS


@each(ROWS)
def test_the_final_csv_is_the_clean_one(fault, clean, tmp_path, record_property):
    follow(fault, clean, tmp_path, record_property)

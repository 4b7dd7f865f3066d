"""Core: the stories reach every row of the two state tables. Runs last, see `conftest.py`."""

from __future__ import annotations

import pytest

from .conftest import LAST, TABLES


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_the_tables_was_reached(name: str, request: pytest.FixtureRequest):
    """A row that no story reaches is either dead or untested."""
    run = {item.path.name for item in request.session.items}
    if "test_scheduler.py" not in run or request.config.option.keyword:
        pytest.skip("only a part of the stories has run")
    table = TABLES[name]
    assert table.keys() - table.reached == set()


assert test_every_row_of_the_tables_was_reached.__name__ == LAST

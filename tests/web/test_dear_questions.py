"""Pages that read much are made some at a time."""

import pytest
from starlette.exceptions import HTTPException

from harvester_dagster.web.dear_questions import DearQuestions


def test_so_many_at_once_and_more_are_told_to_come_again() -> None:
    questions = DearQuestions(2)
    with questions.one():
        with questions.one(), pytest.raises(HTTPException, match="try again"), questions.one():
            pass
        with pytest.raises(ZeroDivisionError), questions.one():
            raise ZeroDivisionError
        with questions.one():
            pass

"""The words of `docker ps`. (docker/go-units: duration_test.go)"""

from datetime import timedelta

import pytest

from onggi.durations import in_words


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(milliseconds=450), "Less than a second"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=45), "45 seconds"),
        (timedelta(seconds=60), "About a minute"),
        (timedelta(seconds=119), "About a minute"),
        (timedelta(seconds=120), "2 minutes"),
        (timedelta(minutes=3), "3 minutes"),
        (timedelta(minutes=35), "35 minutes"),
        (timedelta(minutes=60), "About an hour"),
        (timedelta(minutes=90), "2 hours"),
        (timedelta(hours=24), "24 hours"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (timedelta(days=13), "13 days"),
        (timedelta(days=14), "2 weeks"),
        (timedelta(days=15), "2 weeks"),
        (timedelta(days=60), "2 months"),
        (timedelta(days=730), "2 years"),
    ],
)
def test_in_words(span: timedelta, words: str) -> None:
    assert in_words(span.total_seconds()) == words

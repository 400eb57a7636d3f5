"""The history checker finds what it is there to find."""

from pathlib import Path

import pytest

from unimq.testing.history import judge, run


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Notes of a producer and a consumer, in which each kind of thing has happened."""
    (tmp_path / "producer").write_text(
        "1.0 put fine\n1.1 stored fine\n"
        "2.0 put vanished\n2.1 stored vanished\n"
        "3.0 put failed\n3.1 refused failed\n"
        "4.0 put ghost\n4.1 refused ghost\n"
        "5.0 put doubtful\n"
        "6.0 put again\n6.1 stored again\n"
        "7.0 put missed\n7.1 stored missed\n"
        "8.0 put unsure\n8.1 stored unsure\n"
        "9.0 put cut\n9.1 stored c"
    )
    (tmp_path / "consumer").write_text(
        "1.2 got fine\n1.3 ack fine\n1.4 acked fine\n"
        "4.2 got ghost\n"
        "4.3 got stranger\n"
        "6.2 got again\n6.3 ack again\n6.4 acked again\n6.5 got again\n6.6 ack again\n6.7 acked again\n"
        "7.2 got missed\n7.3 ack missed\n7.4 missed missed\n"
        "8.2 got unsure\n8.3 got unsure\n8.4 ack unsure\n"
    )
    return tmp_path


class TestJudge:
    def test_confirmed_and_never_acked_is_lost(self, written: Path) -> None:
        """Whether nobody got it or its lease had ended; but not what somebody may have acked."""
        assert judge(written, {}).lost == {"vanished", "missed"}

    def test_what_nobody_put_is_unexpected(self, written: Path) -> None:
        """And so is what came although its put had failed for certain; what is in doubt may come."""
        assert judge(written, {}).unexpected == {"ghost", "stranger"}

    def test_what_came_twice_is_counted(self, written: Path) -> None:
        """By message, and apart from it what came again after its ack was confirmed."""
        verdict = judge(written, {})
        assert (verdict.duplicated, verdict.repeated) == (2, 1)

    def test_the_counts_are_of_messages(self, written: Path) -> None:
        """A last line that was cut off by a kill is none."""
        verdict = judge(written, {"server killed": 3, "consumer killed": 1})
        assert (verdict.tried, verdict.stored, verdict.refused, verdict.acked) == (9, 5, 2, 2)
        assert str(verdict) == (
            "9 puts tried, 5 confirmed, 2 in doubt; 2 lost, 2 unexpected, 2 got more than once, 1 of them after their "
            "ack; 4 faults (1 consumer killed, 3 server killed)"
        )


def test_a_queue_that_nobody_shares_loses_everything() -> None:
    """Each process has a memory of its own: what is confirmed there never reaches a consumer."""
    verdict = run("memory://", "jobs", seconds=3, settle=0.1)
    assert verdict.stored > 0
    assert len(verdict.lost) == verdict.stored
    assert sum(verdict.faults.values()) > 0

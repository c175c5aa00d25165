import threading

from jobs import _lane, _quiet, ingest
from tests.builders import Workspace, stage_context


def test_many_are_at_work_at_a_time(tmp_path):
    told = []
    with _quiet.at_work(tmp_path, lambda: told.append("a")), _quiet.at_work(tmp_path, lambda: told.append("b")):
        assert told == []


def test_an_erasure_waits_for_those_at_work_and_newcomers_wait_for_it(tmp_path):
    order: list[str] = []
    waits, holds, late = threading.Event(), threading.Event(), threading.Event()
    ends, newcomer_waits = threading.Event(), threading.Event()

    def erase() -> None:
        with _quiet.alone(tmp_path, waits.set):
            order.append("erasure")
            holds.set()
            assert ends.wait(20)
            order.append("erasure ends")

    def come() -> None:
        with _quiet.at_work(tmp_path, newcomer_waits.set):
            order.append("newcomer")
            late.set()

    threads = [threading.Thread(target=erase), threading.Thread(target=come)]
    with _quiet.at_work(tmp_path):
        threads[0].start()
        assert waits.wait(20)
        threads[1].start()  # the erasure waits still, and is not passed by
        assert newcomer_waits.wait(20)
        order.append("work ends")
    assert holds.wait(20)
    assert not late.is_set()
    ends.set()
    for thread in threads:
        thread.join(20)
    assert order == ["work ends", "erasure", "erasure ends", "newcomer"]


def test_a_stage_waits_for_an_erasure_and_says_so(tmp_path, capsys):
    space, began = Workspace(tmp_path / "home"), threading.Event()
    with space.environment():
        context = stage_context(ingest.__name__.removeprefix("jobs."), "--as-of", "2026-01-08T00:00:00Z")

    def stage() -> None:
        with _lane.turn(context):
            began.set()

    thread = threading.Thread(target=stage)
    with _quiet.alone(context.paths.runs, lambda: None):
        thread.start()
        assert not began.wait(0.2)
    thread.join(20)
    assert began.is_set()
    assert capsys.readouterr().out == "reelflow | ingest | an erasure is at work; waiting until it has ended\n"

import threading

from jobs import _quiet


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

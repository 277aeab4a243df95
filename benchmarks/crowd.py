"""Many people at one app: ``python benchmarks/crowd.py URL PEOPLE SECONDS``.

Each person draws a stroke a second and now and then a new example, as the page does: 5 symbols of
3 examples at first.  Prints the time from a stroke to its answer, answers a second, and what the
server holds before, during and after.  With --saturate nobody pauses: the answers a second are then
the most that the server gives.  Only an app on this machine is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from urllib.parse import urlsplit

import numpy as np
from census import Census, census, listening
from people import Person

MOST_PEOPLE = 500
MOST_SECONDS = 600


async def crowd(
    host: str, port: int, people: int, seconds: float, pause: float
) -> tuple[list[Person], float, Census]:
    """The people, how long they drew, and what the server held towards the end."""
    persons = [Person(host, port, seed) for seed in range(people)]
    # Everybody has a page before the clock starts.
    for start in range(0, people, 10):
        await asyncio.gather(*(person.ask() for person in persons[start : start + 10]))
    for person in persons:
        person.times.clear()
        person.refused = person.failed = 0
    began = time.perf_counter()
    drawing = asyncio.gather(*(person.draw_for(seconds, pause) for person in persons))
    await asyncio.sleep(0.9 * seconds)
    during = await asyncio.to_thread(census, listening(port))
    await drawing
    took = time.perf_counter() - began
    for person in persons:
        await person.leave()
    return persons, took, during


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("people", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--saturate", action="store_true", help="nobody pauses between strokes")
    given = parser.parse_args()
    address = urlsplit(given.url)
    if address.hostname not in ("127.0.0.1", "localhost", "::1") or address.port is None:
        parser.error(f"url must be http://127.0.0.1:PORT; got {given.url!r}")
    if not 1 <= given.people <= MOST_PEOPLE:
        parser.error(f"people must be 1 to {MOST_PEOPLE}; got {given.people}")
    if not 0 < given.seconds <= MOST_SECONDS:
        parser.error(f"seconds must be at most {MOST_SECONDS}; got {given.seconds:g}")
    pid = listening(address.port)
    before = census(pid)
    pause = 0.0 if given.saturate else 1.0
    persons, took, during = asyncio.run(
        crowd(address.hostname, address.port, given.people, given.seconds, pause)
    )
    time.sleep(1.0)
    after = census(pid)
    times = 1000 * np.array([one for person in persons for one in person.times])
    refused = sum(person.refused for person in persons)
    failed = sum(person.failed for person in persons)
    shares = np.percentile(times, [50, 90, 95, 99]) if len(times) else np.full(4, np.nan)
    answers = len(times)
    print(f"people {given.people}, {took:.0f} s, {answers} answers, {answers / took:.0f} a second")
    # What a busy machine cannot falsify: the server's own work for an answer.
    work = 1000 * (after.cpu - before.cpu) / max(answers, 1)
    print(f"processor time of the server: {work:.1f} ms an answer")
    print(
        "stroke to answer: median {:.0f} ms, 90 % {:.0f} ms, 95 % {:.0f} ms, 99 % {:.0f} ms, "
        "longest {:.0f} ms".format(*shares, times.max() if len(times) else np.nan)
    )
    print(f"told to ask again {refused} times, failed {failed} times")
    for when, counted in (("before", before), ("during", during), ("after", after)):
        print(f"{when}: {counted}")


if __name__ == "__main__":
    main()

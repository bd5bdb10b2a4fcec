"""A shop's background jobs: an app of Procrastinate that knows nothing of Stoker."""

import asyncio
import os
import sys
import time

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["SHOP_DATABASE"]),
    worker_defaults={"fetch_job_polling_interval": 0.2, "update_heartbeat_interval": 1},
)


@app.task(name="mail", queue="mails")
def mail(number: int) -> str:
    time.sleep(0.01)
    return f"sent {number}"


@app.task(name="charge", queue="money")
async def charge(number: int) -> dict[str, int]:
    await asyncio.sleep(0.01)
    return {"charged": number}


@app.task(
    name="flaky",
    queue="money",
    retry=procrastinate.RetryStrategy(max_attempts=2),
    pass_context=True,
)
def flaky(context: procrastinate.JobContext, number: int) -> None:
    if context.job.attempts < 2:
        raise ConnectionError("the bank is closed")


@app.task(name="broken", queue="mails")
def broken(number: int) -> None:
    raise ValueError(f"no address for {number}")


@app.task(name="count", queue="reports", lock="stock", priority=5)
def count(number: int) -> None:
    time.sleep(0.005)


@app.periodic(cron="* * * * * */1")
@app.task(name="tick", queue="reports", queueing_lock="tick")
def tick(timestamp: int) -> None:
    pass


TASKS = (mail, charge, flaky, broken, count)


def defer(jobs: int, delay_seconds: float) -> None:
    with app.open():
        for number in range(jobs):
            TASKS[number % len(TASKS)].defer(number=number)
            time.sleep(delay_seconds)


if __name__ == "__main__":
    defer(int(sys.argv[1]), float(sys.argv[2]))

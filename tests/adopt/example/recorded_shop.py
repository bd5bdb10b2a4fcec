"""The same shop, with one line more."""

import logging

import stoker
from shop import app, mail

app.worker_defaults["worker_middleware"] = [stoker.middleware]


@app.task(name="parcel", queue="mails")
def parcel(number: int) -> str:
    for step in range(1, 4):
        stoker.progress(step, 3, f"step {step}")
    logging.getLogger("shop.parcels").warning("parcel %s is heavy", number)
    return f"shipped {number}"


__all__ = ["app", "mail", "parcel"]

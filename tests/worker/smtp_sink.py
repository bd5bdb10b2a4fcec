"""Somebody's mail server, on the loopback interface: keeps what it takes, refuses what it is told to."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Sink:
    """`mails` has what was accepted, `commands` all that was said but the content and the login."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    secured: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    """What is said to a command (`RCPT`, `DATA`, …) instead of yes; "" is to hang up."""

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext | None,
    ) -> None:
        """One client's talk, however it ends."""
        try:
            await self._talk(reader, writer, context)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext | None,
    ) -> None:

        async def say(words: str) -> None:
            writer.write(words.encode() + b"\r\n")
            await writer.drain()

        is_secure = False
        await say("220 sink")
        while line := await reader.readline():
            command = line.decode().strip()
            verb = command[:4].upper()
            if verb == "STAR":
                verb = "STARTTLS"
            if verb != "AUTH":
                self.commands.append(command)
            reply = self.replies.get(verb)
            if reply == "":
                break
            if reply is not None:
                await say(reply)
                continue
            match verb:
                case "EHLO":
                    offers = ["250-sink", "250-AUTH PLAIN"]
                    if context is not None and not is_secure:
                        offers.append("250-STARTTLS")
                    await say("\r\n".join([*offers, "250 8BITMIME"]))
                case "STARTTLS" if context is not None:
                    await say("220 go on")
                    await writer.start_tls(context)
                    is_secure = True
                    self.secured += 1
                case "AUTH":
                    _, name, secret = base64.b64decode(command.split()[2]).decode().split("\0")
                    self.logins.append((name, secret))
                    await say("235 welcome")
                case "DATA":
                    await say("354 go on")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    content = content[:-3].replace(b"\r\n..", b"\r\n.")
                    mail = message_from_bytes(content, policy=policy.default)
                    assert isinstance(mail, EmailMessage)
                    self.mails.append(mail)
                    await say("250 taken")
                case "QUIT":
                    await say("221 bye")
                    break
                case _:
                    await say("250 well")


@contextmanager
def sink(context: ssl.SSLContext | None = None, *, is_tls: bool = False) -> Iterator[Sink]:
    """A mail server that lasts as long as the block.

    With `context` it knows STARTTLS; with `is_tls` too it speaks TLS from the first byte.
    """
    found = Sink()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    done = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: found.serve(reader, writer, None if is_tls else context),
            "127.0.0.1",
            0,
            ssl=context if is_tls else None,
        )
        found.port = server.sockets[0].getsockname()[1]
        started.set()
        await done.wait()
        server.close()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait(30)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()

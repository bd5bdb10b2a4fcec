"""One e-mail through the operator's mail server: plain text, bounded, no secret in what it says."""

from __future__ import annotations

import os
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

import orjson

from app.core.addresses import MAIL_SCHEME
from app.core.deliveries import Outcome
from app.core.settings import Settings


def is_address(url: str) -> bool:
    """Whether a delivery goes out as e-mail."""
    return url.startswith(MAIL_SCHEME)


def send(settings: Settings, url: str, payload: str) -> Outcome:
    """Send an event, whose data has a `summary` and a `text`, and say how that went.

    Only what the server has accepted counts as delivered; what happens behind it nobody says.
    """
    if not settings.smtp_host:
        return Outcome(
            error="no mail server is named: set STOKER_SMTP_HOST for the housekeeper",
            is_hopeless=True,
        )
    try:
        with _connect(settings) as server:
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(_message(settings, url.removeprefix(MAIL_SCHEME), payload))
    except smtplib.SMTPAuthenticationError as fault:
        return Outcome(fault.smtp_code, "the mail server refused the login")
    except smtplib.SMTPRecipientsRefused as fault:
        code = max(code for code, _ in fault.recipients.values())
        return Outcome(
            code, f"the mail server refused the address ({code})", is_hopeless=code >= 500
        )
    except smtplib.SMTPResponseException as fault:
        return Outcome(fault.smtp_code, f"the mail server refused the e-mail ({fault.smtp_code})")
    except smtplib.SMTPNotSupportedError:
        return Outcome(error="the mail server does not know STARTTLS, or no login")
    except smtplib.SMTPException as fault:
        if isinstance(fault.__context__, TimeoutError):
            return _too_late(settings)
        return Outcome(error="the connection was closed without an answer")
    except ssl.SSLCertVerificationError as fault:
        return Outcome(error=f"the certificate is not valid: {fault.verify_message}")
    except ssl.SSLError:
        return Outcome(error="TLS failed")
    except TimeoutError:
        return _too_late(settings)
    except OSError as fault:
        reason = os.strerror(fault.errno) if fault.errno and fault.errno > 0 else "unknown host"
        return Outcome(error=f"can't connect: {reason}")
    return Outcome(250)


def _too_late(settings: Settings) -> Outcome:
    return Outcome(error=f"no answer within {settings.smtp_timeout_seconds:g} s")


def _connect(settings: Settings) -> smtplib.SMTP:
    where = (settings.smtp_host, settings.smtp_port)
    timeout = settings.smtp_timeout_seconds
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(*where, timeout=timeout, context=ssl.create_default_context())
    server = smtplib.SMTP(*where, timeout=timeout)
    if settings.smtp_security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _message(settings: Settings, address: str, payload: str) -> EmailMessage:
    event = orjson.loads(payload)
    message = EmailMessage()
    message["Subject"] = "[Stoker] " + " ".join(event["data"]["summary"].split())
    message["From"] = settings.smtp_from
    message["To"] = address
    message["Date"] = formatdate(event["created_at"])
    # A mail that is sent twice is one to the reader's program.
    domain = settings.smtp_from.rpartition("@")[2].rstrip(">") or "localhost"
    message["Message-ID"] = f"<{event['id']}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(event["data"]["text"] + "\n")
    return message

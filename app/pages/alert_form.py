"""The form of an alert rule: what it shows, what is read from it, and what is wrong at which field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import MultiDict

from app.core import alert_rules
from app.core.alert_figures import KINDS, Kind
from app.core.alert_words import amount
from app.core.errors import StokerError
from app.core.models import AlertRule
from app.pages import quantities

LONGEST_NAME = 200
_LONGEST_TARGET = 254
_ANY_SIZE = 1e18


@dataclass
class AlertForm:
    """Every field as text, as the browser sends it; `faults` has a sentence for each unfit one."""

    kind: str
    name: str = ""
    threshold: str = ""
    window: str = ""
    fewest_jobs: str = ""
    queue: str = ""
    task: str = ""
    mailboxes: str = ""
    endpoints: list[str] = field(default_factory=list)
    cooldown: str = ""
    is_enabled: bool = True
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> Kind:
        """What a rule of this kind is about."""
        return KINDS[self.kind]

    @classmethod
    def empty(cls, kind: str) -> AlertForm:
        """A new rule, as its kind has it."""
        usual = KINDS[kind]
        return cls(
            kind=kind,
            threshold=amount(usual.threshold, usual.unit),
            window=amount(usual.window_seconds, "seconds"),
            fewest_jobs=str(usual.fewest_jobs),
            cooldown=amount(alert_rules.COOLDOWN_SECONDS, "seconds"),
        )

    @classmethod
    def of(cls, rule: AlertRule) -> AlertForm:
        """A rule as it is."""
        return cls(
            kind=rule.kind,
            name=rule.name,
            threshold=amount(rule.threshold, KINDS[rule.kind].unit),
            window=amount(rule.window_seconds, "seconds"),
            fewest_jobs=str(rule.fewest_jobs),
            queue=rule.queue or "",
            task=rule.task or "",
            mailboxes="\n".join(each for each in rule.targets if "@" in each),
            endpoints=[each for each in rule.targets if "@" not in each],
            cooldown=amount(rule.cooldown_seconds, "seconds"),
            is_enabled=rule.is_enabled,
        )

    @classmethod
    def sent(cls, kind: str, form: MultiDict[str, str]) -> AlertForm:
        """What the browser sent."""
        texts = ("name", "threshold", "window", "fewest_jobs", "queue", "task", "cooldown")
        return cls(
            kind=kind,
            **{name: form.get(name, "").strip() for name in texts},  # type: ignore[arg-type]
            mailboxes=form.get("mailboxes", "").strip(),
            endpoints=form.getlist("endpoints"),
            is_enabled="is_enabled" in form,
        )

    def wanted(self, rule: AlertRule | None = None) -> dict[str, Any]:
        """In the domain's words, `faults` filled; what was not touched stays exactly as `rule` has it."""
        before = None if rule is None else AlertForm.of(rule)
        wanted: dict[str, Any] = {
            "name": self.name,
            "targets": [*self.mailboxes.replace(",", "\n").split(), *self.endpoints],
            "is_enabled": self.is_enabled,
        }
        if not 0 < len(self.name) <= LONGEST_NAME:
            self.faults["name"] = f"A rule has a name of 1 to {LONGEST_NAME} characters."
        if any(len(each) > _LONGEST_TARGET for each in wanted["targets"]):
            self.faults["targets"] = f"An e-mail address has {_LONGEST_TARGET} characters at most."
        units = {"threshold": self.rules.unit, "cooldown": "seconds"}
        if self.rules.window_seconds:
            units["window"] = "seconds"
        if self.rules.fewest_jobs:
            units["fewest_jobs"] = "jobs"
        for name, unit in units.items():
            if before is None or getattr(self, name) != getattr(before, name):
                self._measure(wanted, name, unit)
        if self.rules.takes_filter:
            for name in ("queue", "task"):
                value = getattr(self, name)
                if len(value) > LONGEST_NAME or not value.isprintable():
                    self.faults[name] = f"A {name} is one line of {LONGEST_NAME} characters."
                wanted[name] = value or None
        return wanted

    def _measure(self, wanted: dict[str, Any], name: str, unit: str) -> None:
        column = {"window": "window_seconds", "cooldown": "cooldown_seconds"}.get(name, name)
        try:
            value = quantities.read(getattr(self, name), unit)
        except ValueError as fault:
            self.faults[name] = str(fault)
            return
        longest = amount(alert_rules.LONGEST_WINDOW_SECONDS, "seconds")
        if name == "window" and not 1 <= value <= alert_rules.LONGEST_WINDOW_SECONDS:
            self.faults[name] = f"This must be from 1 s to {longest}."
        elif name == "cooldown" and value > alert_rules.LONGEST_WINDOW_SECONDS:
            self.faults[name] = f"This must be {longest} at most."
        elif name == "fewest_jobs" and value > alert_rules.MOST_FEWEST_JOBS:
            self.faults[name] = f"This must be {alert_rules.MOST_FEWEST_JOBS:,} at most."
        elif name == "threshold" and not 0 < value <= _ANY_SIZE:
            self.faults[name] = "The limit must be more than nothing."
        elif name == "threshold" and unit == "share" and value > 1:
            self.faults[name] = "A share is 100 % at most."
        wanted[column] = value if name == "threshold" else round(value)

    def refused(self, refusal: StokerError) -> None:
        """Note what the domain found, at its field."""
        names = {"window_seconds": "window", "cooldown_seconds": "cooldown"}
        known = {*names.values(), "name", "threshold", "fewest_jobs", "queue", "task", "targets"}
        param = names.get(refusal.param or "", refusal.param or "")
        self.faults[param if param in known else "form"] = refusal.message

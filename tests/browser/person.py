"""What a person does in a browser, in the words of the page."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyotp
from playwright.sync_api import Page, expect

from tests.harness.console import Console

STEP_S = 30


@dataclass
class SignedUp:
    """A person with a password and a second factor."""

    name: str
    password: str
    secret: str
    last_step: int = 0

    def code(self) -> str:
        """The next code that was not used yet: waits for the coming time step when it has to."""
        while int(time.time()) // STEP_S <= self.last_step:
            time.sleep(0.2)
        self.last_step = int(time.time()) // STEP_S
        return pyotp.TOTP(self.secret).at(self.last_step * STEP_S)


def give_password(page: Page, console: Console, name: str, password: str, path: str = "/") -> None:
    page.goto(console.url + path)
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_in(page: Page, console: Console, person: SignedUp, path: str = "/") -> None:
    """Sign in with both factors and wait for the page that was asked for."""
    give_password(page, console, person.name, person.password, path)
    page.get_by_label("Code").fill(person.code())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("navigation").first).to_be_visible()

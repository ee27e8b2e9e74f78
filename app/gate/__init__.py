"""The one gate in front of everything the console answers: what a route asks for, who comes, what passes."""

from app.gate.cookies import Cookies
from app.gate.gate import Gate, NotFound, NotSignedIn, Refusal
from app.gate.guards import READ, SAFE, Guard, Kind, Route
from app.gate.origins import Origins, Source
from app.gate.visit import Visit

__all__ = [
    "READ",
    "SAFE",
    "Cookies",
    "Gate",
    "Guard",
    "Kind",
    "NotFound",
    "NotSignedIn",
    "Origins",
    "Refusal",
    "Route",
    "Source",
    "Visit",
]

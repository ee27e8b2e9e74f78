"""Who may do what on what: one table, one function, asked by pages, REST, proxy and exports alike.

A row says which roles may do the action on anything, and which relations to the target are enough. Slurm
stays the authority: an action that is allowed here can still be refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.identity.viewer import Viewer

ROLES = ("user", "coordinator", "operator", "admin")
RELATIONS = ("owner", "coordinator", "member")  # of the target's account


@dataclass(frozen=True)
class Rule:
    roles: frozenset[str]  # one of these is enough, whatever the target
    relations: frozenset[str]  # so is one of these
    why: str


def _rule(roles: str, relations: str, why: str) -> Rule:
    return Rule(frozenset(roles.split()), frozenset(relations.split()), why)


TABLE: dict[str, Rule] = {
    "session.launch": _rule("user", "", "Slurm decides on the resources"),
    "session.see": _rule("operator admin", "owner", "operators help people whose session hangs"),
    "session.open": _rule("", "owner", "a session is the person's own desk: no role enters it"),
    "session.log": _rule("", "owner", "a log holds what the person's programs print"),
    "session.stop": _rule("operator admin", "owner", "who runs the cluster must be able to free it"),
    "session.keep": _rule("", "owner", "whether an idle session is still needed only its person knows"),
    "session.remove": _rule("", "owner", "an ended session's card is the person's to put away"),
    "cluster.see": _rule("user", "", "nodes and partitions are no secret of anyone's"),
    "jobs.all": _rule("operator admin", "", "the whole queue with names"),
    "jobs.accounts": _rule("coordinator operator admin", "", "the queue of the accounts one coordinates"),
    "job.see": _rule("operator admin", "owner coordinator", "names, folders and commands are personal"),
    "job.cancel": _rule("operator admin", "owner coordinator", "as Slurm has it"),
    "job.hold": _rule("operator admin", "owner coordinator", "as Slurm has it"),
    "job.release": _rule("operator admin", "owner coordinator", "as Slurm has it"),
    "job.requeue": _rule("operator admin", "owner coordinator", "as Slurm has it"),
    "job.extend": _rule("operator admin", "owner coordinator", "Slurm lets only operators raise a limit"),
    "job.log": _rule("", "owner", "what it prints is read as its owner, whose files these are"),
    "job.script": _rule("", "owner", "a script and an environment can hold secrets"),
    "job.mark": _rule("operator admin", "owner", "tags and a note, which all who may see the job can read"),
    "filter.change": _rule("", "owner", "what one looks for is one's own"),
    "report.see": _rule("", "owner", "and those whom its owner shows it to; each sees only rows of their own scope"),
    "report.change": _rule("", "owner", "its mails carry the owner's rights"),
    "report.delete": _rule("admin", "owner", "an admin can end what mails go out"),
    "report.mail_anyone": _rule("operator admin", "", "the console is no relay: people mail themselves"),
    "report.folder": _rule("operator admin", "", "the folder is the site's"),
    "accounting.export": _rule("operator admin", "", "every job of everyone, for billing"),
    "embed.see": _rule("operator admin", "owner", "who runs the console must know what it shows to other sites"),
    "embed.revoke": _rule("operator admin", "owner", "and be able to end it"),
    "prices.edit": _rule("operator admin", "", "what usage costs is the site's to say"),
    "budget.see": _rule("operator admin", "coordinator member", "who spends it must know what is left; totals only"),
    "budget.edit": _rule("operator admin", "", "an account's money is given, not taken"),
    "waste.notice": _rule("operator admin", "coordinator", "who answers for the GPUs may ask about idle ones"),
    "person.admin": _rule("admin", "", "accounts, second factors, others' logins"),
    "audit.see": _rule("admin", "", "who did what"),
    "page:home": _rule("user", "", ""),
    "page:cluster": _rule("user", "", ""),
    "page:jobs": _rule("user", "", ""),
    "page:job": _rule("user", "", "whose job is decided by `job.see`"),
    "page:compare": _rule("user", "", "whose jobs is decided by `job.see`"),
    "page:usage": _rule("user", "", "whose jobs count is decided by `jobs.all` and the accounts one coordinates"),
    "page:sessions": _rule("user", "", ""),
    "page:launch": _rule("user", "", ""),
    "page:reports": _rule("user", "", ""),
    "page:budgets": _rule("user", "", "whose budgets is decided by `budget.see`"),
    "page:account": _rule("user", "", ""),
    "page:truth": _rule("operator admin", "", "everybody's usage, beside Slurm's own figures"),
    "page:waste": _rule("coordinator operator admin", "", "whose jobs is decided as for usage"),
    "page:people": _rule("admin", "", ""),
    "page:admin": _rule("operator admin", "", "what the console keeps and how it does; the audit by `audit.see`"),
}


class UnknownAction(Exception):
    """An action that is not in the table: a mistake in the program, and refused."""


def allowed(viewer: Viewer | None, action: str, target: Any = None) -> bool:
    """May `viewer` do `action` on `target`?

    `target` is a dataclass, a table's row or a mapping with `owner` or `user`, for jobs and budgets `account`, and for
    budgets `members`: the names of the account's people. Nobody (None) may do nothing. Raises UnknownAction.
    """
    rule = TABLE.get(action)
    if rule is None:
        raise UnknownAction(action)
    if viewer is None:
        return False
    if viewer.roles & rule.roles:
        return True
    if target is None:
        return False
    if "owner" in rule.relations and _owns(viewer, target):
        return True
    if "member" in rule.relations and viewer.name in (_get(target, "members") or ()):
        return True
    return "coordinator" in rule.relations and _get(target, "account") in viewer.coordinates


def _owns(viewer: Viewer, target: Any) -> bool:
    """A session is its owner's by name; a job by uid where both are known, since the scheduler may know the
    person by another name (on one's own machine the console's account is called as one likes)."""
    owner = _get(target, "owner")
    if owner is not None:
        return bool(owner == viewer.name)
    uid = _get(target, "uid")
    if uid is not None and viewer.uid is not None:
        return bool(uid == viewer.uid)
    return bool(_get(target, "user") == viewer.name)


def _get(target: Any, name: str) -> Any:
    return target.get(name) if isinstance(target, Mapping) else getattr(target, name, None)

"""The console's own tables. All times are integer Unix seconds."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Boolean, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(128)  # a person, account, cluster
DIGEST = String(64)  # SHA-256 in hex: what is handed to a browser is stored only as its digest


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {dict[str, Any]: JSON}


class Person(Base):
    """One who may sign in. Of a directory's person only what the console must remember."""

    __tablename__ = "persons"
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    source: Mapped[str] = mapped_column(String(16))  # local, ldap
    display_name: Mapped[str] = mapped_column(String(255), default="")
    mail: Mapped[str] = mapped_column(String(255), default="")
    uid: Mapped[int | None] = mapped_column(
        BigInteger
    )  # Unix uid, where the directory or the system tells it
    password_hash: Mapped[str | None] = mapped_column(String(255))  # argon2, local accounts only
    roles: Mapped[list[str]] = mapped_column(JSON, default=list)  # operator, admin
    directory_roles: Mapped[list[str]] = mapped_column(JSON, default=list)  # as last signed in
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    created_s: Mapped[int] = mapped_column(BigInteger)
    seen_s: Mapped[int | None] = mapped_column(BigInteger)


class Factor(Base):
    """A person's TOTP second factor. `last_step` only ever grows."""

    __tablename__ = "factors"
    person: Mapped[str] = mapped_column(NAME, primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)  # encrypted
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    confirmed_s: Mapped[int] = mapped_column(BigInteger)


class RecoveryCode(Base):
    __tablename__ = "recovery_codes"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    person: Mapped[str] = mapped_column(NAME, index=True)
    used_s: Mapped[int | None] = mapped_column(BigInteger)


class OneTimeLink(Base):
    """A secret that opens one door once: first set-up, an admin's code for a first enrolment."""

    __tablename__ = "one_time_links"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32))
    person: Mapped[str | None] = mapped_column(NAME, index=True)
    expires_s: Mapped[int] = mapped_column(BigInteger)
    used_s: Mapped[int | None] = mapped_column(BigInteger)


class Login(Base):
    """A browser that is signed in. `id` is public (lists, revoking); the cookie is known by its digest
    only."""

    __tablename__ = "logins"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    person: Mapped[str] = mapped_column(NAME, index=True)
    stage: Mapped[str] = mapped_column(String(16))  # password: only the first step is done; full
    roles: Mapped[list[str]] = mapped_column(JSON, default=list)  # as the directory said at sign-in
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")
    created_s: Mapped[int] = mapped_column(BigInteger)
    proved_s: Mapped[int] = mapped_column(BigInteger)  # when the password and factor were last shown
    input_s: Mapped[int] = mapped_column(BigInteger)  # last input of the person: the idle clock
    expires_s: Mapped[int] = mapped_column(BigInteger)  # the absolute end
    attempts: Mapped[int] = mapped_column(Integer, default=0)  # of the second step
    browser: Mapped[str] = mapped_column(DIGEST, default="")  # the known browser it was begun in, if any
    may_enrol: Mapped[bool] = mapped_column(
        Boolean, default=False
    )  # the admin's code was shown, or none is needed
    pending_secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # of an enrolment under way; encrypted
    ended_s: Mapped[int | None] = mapped_column(BigInteger, index=True)
    ended_why: Mapped[str | None] = mapped_column(String(32))  # sign-out, revoked, idle, expired


class KnownBrowser(Base):
    """A browser in which the person signed in before: others' failures don't slow it."""

    __tablename__ = "known_browsers"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    person: Mapped[str] = mapped_column(NAME, index=True)
    created_s: Mapped[int] = mapped_column(BigInteger)


class Throttle(Base):
    """Failures of one key (`account:ada`, `address:10.0.0.7`) and the moment the next try is let through."""

    __tablename__ = "throttles"
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    passed_on: Mapped[int] = mapped_column(Integer, default=0)  # wrong ones the directory has seen lately
    in_flight: Mapped[int] = mapped_column(Integer, default=0)  # of these, not answered yet
    window_s: Mapped[int] = mapped_column(BigInteger, default=0)
    next_s: Mapped[float] = mapped_column(default=0.0)


class Session(Base):
    """A person's interactive work: one scheduler job with its apps."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, index=True)
    uid: Mapped[int] = mapped_column(BigInteger)
    cluster: Mapped[str] = mapped_column(NAME)
    title: Mapped[str] = mapped_column(String(200), default="")
    request: Mapped[dict[str, Any]]  # LaunchRequest as JSON, for relaunch
    state: Mapped[str] = mapped_column(String(16), index=True)  # see backend.sessions.model.STATES
    secret: Mapped[bytes] = mapped_column(LargeBinary)  # shared with the agent; encrypted
    tls_fingerprint: Mapped[str] = mapped_column(DIGEST)
    job_id: Mapped[int | None] = mapped_column(BigInteger)  # a hint until `confirmed`
    confirmed: Mapped[bool] = mapped_column(
        Boolean, default=False
    )  # id, cluster and uid agree with the scheduler
    node: Mapped[str | None] = mapped_column(String(255))  # first node, from the scheduler
    address: Mapped[str | None] = mapped_column(String(255))  # that node's address, from the scheduler
    port: Mapped[int | None] = mapped_column(Integer)  # from the agent
    registered_s: Mapped[float | None] = (
        mapped_column()
    )  # the agent's clock in its newest message: only grows
    apps: Mapped[dict[str, Any]]  # {"jupyterlab": "starting" | "ready" | "failed"}
    reason: Mapped[str] = mapped_column(Text, default="")  # pending reason, or why it ended
    exit_code: Mapped[str] = mapped_column(String(16), default="")
    created_s: Mapped[int] = mapped_column(BigInteger)
    not_after_s: Mapped[int] = mapped_column(BigInteger)  # no submission happens after this
    start_s: Mapped[int | None] = mapped_column(BigInteger)
    start_expected: Mapped[bool] = mapped_column(Boolean, default=False)
    limit_end_s: Mapped[int | None] = mapped_column(BigInteger)
    ready_s: Mapped[int | None] = mapped_column(BigInteger)
    end_s: Mapped[int | None] = mapped_column(BigInteger)
    stop_requested_s: Mapped[int | None] = mapped_column(BigInteger)
    stopped_by: Mapped[str | None] = mapped_column(NAME)
    stop_sent_s: Mapped[int | None] = mapped_column(
        BigInteger
    )  # when the scheduler was last asked to cancel it
    account: Mapped[str] = mapped_column(NAME, default="")  # as the scheduler says, else as asked
    seen_s: Mapped[float | None] = (
        mapped_column()
    )  # the newest look at the scheduler in which its job was there
    idle_since_s: Mapped[int | None] = mapped_column(BigInteger)  # by its agent; null while it is in use
    idle_timeout_s: Mapped[int | None] = mapped_column(BigInteger)  # after so long it ends itself; null: never
    kept_s: Mapped[int | None] = mapped_column(BigInteger)  # the person chose to keep it though idle
    launch_key: Mapped[str | None] = mapped_column(String(64))  # of the click: a repeated one finds this row
    removed: Mapped[bool] = mapped_column(Boolean, default=False)  # taken off the person's list
    version: Mapped[int] = mapped_column(Integer, default=0)  # grows with every change
    __table_args__ = (
        Index("sessions_owner_state", "owner", "state"),
        Index("sessions_version", "version"),  # pages ask once a second whether anything changed
        UniqueConstraint("owner", "launch_key"),
    )


class Ticket(Base):
    """The hand-over of one app to the apps origin: single use, seconds to live."""

    __tablename__ = "tickets"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    login_id: Mapped[str] = mapped_column(String(32))
    session_id: Mapped[str] = mapped_column(String(32))
    app: Mapped[str] = mapped_column(String(32))
    expires_s: Mapped[int] = mapped_column(BigInteger)
    used_s: Mapped[int | None] = mapped_column(BigInteger)


class AppGrant(Base):
    """The apps origin's own cookie: one login's way into one session."""

    __tablename__ = "app_grants"
    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    login_id: Mapped[str] = mapped_column(String(32), index=True)
    session_id: Mapped[str] = mapped_column(String(32), index=True)
    person: Mapped[str] = mapped_column(NAME)
    created_s: Mapped[int] = mapped_column(BigInteger)


class EmbedToken(Base):
    """A figure set into other sites' pages: what its signed token answers, and no more."""

    __tablename__ = "embed_tokens"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, index=True)
    report_id: Mapped[str] = mapped_column(String(64), default="")  # the saved report it was made from
    title: Mapped[str] = mapped_column(String(200), default="")
    question: Mapped[dict[str, Any]]  # the report's, as it was then
    chart: Mapped[str] = mapped_column(String(64), default="")
    scope: Mapped[dict[str, Any]]  # what the maker might see then
    origins: Mapped[list[str]] = mapped_column(JSON, default=list)  # sites whose pages may show it
    frozen: Mapped[bytes | None] = mapped_column(LargeBinary(2**24 - 1), deferred=True)  # a snapshot's figures
    frozen_digest: Mapped[str] = mapped_column(DIGEST, default="")  # of these bytes; "": live
    created_s: Mapped[int] = mapped_column(BigInteger)
    expires_s: Mapped[int] = mapped_column(BigInteger)
    revoked_s: Mapped[int | None] = mapped_column(BigInteger)
    revoked_by: Mapped[str | None] = mapped_column(NAME)


class TruthCheck(Base):
    """One comparison of the console's figures with Slurm's own tools: asked for, made by the collector."""

    __tablename__ = "truth_checks"
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    cluster: Mapped[str] = mapped_column(NAME)
    month: Mapped[str] = mapped_column(String(7))  # 2026-11, in the zone of instance.time_zone
    asked_by: Mapped[str] = mapped_column(NAME)  # a person, or "console": the nightly one
    asked_s: Mapped[int] = mapped_column(BigInteger, index=True)
    started_s: Mapped[int | None] = mapped_column(BigInteger)
    ended_s: Mapped[int | None] = mapped_column(BigInteger)
    agrees: Mapped[bool | None] = mapped_column(Boolean)  # null: not known, see `error`
    error: Mapped[str] = mapped_column(Text, default="")  # why there is nothing to compare
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSON, deferred=True)  # Comparison as JSON
    __table_args__ = (Index("truth_checks_month", "cluster", "month", "id"),)


class SavedReport(Base):
    """A question that is kept: run again whenever it is opened, each time for the rows its reader may see."""

    __tablename__ = "saved_reports"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, index=True)
    name: Mapped[str] = mapped_column(String(200))
    question: Mapped[dict[str, Any]]  # see backend.accounting.reports.question
    chart: Mapped[str] = mapped_column(String(32), default="")
    visibility: Mapped[str] = mapped_column(String(16))  # private, account, everyone
    account: Mapped[str] = mapped_column(NAME, default="")  # whose people see it, for "account"
    created_s: Mapped[int] = mapped_column(BigInteger)
    changed_s: Mapped[int] = mapped_column(BigInteger)
    deleted_s: Mapped[int | None] = mapped_column(BigInteger)  # can be brought back for some days


class ReportSchedule(Base):
    """When a report is made by itself, and where it goes. A process that makes it holds the claim."""

    __tablename__ = "report_schedules"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    report_id: Mapped[str] = mapped_column(String(32), index=True)
    every: Mapped[str] = mapped_column(String(8))  # month (on the 1st), week, day
    weekday: Mapped[int] = mapped_column(Integer, default=0)  # for "week"; 0 is Monday
    hour: Mapped[int] = mapped_column(Integer)  # in the zone of instance.time_zone
    format: Mapped[str] = mapped_column(String(16))
    way: Mapped[str] = mapped_column(String(8))  # mail, folder
    addresses: Mapped[list[str]] = mapped_column(JSON, default=list)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    stopped: Mapped[str] = mapped_column(Text, default="")  # why it was stopped by the console
    due_s: Mapped[int] = mapped_column(BigInteger, index=True)  # the occurrence that is next, or being retried
    retry_s: Mapped[int | None] = mapped_column(BigInteger)  # of an occurrence that failed: when it is tried again
    tries: Mapped[int] = mapped_column(Integer, default=0)  # of this occurrence
    claim: Mapped[str | None] = mapped_column(String(32))
    claim_until_s: Mapped[int | None] = mapped_column(BigInteger)
    handing_over_s: Mapped[int | None] = mapped_column(BigInteger)  # since when a mail is under way: never sent twice
    done_s: Mapped[int | None] = mapped_column(BigInteger)  # when one last went out ...
    done_due_s: Mapped[int | None] = mapped_column(BigInteger)  # ... and for which occurrence
    error: Mapped[str] = mapped_column(Text, default="")  # of the newest try, if it failed
    error_s: Mapped[int | None] = mapped_column(BigInteger)


class Audit(Base):
    """One line for each change of state: who did what to what, from where, and how it went."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    time_s: Mapped[int] = mapped_column(BigInteger, index=True)
    actor: Mapped[str] = mapped_column(NAME, index=True)  # a person, or "console"
    action: Mapped[str] = mapped_column(String(64))  # session.launch, login.revoke, ...
    target: Mapped[str] = mapped_column(String(255), default="")
    outcome: Mapped[str] = mapped_column(String(16))  # done, refused, failed
    address: Mapped[str] = mapped_column(String(64), default="")
    detail: Mapped[dict[str, Any]]
    __table_args__ = (UniqueConstraint("id"),)


class ListedPrice(Base):
    """What a unit-hour of a resource costs from a day on. In force, a row never changes; a later one follows it."""

    __tablename__ = "prices"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tres: Mapped[str] = mapped_column(NAME)  # cpu, mem, node, billing, gres/gpu, gres/gpu:a100
    partition: Mapped[str] = mapped_column(NAME, default="")  # "": any
    qos: Mapped[str] = mapped_column(NAME, default="")  # "": any
    amount: Mapped[str] = mapped_column(String(32))  # a decimal number, exact: 0.0125
    from_s: Mapped[int] = mapped_column(BigInteger)  # the start of the day in the zone of instance.time_zone
    created_s: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(NAME)
    __table_args__ = (UniqueConstraint("tres", "partition", "qos", "from_s"),)


class PriceListState(Base):
    """Of the price list as a whole: one row."""

    __tablename__ = "price_list"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(String(16), default="")
    version: Mapped[int] = mapped_column(Integer, default=0)  # grows with every change: answers are kept by it


class Budget(Base):
    """So much for an account, with all below it, or for a project, in a period."""

    __tablename__ = "budgets"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account: Mapped[str] = mapped_column(NAME, index=True)  # "" of a project's
    project: Mapped[str] = mapped_column(NAME, default="", server_default="")  # "" of an account's
    metric: Mapped[str] = mapped_column(String(32))  # cost, gpu_hours, cpu_hours, billing_hours
    amount: Mapped[str] = mapped_column(String(32))  # a decimal number, of the currency or in hours
    from_s: Mapped[int] = mapped_column(BigInteger)
    until_s: Mapped[int] = mapped_column(BigInteger)  # excluded
    thresholds: Mapped[list[int]] = mapped_column(JSON, default=list)  # in percent, the lowest first
    watchers: Mapped[list[str]] = mapped_column(JSON, default=list)  # mail addresses
    note: Mapped[str] = mapped_column(Text, default="")
    edition: Mapped[int] = mapped_column(Integer, default=1)  # a new one when what is measured changes
    created_s: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(NAME)
    ended_s: Mapped[int | None] = mapped_column(BigInteger)  # by a person, before its time
    ended_by: Mapped[str | None] = mapped_column(NAME)


class BudgetNotice(Base):
    """A threshold of a budget that was reached: told once, whoever finds it."""

    __tablename__ = "budget_notices"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    budget_id: Mapped[str] = mapped_column(String(32), index=True)
    edition: Mapped[int] = mapped_column(Integer)
    threshold: Mapped[int] = mapped_column(Integer)  # in percent
    used: Mapped[float] = mapped_column()  # when it was found
    reached_s: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))  # sending, told, failed, nobody (to be told), passed (with a higher)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    retry_s: Mapped[int | None] = mapped_column(BigInteger)  # when what failed is tried again
    mails: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)  # to whom, how it went, why
    __table_args__ = (UniqueConstraint("budget_id", "edition", "threshold"),)


class IdleNotice(Base):
    """Somebody was told that a job of theirs leaves its GPUs idle. `number` counts the notices of one job: of two that
    are sent at the same moment, one is written."""

    __tablename__ = "idle_notices"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    cluster: Mapped[str] = mapped_column(NAME)
    job_id: Mapped[int] = mapped_column(BigInteger)
    job_start_s: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(Integer)
    person: Mapped[str] = mapped_column(NAME, index=True)  # as the scheduler calls them
    uid: Mapped[int | None] = mapped_column(BigInteger, index=True)
    account: Mapped[str] = mapped_column(NAME, default="")  # the job's
    subject: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    sent_by: Mapped[str] = mapped_column(NAME)
    sent_s: Mapped[int] = mapped_column(BigInteger, index=True)
    mail: Mapped[str] = mapped_column(String(16))  # none (to send), sending, sent, unsure, failed
    mail_why: Mapped[str] = mapped_column(Text, default="")
    seen_s: Mapped[int | None] = mapped_column(BigInteger)  # when the person put it away
    __table_args__ = (UniqueConstraint("cluster", "job_id", "job_start_s", "number"),)


class JobTag(Base):
    """A word on a job. `submit_s`: of the job's first attempt, as far as was known then."""

    __tablename__ = "job_tags"
    cluster: Mapped[str] = mapped_column(NAME, primary_key=True)
    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    submit_s: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tag: Mapped[str] = mapped_column(String(40), primary_key=True)
    added_by: Mapped[str] = mapped_column(NAME, index=True)
    added_s: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (Index("job_tags_tag", "tag", "submit_s"), Index("job_tags_job", "job_id"))


class JobNote(Base):
    """What was written on a job, as plain text."""

    __tablename__ = "job_notes"
    cluster: Mapped[str] = mapped_column(NAME, primary_key=True)
    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    submit_s: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(NAME)
    changed_s: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (Index("job_notes_job", "job_id"),)


class SavedFilter(Base):
    """A question to the history that a person keeps, as the words of its address."""

    __tablename__ = "saved_filters"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, index=True)
    name: Mapped[str] = mapped_column(String(200))
    query: Mapped[str] = mapped_column(Text)
    start: Mapped[bool] = mapped_column(Boolean, default=False)  # at most one of a person's
    created_s: Mapped[int] = mapped_column(BigInteger)

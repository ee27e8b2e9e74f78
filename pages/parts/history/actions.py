"""What the browser may ask of the history."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from backend import jobs
from backend.accounting.history import Filter, FilterNotFound, FilterRefused, MarkRefused, NotAsked
from backend.accounting.rights import scope_of
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.launcher import LauncherError
from backend.sessions import SessionError
from pages.parts.desk import Action, Desk, Refused, text
from pages.parts.history import bars, rows
from pages.parts.history.rows import PAGE_ROWS, keys_of
from pages.parts.topics import Message

LONGEST_QUERY = 8000
MOST_TAGGED = 200
MOST_AT_ONCE = 10  # jobs of one request of a bulk action: the browser sends several and shows how far it is
MOST_CHOICES = 20
CHOICES = ("user", "account", "partition", "qos", "cluster", "gpu_type", "app")
BULK: tuple[jobs.Asked, ...] = ("cancel", "hold", "release")


async def list_action(desk: Desk, args: dict[str, Any]) -> Message:
    return await desk.ask(rows.listed, desk.services, desk.viewer, text(args, "query", LONGEST_QUERY))


async def bars_action(desk: Desk, args: dict[str, Any]) -> Message:
    """What some jobs of the page used, as it was measured."""
    return await desk.ask(bars.measured, desk.services, desk.viewer, keys_of(args, PAGE_ROWS))


async def choices_action(desk: Desk, args: dict[str, Any]) -> Message:
    """What a filter can be, of jobs that the viewer may see: values that begin with the text."""
    dimension = text(args, "of")
    if dimension == "tag":
        return {"values": await desk.run(desk.services.marks.used_by, desk.viewer.name)}
    if dimension not in CHOICES:
        raise Refused("The history has no such filter.")
    try:
        found = await desk.run(
            desk.services.usage.values, dimension, scope_of(desk.viewer), text(args, "text", 128), MOST_CHOICES
        )
    except (BadQuestion, WarehouseUnusable) as error:
        raise Refused(str(error)) from error
    return {"values": [value for value in found if value]}


# -- tags and notes ------------------------------------------------------------------------------------------


async def tag_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Put tags on jobs or take them off; one result a job."""
    keys = keys_of(args, MOST_TAGGED)
    add, remove = _texts(args, "add"), _texts(args, "remove")
    try:
        found = await desk.run(partial(jobs.tag_jobs, desk.services, desk.viewer, keys, add=add, remove=remove))
    except (NotAsked, MarkRefused) as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    return {
        "jobs": [
            {
                "job": [each.key.cluster, each.key.job_id, each.key.origin_s],
                "tags": list(each.marks.tags),
                "problem": each.problem,
            }
            for each in found
        ]
    }


async def note_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Write a job's note; an empty one takes it off."""
    [key] = keys_of(args, 1)
    try:
        found = await desk.run(jobs.write_note, desk.services, desk.viewer, key, text(args, "note", 16_000))
    except jobs.JobNotFound as none:
        raise Refused(f"There is no job {key.job_id}, or it is not yours to see.") from none
    except MarkRefused as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error
    return {"note": found.note, "note_by": found.note_by, "tags": list(found.tags)}


def _texts(args: dict[str, Any], name: str) -> tuple[str, ...]:
    values = args.get(name, [])
    if not isinstance(values, list) or len(values) > 50 or not all(isinstance(value, str) for value in values):
        raise Refused("That request is not one the page makes.")
    return tuple(values)


# -- saved filters -------------------------------------------------------------------------------------------


async def filters_action(desk: Desk, _args: dict[str, Any]) -> Message:
    found = await desk.run(desk.services.filters.of, desk.viewer)
    return {"filters": [_filter(each) for each in found]}


async def filter_save_action(desk: Desk, args: dict[str, Any]) -> Message:
    name, query = text(args, "name"), text(args, "query", LONGEST_QUERY)
    return await _kept(desk, lambda: desk.services.filters.save(desk.viewer, name, query))


async def filter_rename_action(desk: Desk, args: dict[str, Any]) -> Message:
    filter_id, name = text(args, "id"), text(args, "name")
    return await _kept(desk, lambda: desk.services.filters.rename(desk.viewer, filter_id, name))


async def filter_start_action(desk: Desk, args: dict[str, Any]) -> Message:
    filter_id, start = text(args, "id"), args.get("start") is True
    return await _kept(desk, lambda: desk.services.filters.start_with(desk.viewer, filter_id, start=start))


async def filter_delete_action(desk: Desk, args: dict[str, Any]) -> Message:
    filter_id = text(args, "id")
    try:
        await desk.run(desk.services.filters.delete, desk.viewer, filter_id)
    except FilterNotFound as none:
        raise Refused("That filter is gone.") from none
    return {"id": filter_id}


async def _kept(desk: Desk, work: Any) -> Message:
    try:
        return _filter(await desk.run(work))
    except FilterNotFound as none:
        raise Refused("That filter is gone.") from none
    except (FilterRefused, NotAsked) as error:
        raise Refused(str(error), ((error.part, str(error)),)) from error


def _filter(found: Filter) -> Message:
    return {"id": found.id, "name": found.name, "query": found.query, "start": found.start}


# -- several jobs at once ------------------------------------------------------------------------------------


async def bulk_action(desk: Desk, args: dict[str, Any]) -> Message:
    """Cancel, hold or release some jobs of the queue, each for itself; one result a job."""
    wanted = next((each for each in BULK if each == text(args, "what")), None)
    ids = args.get("ids")
    if wanted is None or not isinstance(ids, list) or not 1 <= len(ids) <= MOST_AT_ONCE:
        raise Refused("That request is not one the page makes.")
    if not all(isinstance(each, int) and not isinstance(each, bool) and 0 < each < 2**53 for each in ids):
        raise Refused("That request is not one the page makes.")
    problems = await asyncio.gather(*(_one(desk, wanted, job_id) for job_id in ids))
    return {"jobs": [{"job_id": job_id, "problem": words} for job_id, words in zip(ids, problems, strict=True)]}


async def _one(desk: Desk, wanted: jobs.Asked, job_id: int) -> str:
    try:
        await jobs.act(desk.services, desk.viewer, wanted, job_id)
    except jobs.JobNotFound:
        return "It is not in the queue, or it is not yours to see."
    except (jobs.ActionRefused, SessionError) as refusal:
        return str(refusal)
    except LauncherError as error:
        return error.message
    return ""


ACTIONS: dict[str, Action] = {
    "jobs.history": list_action,
    "jobs.bars": bars_action,
    "jobs.choices": choices_action,
    "jobs.tag": tag_action,
    "jobs.note": note_action,
    "jobs.filters": filters_action,
    "jobs.filter-save": filter_save_action,
    "jobs.filter-rename": filter_rename_action,
    "jobs.filter-start": filter_start_action,
    "jobs.filter-delete": filter_delete_action,
    "jobs.bulk": bulk_action,
}

"""Projects: which account belongs to which, what the file may say, and that a change of it is taken up."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting import model
from backend.accounting.projects import Project, ProjectBook, Projects, ProjectsUnusable, read_projects
from backend.accounting.warehouse import Warehouse
from backend.checks.accounts import check_projects
from backend.starting import CantStart
from config import load_settings
from tests.unit.usage_kit import job

TREE = {"bio": "root", "genes": "bio", "cells": "genes", "chem": "root"}


def mapped(parents: Mapping[str, str], cluster: str = "alpha", **projects: list[str]) -> dict[str, str]:
    listed = tuple(Project(name, name, tuple(accounts)) for name, accounts in projects.items())
    found = Projects(listed).of_accounts({cluster: parents})
    assert {of_cluster for of_cluster, _ in found} <= {cluster}
    return {account: name for (_, account), name in found.items()}


# -- which account belongs to which --------------------------------------------------------------------------


def test_an_account_brings_all_below_it() -> None:
    assert mapped(TREE, P=["bio"]) == {"bio": "P", "genes": "P", "cells": "P"}


def test_the_nearest_account_that_is_named_decides() -> None:
    assert mapped(TREE, P=["bio"], Q=["genes"]) == {"bio": "P", "genes": "Q", "cells": "Q"}
    assert mapped(TREE, P=["bio", "cells"], Q=["genes"]) == {"bio": "P", "genes": "Q", "cells": "P"}


def test_an_account_of_one_cluster_counts_there_alone() -> None:
    assert mapped(TREE, "alpha", P=["alpha:chem"]) == {"chem": "P"}
    assert mapped(TREE, "beta", P=["alpha:chem"]) == {}


def test_an_account_with_its_cluster_goes_before_the_bare_one() -> None:
    assert mapped({}, "alpha", P=["chem"], Q=["alpha:chem"]) == {"chem": "Q"}
    assert mapped({}, "beta", P=["chem"], Q=["alpha:chem"]) == {"chem": "P"}


def test_an_account_that_the_tree_does_not_know_belongs_by_its_name() -> None:
    assert mapped({}, P=["bio"]) == {"bio": "P"}


def test_a_tree_that_goes_in_a_circle_ends() -> None:
    assert mapped({"a": "b", "b": "a"}, P=["chem"]) == {"chem": "P"}


ACCOUNTS = st.sampled_from("abcdefg")


@given(
    st.dictionaries(ACCOUNTS, ACCOUNTS | st.just("")),
    st.dictionaries(st.tuples(st.sampled_from(["", "alpha", "beta"]), ACCOUNTS), st.sampled_from("PQR")),
)
def test_each_account_has_the_project_of_its_nearest_named_ancestor_or_none(
    above: dict[str, str], named: dict[tuple[str, str], str]
) -> None:
    listed = tuple(
        Project(name, name, tuple(f"{c}:{a}" if c else a for (c, a), of in named.items() if of == name))
        for name in "PQR"
    )
    found = Projects(listed).of_accounts({"alpha": above})
    for account in {*above, *"abcdefg"}:
        line = [account]
        while (parent := above.get(line[-1], "")) and parent not in line:
            line.append(parent)
        here = [named.get(("alpha", each)) or named.get(("", each)) for each in line]
        wanted = next((name for name in here if name), None)
        assert found.get(("alpha", account)) == (wanted if account in above or here[0] else None)


# -- what the file may say -----------------------------------------------------------------------------------


def test_the_file_says_names_titles_and_accounts() -> None:
    text = '[[project]]\nname = "folding"\ntitle = "Protein folding"\naccounts = ["bio", "alpha:chem"]\n'
    assert read_projects(text, "p.toml") == (Project("folding", "Protein folding", ("bio", "alpha:chem")),)


def test_a_project_without_a_title_is_called_by_its_name() -> None:
    assert read_projects('[[project]]\nname = "p"\naccounts = ["bio"]', "p.toml")[0].title == "p"


def test_the_accounts_that_are_named_are_told_without_their_clusters() -> None:
    assert Project("p", "p", ("bio", "alpha:chem")).heads == {"bio", "chem"}


def entry(name: str = '"p"', accounts: str = '["bio"]', more: str = "") -> str:
    return f"[[project]]\nname = {name}\naccounts = {accounts}\n{more}\n"


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("name =", "", "Invalid value"),
        ("projects = 1", "projects", "an unknown key"),
        ("project = 1", "project", "1"),
        (entry(more="acounts = 1"), "project 1.acounts", "an unknown key"),
        (entry(name='""'), "project 1.name", '""'),
        (entry(name='" p"'), "project 1.name", '" p"'),
        (entry(name='"a\\u202eb"'), "project 1.name", '"a\\u202eb"'),
        (entry(name=f'"{"x" * 129}"'), "project 1.name", '"xxx'),
        (entry(name="1"), "project 1.name", "1"),
        ("[[project]]\naccounts = ['bio']", "project 1.name", "nothing"),
        (entry() + entry(accounts='["chem"]'), "project 2.name", '"p"'),
        (entry(more='title = ""'), "project 1 (p).title", '""'),
        (entry(accounts="[]"), "project 1 (p).accounts", "[]"),
        (entry(accounts='"bio"'), "project 1 (p).accounts", '"bio"'),
        (entry(accounts='["bio", ""]'), "project 1 (p).accounts[1]", '""'),
        (entry(accounts='["alpha:"]'), "project 1 (p).accounts[0]", '"alpha:"'),
        (entry(accounts='["a:b:c"]'), "project 1 (p).accounts[0]", '"a:b:c"'),
        (entry(accounts='["bio", "bio"]'), "project 1 (p).accounts[1]", '"bio"'),
        (entry() + entry(name='"q"'), "project 2 (q).accounts[0]", '"bio"'),
        (entry(accounts='["a:bio"]') + entry(name='"q"', accounts='["a:bio"]'), "project 2 (q).accounts[0]", '"a:bio"'),
    ],
)
def test_what_is_wrong_is_told_with_file_key_what_was_found_and_what_is_allowed(
    text: str, key: str, found: str
) -> None:
    with pytest.raises(ProjectsUnusable) as refused:
        read_projects(text, "p.toml")
    assert refused.value.key == key
    assert str(refused.value).startswith(f"p.toml: {key}: found {found}" if key else f"p.toml: found {found}")
    assert "; allowed: " in str(refused.value)


def test_a_bare_account_and_the_same_with_its_cluster_may_both_stand() -> None:
    assert len(read_projects(entry() + entry(name='"q"', accounts='["alpha:bio"]'), "p.toml")) == 2


# -- the file over time --------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "projects.toml"
    made.write_text(entry())
    return made


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))


def test_without_a_file_there_are_none() -> None:
    assert ProjectBook().current() == Projects()


def test_a_file_that_can_not_be_used_stops_the_start(file: Path) -> None:
    file.write_text(entry(name='""'))
    with pytest.raises(CantStart, match=r"projects\.toml: project 1\.name"):
        ProjectBook(file)
    with pytest.raises(CantStart, match=r"accounting\.projects_file"):
        ProjectBook(file.with_name("none.toml"))


def test_a_change_is_taken_up_and_has_a_version_of_its_own(file: Path) -> None:
    book = ProjectBook(file)
    before = book.current()
    rewrite(file, entry(accounts='["chem"]'))
    assert book.current().listed[0].accounts == ("chem",)
    assert book.current().version > before.version


def test_a_file_that_says_the_same_is_no_change(file: Path) -> None:
    book = ProjectBook(file)
    before = book.current()
    rewrite(file, entry(more="# looked at"))
    assert book.current() is before


@pytest.mark.parametrize("how", ["bad", "gone"])
def test_a_file_that_goes_bad_leaves_the_last_good_state_and_is_told(
    file: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    book = ProjectBook(file)
    before = book.current()
    assert book.trouble == ""
    if how == "bad":
        rewrite(file, entry(name='""'))
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING):
        assert book.current() is before
        assert book.current() is before
    assert str(file) in book.trouble
    assert len(caplog.records) == 1
    rewrite(file, entry(name='"again"')) if how == "bad" else file.write_text(entry(name='"again"'))
    assert book.current().listed[0].name == "again"
    assert book.trouble == ""


def test_the_file_stands_where_the_settings_say(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[accounting]\nprojects_file = 'projects.toml'\n")
    assert load_settings(site, {}).accounting.projects_file == tmp_path / "projects.toml"
    assert load_settings(None, {}).accounting.projects_file is None


def test_the_doctor_names_accounts_that_slurm_does_not_know(tmp_path: Path) -> None:
    file, site = tmp_path / "projects.toml", tmp_path / "site.toml"
    site.write_text(f"[instance]\ndata_dir = '{tmp_path}'\n[accounting]\nprojects_file = 'projects.toml'\n")
    settings = load_settings(site, {})

    def said(*accounts: str) -> str:
        file.write_text(f"[[project]]\nname = 'p'\naccounts = {list(accounts)}\n")
        outcome = check_projects(settings)
        return outcome.found.partition("; ")[2] if outcome.state == "warn" else outcome.state

    assert said("bio") == "ok"  # nothing is known of accounts yet
    bio = {"name": "bio", "parent": "root", "description": "", "organization": "", "deleted": False}
    with Warehouse.write(tmp_path / "accounting", "UTC") as writer:
        writer.put_table("alpha", "accounts", pa.Table.from_pylist([bio], schema=model.ACCOUNTS))
        ran = [job(1, cluster="alpha", account="gone"), job(2, None, None, cluster="beta", account="new", seen_s=5)]
        for row in ran:
            writer.upsert(pa.Table.from_pylist([row], schema=model.JOBS), cluster=row["cluster"])
        writer.commit()
    assert said("bio", "alpha:gone", "new") == "ok"
    assert said("bio", "boi", "beta:bio", "gama:new") == "not in the accounts: boi, beta:bio, gama:new"

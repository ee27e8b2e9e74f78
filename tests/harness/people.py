"""Who lives on the cluster: people, their Slurm accounts and QOS, their LDAP groups, the service accounts.

| person | accounts            | part                                                              |
|--------|---------------------|-------------------------------------------------------------------|
| ada    | astro, biology      | a researcher with two accounts                                    |
| bob    | particle            | the other researcher                                              |
| cleo   | physics             | coordinator of physics (and so of astro and particle)             |
| dora   | biology             | Slurm operator; directory group `carme-operators`                 |
| eve    | (none)              | directory group `carme-admins`, by way of the nested group `crew` |
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_UID = 42001
PEOPLE_GROUP = "carme-users"
CONSOLE = "carme"
LAUNCHER = "carme-launch"


@dataclass(frozen=True)
class Person:
    """A person with the same name and uid in LDAP, in the namespace's passwd and in Slurm."""

    name: str
    display_name: str
    password: str
    accounts: tuple[str, ...]
    uid: int
    gid: int
    home: str
    groups: tuple[str, ...]
    mail: str


def _person(place: int, name: str, display_name: str, accounts: tuple[str, ...], *groups: str) -> Person:
    return Person(
        name=name, display_name=display_name, password=f"{name}-Orbit-{place * 7919 + 10007}",
        accounts=accounts, uid=FIRST_UID + place, gid=FIRST_UID + place, home=f"/home/{name}",
        groups=groups, mail=f"{name}@example.org",
    )  # fmt: skip


PEOPLE: dict[str, Person] = {
    person.name: person
    for person in (
        _person(0, "ada", "Ada Lovelace", ("astro", "biology"), "astro-lab"),
        _person(1, "bob", "Bob Noyce", ("particle",), "particle-lab"),
        _person(2, "cleo", "Cleo Nordström", ("physics",), "physics"),
        _person(3, "dora", "Dora Maar", ("biology",), "carme-operators"),
        _person(4, "eve", "Eve Moneypenny", (), "crew"),
    )
}

# Group -> members; a member that is itself a key here is a nested group.
LDAP_GROUPS: dict[str, tuple[str, ...]] = {
    "astro-lab": ("ada",),
    "particle-lab": ("bob",),
    "physics": ("cleo", "astro-lab", "particle-lab"),
    "carme-operators": ("dora",),
    "crew": ("eve",),
    "carme-admins": ("crew",),
    PEOPLE_GROUP: ("physics", "carme-operators", "carme-admins"),
}


# One `sacctmgr` each, at the same time: 0.4 s a command, most of it delayed acknowledgements on loopback.
QOS_COMMANDS: tuple[str, ...] = (
    "modify qos normal set Description=normal MaxWall=2-00:00:00 MaxTRESPerUser=gres/gpu=8 Priority=10",
    "add qos debug set MaxWall=01:00:00 MaxTRESPerUser=gres/gpu=2 MaxSubmitJobsPerUser=4 Priority=100",
    "add qos long set MaxWall=7-00:00:00 GrpTRES=gres/gpu=8 MaxTRESPerUser=gres/gpu=4"
    " Flags=PartitionTimeLimit Priority=1",
)


def sacctmgr_file(cluster: str) -> str:
    """Accounts, people and coordinators for one `sacctmgr load`: single commands take 0.5 s each."""
    lines = [
        f"Cluster - '{cluster}':Fairshare=1:QOS='+debug,+long'",
        "Parent - 'root'",
        "User - 'root':DefaultAccount='root':AdminLevel='Administrator':Fairshare=1",
        "Account - 'physics':Description='Physics':Organization='science':GrpTRES=gres/gpu=16:Fairshare=60",
        "Account - 'biology':Description='Biology':Organization='life':GrpTRES=gres/gpu=8:Fairshare=40",
        "Parent - 'physics'",
        "Account - 'astro':Description='Astrophysics':Organization='science':Fairshare=30",
        "Account - 'particle':Description='Particles':Organization='science':GrpTRES=gres/gpu=8:Fairshare=30",
        "User - 'cleo':DefaultAccount='physics':Coordinator='physics':Fairshare=1",
        "Parent - 'astro'",
        "User - 'ada':DefaultAccount='astro':Fairshare=1",
        "Parent - 'particle'",
        "User - 'bob':DefaultAccount='particle':Fairshare=1",
        "Parent - 'biology'",
        "User - 'ada':DefaultAccount='astro':Fairshare=1",
        "User - 'dora':DefaultAccount='biology':AdminLevel='Operator':Fairshare=1",
    ]
    return "\n".join(lines) + "\n"

"""The harness keeps its promises: a real cluster, alone in its namespace, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException

from tests.harness import Cluster
from tests.harness.errors import CommandFailed, StartFailed

TOUCHED_BY_NOBODY = tuple(
    Path("/etc", name) for name in ("passwd", "group", "shadow", "sudoers", "nsswitch.conf", "hosts")
)
CHECKOUT = Path(__file__).parents[2]
FOLDERS = tuple(Path(name) for name in ("/etc", "/home", "/usr/local", "/run", "/usr/sbin"))


def outside() -> dict[str, str]:
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in TOUCHED_BY_NOBODY}
    lists = {str(folder): " ".join(sorted(entry.name for entry in folder.iterdir())) for folder in FOLDERS}
    mounts = {"mounts": Path("/proc/self/mountinfo").read_text()}
    return {**files, **lists, **mounts, "host name": os.uname().nodename}


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the cluster's folder, or run in its namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder) in line:
                found.append(line)
    return found


def until(true: Callable[[], object], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.1)


def bind(cluster: Cluster, dn: str, password: str, *, ldaps: bool = False) -> str:
    """Result of a bind over TLS that checks the certificate."""
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(cluster.ldap_ca))
    # Without NONE, ldap3 searches the schema first, and slapd refuses StartTLS while that ends.
    server = ldap3.Server(cluster.ldaps_uri if ldaps else cluster.ldap_uri, tls=tls, get_info=ldap3.NONE)
    connection = ldap3.Connection(server, dn, password)
    if not ldaps:
        connection.open()
        connection.start_tls()
    connection.bind()
    result = str(connection.result["description"])
    connection.unbind()
    return result


def finished_job(cluster: Cluster, user: str, *arguments: str) -> tuple[str, str]:
    """Submit, wait for the end; return the job id and what it printed."""
    done = cluster.run(["sbatch", "--parsable", "--output=%j.out", *arguments], user=user, check=True)
    job = done.stdout.strip()
    output = cluster.outside(f"/home/{user}/{job}.out")

    def ended() -> bool:
        state = cluster.run(["squeue", "-h", "-j", job, "-t", "all", "-o", "%T"]).stdout.strip()
        return state in ("COMPLETED", "")

    until(ended)
    return job, output.read_text()


def test_it_is_up_in_ten_seconds(cluster: Cluster) -> None:
    # A machine that is busy with other work may take longer in proportion.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert cluster.took_s["up"] < 10 * busy


def test_a_job_sees_its_gpu_and_runs_as_the_person(cluster: Cluster) -> None:
    job, output = finished_job(
        cluster, "ada", "--gres=gpu:a100:1", "--wrap", "echo gpu=$CUDA_VISIBLE_DEVICES; id -un; hostname"
    )
    assert output.split() == ["gpu=0", "ada", f"{cluster.name}-host"]

    def recorded() -> list[str]:
        fields = ["sacct", "-nPX", "-j", job, "-o", "user,uid,account,state,alloctres"]
        return cluster.run(fields).stdout.strip().split("|")

    # slurmctld numbers new jobs in the database every 5 s only; until then a short job's row has uid 0.
    expected = ["ada", str(cluster.people["ada"].uid), "astro", "COMPLETED"]
    until(lambda: recorded()[:4] == expected)
    resources = recorded()[4].split(",")
    assert "gres/gpu=1" in resources
    assert "gres/gpu:a100=1" in resources


def test_nodes_partitions_and_gpu_models_are_as_described(cluster: Cluster) -> None:
    shown = cluster.run(["sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %G %c %m"], check=True).stdout.split("\n")
    assert "a100-01 gpu:a100:4 64 256000" in [" ".join(line.split()) for line in shown]
    assert "h100-02 gpu:h100:8 128 1024000" in [" ".join(line.split()) for line in shown]
    partitions = cluster.run(["sinfo", "-h", "-o", "%R %l"], check=True).stdout.split("\n")
    assert {"gpu 2-00:00:00", "debug 1:00:00"} <= {line.strip() for line in partitions}


def test_limits_are_enforced(cluster: Cluster) -> None:
    too_long = ["sbatch", "--parsable", "--qos=debug", "--time=02:00:00", "--wrap=true"]
    job = cluster.run(too_long, user="ada", check=True).stdout.strip()
    asked = ["squeue", "-h", "-j", job, "-o", "%T %r"]
    until(lambda: cluster.run(asked).stdout.strip() == "PENDING QOSMaxWallDurationPerJobLimit")
    cluster.run(["scancel", job], user="ada", check=True)
    too_long_for_partition = cluster.run(["sbatch", "-pdebug", "--time=02:00:00", "--wrap=true"], user="ada")
    assert too_long_for_partition.returncode != 0
    stranger = cluster.run(["sbatch", "--account=particle", "--wrap=true"], user="ada")
    assert stranger.returncode != 0
    nobody = cluster.run(["sbatch", "--wrap=true"], user="eve")
    assert nobody.returncode != 0


def test_cleo_coordinates_physics_and_what_is_below(cluster: Cluster) -> None:
    shown = cluster.run(["sacctmgr", "-nP", "show", "account", "withcoord", "format=account,coord"], check=True)
    lines = dict(line.split("|") for line in shown.stdout.split())
    assert {account for account, people in lines.items() if people == "cleo"} == {
        "physics",
        "astro",
        "particle",
    }


def test_people_bind_by_starttls_and_ldaps(cluster: Cluster) -> None:
    for person in cluster.people.values():
        assert bind(cluster, cluster.person_dn(person.name), person.password) == "success"
    assert bind(cluster, cluster.ldap_bind_dn, cluster.ldap_bind_password, ldaps=True) == "success"


def test_a_password_in_clear_is_refused(cluster: Cluster) -> None:
    server = ldap3.Server(cluster.ldap_uri)
    connection = ldap3.Connection(server, cluster.person_dn("ada"), cluster.people["ada"].password)
    connection.bind()
    assert connection.result["description"] == "confidentialityRequired"


def test_another_ca_is_refused(cluster: Cluster) -> None:
    server = ldap3.Server(cluster.ldaps_uri, tls=ldap3.Tls(validate=ssl.CERT_REQUIRED))
    with pytest.raises(LDAPException):
        ldap3.Connection(server, cluster.person_dn("ada"), "any").bind()


def test_ten_wrong_passwords_lock_the_person_until_unlocked(cluster: Cluster) -> None:
    bob = cluster.people["bob"]
    for _ in range(10):
        assert bind(cluster, cluster.person_dn("bob"), "wrong") == "invalidCredentials"
    assert cluster.is_locked("bob")
    assert bind(cluster, cluster.person_dn("bob"), bob.password) == "invalidCredentials"
    cluster.unlock("bob")
    assert not cluster.is_locked("bob")
    assert bind(cluster, cluster.person_dn("bob"), bob.password) == "success"


def test_an_expired_password_is_told_apart(cluster: Cluster) -> None:
    cluster.expire_password("bob")
    assert bind(cluster, cluster.person_dn("bob"), cluster.people["bob"].password) == "invalidCredentials"
    assert not cluster.is_locked("bob")
    cluster.unlock("bob")
    assert bind(cluster, cluster.person_dn("bob"), cluster.people["bob"].password) == "success"


def test_a_short_new_password_is_refused_and_a_good_one_counts(cluster: Cluster) -> None:
    def change(new: str) -> subprocess.CompletedProcess[str]:
        ada = cluster.people["ada"]
        return cluster.run(
            ["ldappasswd", "-x", "-ZZ", "-H", cluster.ldap_uri, "-D", cluster.person_dn("ada"),
             "-w", ada.password, "-s", new],
            env={"LDAPTLS_CACERT": str(cluster.ldap_ca)},
        )  # fmt: skip

    assert "quality" in change("short").stdout
    assert change("a-long-enough-one").returncode == 0
    assert bind(cluster, cluster.person_dn("ada"), "a-long-enough-one") == "success"
    cluster.unlock("ada")
    assert bind(cluster, cluster.person_dn("ada"), cluster.people["ada"].password) == "success"
    assert "pwdReset" not in cluster.ldap_attributes(cluster.person_dn("ada"))


def test_groups_are_nested_and_memberof_is_kept(cluster: Cluster) -> None:
    assert f"cn=crew,ou=groups,{cluster.ldap_base}" in cluster.ldap_attributes(cluster.person_dn("eve"))["memberOf"]
    crew = cluster.ldap_attributes(f"cn=crew,ou=groups,{cluster.ldap_base}")
    assert crew["memberOf"] == [f"cn=carme-admins,ou=groups,{cluster.ldap_base}"]


def test_the_launcher_may_run_one_program_as_people_only(cluster: Cluster) -> None:
    program = "/usr/local/libexec/carme-as-user"
    if not cluster.install_as_user():
        pytest.skip("the checkout has no as-user program")
    for user, command in (("root", program), ("slurm", program), ("carme", program), ("ada", "/usr/bin/id")):
        refused = cluster.run(["sudo", "-n", "-u", user, "--", command], user="carme-launch", input="{}")
        assert refused.returncode == 1
        assert "password is required" in refused.stderr
    assert cluster.run(["sudo", "-n", "-u", "ada", "--", program], user="carme", input="{}").returncode != 0
    allowed = cluster.run(["sudo", "-n", "-u", "ada", "--", program], user="carme-launch", input="{}")
    assert "password is required" not in allowed.stderr


def test_the_console_account_starts_the_checkouts_python_and_reads_no_home(cluster: Cluster) -> None:
    done = cluster.run(
        [sys.executable, "-c", "import tests.harness; print('read')"], user="carme", cwd=cluster.checkout
    )
    assert done.stdout.strip() == "read", done.stderr
    assert cluster.run(["ls", "/home/ada"], user="carme").returncode != 0
    assert cluster.run(["ls", "/home/ada"], user="bob").returncode != 0


def test_the_database_account_only_reads(cluster: Cluster) -> None:
    access = cluster.database
    client = ["mariadb", "-N", f"-h{access.host}", f"-P{access.port}", f"-u{access.user}"]
    client += [f"-p{access.password}", access.name, "-e"]
    assert cluster.run([*client, "SELECT COUNT(*) FROM user_table"], check=True).stdout.strip() == "5"
    assert "denied" in cluster.run([*client, "DELETE FROM user_table"]).stderr


def test_a_daemon_stops_and_comes_back(cluster: Cluster) -> None:
    cluster.stop("slurmctld")
    assert not cluster.status()["slurmctld"]
    cluster.start("slurmctld")
    cluster.wait_idle()
    cluster.stop("slapd", kill=True)
    with pytest.raises(LDAPException):
        bind(cluster, cluster.person_dn("ada"), "any")
    cluster.start("slapd")
    assert bind(cluster, cluster.person_dn("ada"), cluster.people["ada"].password) == "success"


def test_a_node_drains_with_its_reason(cluster: Cluster) -> None:
    cluster.drain("cpu-01", "fan noise")
    assert "fan noise" in cluster.run(["sinfo", "-R", "-h"]).stdout
    cluster.resume("cpu-01")
    cluster.wait_idle()


def test_a_popen_is_the_program_itself(cluster: Cluster) -> None:
    process = cluster.popen(["sleep", "1000"], user="carme")
    until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    assert Path(f"/proc/{process.pid}").stat().st_uid == cluster.account("carme").uid
    process.kill()
    assert process.wait(5) == -signal.SIGKILL


def test_an_unknown_daemon_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(CommandFailed, match="slurmctld"):
        cluster.stop("slurmcontrol")


def test_two_clusters_live_side_by_side_and_leave_nothing(cluster: Cluster) -> None:
    before = outside()
    with Cluster.up(name="second") as second:
        assert second.folder != cluster.folder
        job, output = finished_job(second, "bob", "--gres=gpu:h100:2", "--wrap", "echo $CUDA_VISIBLE_DEVICES")
        assert (job, output) == ("1", "0,1\n")
        assert second.run(["scontrol", "show", "config"]).stdout.count("= second\n") == 1
        second.run(["sbatch", "--wrap", "sleep 1000"], user="ada", check=True)
        sleeper = second.popen(["sleep", "1000"], user="ada")
        assert cluster.run(["squeue", "-h"]).stdout == ""
        assert processes_of(second.folder)
    assert sleeper.returncode == -signal.SIGKILL
    assert processes_of(second.folder) == []
    assert not second.folder.exists()
    assert outside() == before


def test_it_dies_with_its_supervisor(cluster: Cluster) -> None:
    script = (
        "from tests.harness import Cluster\nimport time\n"
        "cluster = Cluster.up()\nprint(cluster.folder, flush=True)\ntime.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as supervisor:
        assert supervisor.stdout is not None
        folder = Path(supervisor.stdout.readline().strip())
        assert processes_of(folder)
        supervisor.kill()
    until(lambda: not processes_of(folder))
    until(lambda: not folder.exists())


def test_a_daemon_that_cannot_start_is_told_at_once_with_its_log(cluster: Cluster) -> None:
    begun = time.monotonic()
    with pytest.raises(StartFailed, match="slurmctld") as failure:
        Cluster.up(extra_slurm_conf="SchedulerType=sched/no-such-plugin")
    assert "no-such-plugin" in str(failure.value)
    # Slurm's own commands would try for 90 s.
    assert time.monotonic() - begun < 30


def test_the_command_line_starts_uses_and_ends_a_cluster(cluster: Cluster) -> None:
    del cluster  # only so that this test, too, is skipped without root
    folder = Path(tempfile.mkdtemp(prefix="carme-cli-", dir="/tmp"))

    def harness(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command, *rest = words
        return subprocess.run(
            [sys.executable, "-m", "tests.harness", command, "--folder", str(folder), *rest],
            check=False, capture_output=True, text=True, timeout=60, input=text, cwd=CHECKOUT,
        )  # fmt: skip

    assert json.loads(harness("up", "--detach", "--name", "third").stdout)["name"] == "third"
    try:
        assert all(json.loads(harness("status").stdout)["daemons"].values())
        ran = harness("run", "--user", "ada", "--", "sh", "-c", "id -un; cat; exit 7", text="typed")
        assert (ran.stdout, ran.returncode) == ("ada\ntyped", 7)
        assert "runs in" in harness("up", "--detach").stderr
    finally:
        assert harness("down").returncode == 0
    assert "isn't running" in harness("status").stderr
    assert processes_of(folder) == []
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root to see what others are told")
def test_without_root_it_says_so_at_once() -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-m", "tests.harness", "up"],
        cwd=CHECKOUT, user=65534, group=65534, extra_groups=[],
        check=False, capture_output=True, text=True, timeout=20, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs root" in done.stderr

"""Container command lines: what goes in, what stays out, and that no value is ever read as anything else."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.runtimes import RuntimeRefused, Surroundings, passed, socket_folder_inside, wrap
from backend.agent.spec import RuntimeSpec
from backend.sessions.runtimes import NoRuntime, detect, named

AROUND = Surroundings("/home/anna", "/scratch/anna", "/tmp/carme-x")
JOB = {
    "PATH": "/opt/bin:/usr/bin",
    "HOME": "/home/anna",
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_GPUS": "0,1",
    "SLURMD_NODENAME": "n1",
    "CUDA_VISIBLE_DEVICES": "0,1",
    "AWS_SECRET_ACCESS_KEY": "private",
    "LANG": "de_DE.UTF-8",
    "LD_PRELOAD": "/x.so",
}
APPTAINER = RuntimeSpec("apptainer", "/usr/bin/apptainer", "/images/lab.sif", ("/data",))


def program(folder: Path, name: str, text: str = "v 1.0") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


def test_none_runs_the_app_itself_with_the_jobs_environment() -> None:
    command = wrap(RuntimeSpec(), ["jupyter-lab", "--x=y"], {"A": "b"}, JOB, AROUND)
    assert command.argv == ("jupyter-lab", "--x=y")
    assert command.env == {**JOB, "A": "b"}
    assert command.cwd == "/scratch/anna"


def test_the_jobs_gpus_and_slurm_variables_reach_the_container_and_nothing_else() -> None:
    inside = passed(JOB)
    assert set(inside) == {"SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES"}
    env = wrap(APPTAINER, ["app"], {"A": "b"}, {**JOB, "APPTAINERENV_LD_PRELOAD": "/evil.so"}, AROUND).env
    given = {name.removeprefix("APPTAINERENV_"): value for name, value in env.items() if "ENV_" in name}
    assert given["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert given["A"] == "b"
    assert "LD_PRELOAD" not in given
    assert "AWS_SECRET_ACCESS_KEY" not in given


def test_apptainer_is_isolated_and_evaluates_nothing() -> None:
    argv = wrap(APPTAINER, ["app", "arg"], {}, JOB, AROUND).argv
    assert argv[:3] == ("/usr/bin/apptainer", "--quiet", "exec")
    assert {"--containall", "--cleanenv", "--no-eval"} <= set(argv)
    assert argv[argv.index("--home") + 1] == "/home/anna"
    assert argv[argv.index("--workdir") + 1].startswith("/tmp/carme-x/")
    assert argv[-3:] == ("/images/lab.sif", "app", "arg")
    assert "--nv" not in argv


def test_nv_brings_the_driver_in() -> None:
    runtime = RuntimeSpec("apptainer", "/usr/bin/apptainer", "/i.sif", nv=True)
    assert "--nv" in wrap(runtime, ["app"], {}, JOB, AROUND).argv


@given(st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1))
def test_a_folder_of_any_name_is_one_bind(name: str) -> None:
    around = Surroundings("/home/anna", f"/scratch/{name}x", "/tmp/carme-x")
    argv = wrap(APPTAINER, ["app"], {}, JOB, around).argv
    mounts = [argv[at + 1] for at, word in enumerate(argv) if word == "--mount"]
    rows = [
        next(csv.reader([mount], strict=True)) if "\n" not in mount and "\r" not in mount else None
        for mount in mounts
    ]
    if rows[-1] is not None:
        assert rows[-1] == ["type=bind", f"source=/scratch/{name}x", f"destination=/scratch/{name}x"]
    assert len(mounts) == 3


def test_a_folder_below_the_home_needs_no_bind() -> None:
    around = Surroundings("/home/anna", "/home/anna/project", "/tmp/carme-x")
    assert "/home/anna/project" not in " ".join(
        a for a in wrap(APPTAINER, ["x"], {}, JOB, around).argv if "type=" in a
    )


@pytest.mark.parametrize("folder", ["/scratch/a:b", "/scratch/a,b"])
def test_singularity_refuses_a_folder_it_would_split(folder: str) -> None:
    runtime = RuntimeSpec("singularity", "/usr/bin/singularity", "/i.sif")
    with pytest.raises(RuntimeRefused):
        wrap(runtime, ["app"], {}, JOB, Surroundings("/home/anna", folder, "/tmp/carme-x"))


def test_singularity_is_given_no_value_that_a_shell_could_take_up() -> None:
    runtime = RuntimeSpec("singularity", "/usr/bin/singularity", "/i.sif")
    env = wrap(runtime, ["app"], {}, {**JOB, "SLURM_SUBMIT_DIR": "/a/$(id)"}, AROUND).env
    assert env["SINGULARITYENV_SLURM_JOB_GPUS"] == "0,1"
    assert "SINGULARITYENV_SLURM_SUBMIT_DIR" not in env


def test_charliecloud_gets_the_environment_in_a_private_file(tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    around = Surroundings("/home/anna", "/home/anna", str(tmp_path))
    image = tmp_path / "image"
    for folder in ("mnt", "tmp", "home"):
        (image / folder).mkdir(parents=True)
    runtime = RuntimeSpec("charliecloud", "/usr/bin/ch-run", str(image))
    argv = wrap(runtime, ["app"], {"A": "$b"}, JOB, around).argv
    assert {"--home", "--env-no-expand", "--unset-env=*"} <= set(argv)
    assert argv[-3:] == (str(image), "--", "app")
    text = (tmp_path / "container" / "environment").read_text()
    assert "A=$b\n" in text
    assert "CUDA_VISIBLE_DEVICES=0,1\n" in text
    assert "private" not in text
    with pytest.raises(RuntimeRefused, match="/scratch"):
        wrap(runtime, ["app"], {}, JOB, Surroundings("/home/anna", "/scratch", str(tmp_path)))


def test_socket_paths_inside_are_short() -> None:
    for kind in ("apptainer", "singularity", "charliecloud"):
        assert len(socket_folder_inside(kind, AROUND)) < 20


def test_detect_finds_what_runs_and_none_comes_last(tmp_path: Path) -> None:
    there = tmp_path / "bin"
    program(there, "ch-run", "0.31")
    (there / "singularity").symlink_to(program(there, "apptainer", "apptainer version 1.4.5"))
    found = detect(path=str(there))
    assert [runtime.kind for runtime in found] == ["apptainer", "charliecloud", "none"]
    assert found[0].version == "apptainer version 1.4.5"
    assert found[0].command == str(there / "apptainer")
    assert detect(path=str(tmp_path / "empty")) == [named("none")]


def test_detect_passes_over_a_program_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "apptainer"
    broken.write_text("#!/nonexistent\n")
    broken.chmod(0o755)
    assert [runtime.kind for runtime in detect(path=str(tmp_path))] == ["none"]


def test_a_site_may_say_where_its_runtime_is(tmp_path: Path) -> None:
    own = program(tmp_path, "apptainer-1.4", "apptainer version 1.4.0")
    runtime = named("apptainer", {"apptainer": str(own)}, path=os.devnull)
    assert runtime.spec("/i.sif", ["/data"], nv=True) == RuntimeSpec(
        "apptainer", str(own), "/i.sif", ("/data",), True
    )
    with pytest.raises(NoRuntime, match="singularity"):
        named("singularity", path=os.devnull)

"""Typed settings: `default.toml` overlaid by the site's file and the environment."""

from config.errors import SettingsError
from config.secret_files import open_to_others, read_secret_file
from config.sections import (
    Agent,
    Apps,
    Directory,
    Image,
    Instance,
    Launcher,
    Ldap,
    Local,
    Login,
    Scheduler,
    Sessions,
    Settings,
    Slurm,
    Store,
    Web,
)
from config.settings import load_settings, setting_keys

__all__ = [
    "Agent",
    "Apps",
    "Directory",
    "Image",
    "Instance",
    "Launcher",
    "Ldap",
    "Local",
    "Login",
    "Scheduler",
    "Sessions",
    "Settings",
    "SettingsError",
    "Slurm",
    "Store",
    "Web",
    "load_settings",
    "open_to_others",
    "read_secret_file",
    "setting_keys",
]

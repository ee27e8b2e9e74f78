"""Where people come from: the console's own accounts, LDAP, Active Directory."""

from backend.identity.directories.base import Budget, Directory, DirectoryPerson, WrongPassword
from backend.identity.directories.ldap import LdapDirectory
from backend.identity.directories.local import LocalDirectory, check_new_password

__all__ = [
    "Budget",
    "Directory",
    "DirectoryPerson",
    "LdapDirectory",
    "LocalDirectory",
    "WrongPassword",
    "check_new_password",
]

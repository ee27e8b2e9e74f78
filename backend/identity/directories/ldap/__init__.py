"""People of an LDAP directory or Active Directory."""

from backend.identity.directories.ldap.directory import LdapDirectory

__all__ = ["LdapDirectory"]

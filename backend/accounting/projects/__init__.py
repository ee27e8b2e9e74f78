"""Projects: named sets of Slurm accounts, as the site declares them in a file."""

from backend.accounting.projects.book import ProjectBook
from backend.accounting.projects.file import ProjectsUnusable, read_projects
from backend.accounting.projects.model import Declared, Project, Projects

__all__ = ["Declared", "Project", "ProjectBook", "Projects", "ProjectsUnusable", "read_projects"]

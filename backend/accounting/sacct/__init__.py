"""Import of `sacct --parsable2` listings, for sites whose database can't be reached."""

from backend.accounting.sacct.columns import Columns, UnknownColumns, columns_of
from backend.accounting.sacct.load import Imported, NoCluster, import_sacct
from backend.accounting.sacct.rows import Bad

__all__ = ["Bad", "Columns", "Imported", "NoCluster", "UnknownColumns", "columns_of", "import_sacct"]

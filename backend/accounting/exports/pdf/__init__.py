"""A report on paper: title, chart, table, how the figures are made."""

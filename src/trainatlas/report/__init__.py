"""The report: figures, findings and tables, rendered once as a page and as a document."""

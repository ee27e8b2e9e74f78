"""Those that read: questions of pages, answered from files and memory."""

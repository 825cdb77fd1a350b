"""The command line and the web application: they parse, call and show."""

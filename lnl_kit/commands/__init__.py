"""What commands do that is no layer of the kit: settings in files, a search for settings, JupyterLab."""

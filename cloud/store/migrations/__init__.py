"""The schema's history: one file a revision in versions/, run by cloud/store/schema.py, packaged with the code."""

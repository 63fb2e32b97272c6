"""The control function: the admin API (FastAPI, carried by Mangum), and what rotates its secret.

It has a package and a role of its own. It makes keys and reads usage; it can call no model.
"""

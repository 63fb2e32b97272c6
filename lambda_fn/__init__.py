"""The code of the Lambda functions, one package for each program.

`stream` answers the public API, and `recall` serves kept answers. `socket` serves WebSockets,
`background` keeps background answers going, and `control` is the admin API. `sweep` settles what
killed functions left, and makes the rollups. The other packages and modules are shared.
"""

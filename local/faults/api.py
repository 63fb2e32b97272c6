"""`/_local/faults`: the faults of a running local cloud.

GET    /_local/faults        {"faults": [...]}, each with `id` and the counts `seen`, `struck`,
                             `landed`
POST   /_local/faults        set one: the fields of `local.faults.plan.Fault`; 201 with its id,
                             400 with a reason
DELETE /_local/faults[/ID]   clear all, or one; 404 if there is none of that id
"""

import json

from aiohttp import web

from local.faults.plan import FaultError, Plan, parse


def routes(plan: Plan) -> list[web.RouteDef]:
    """Return the routes of the API."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response({"faults": plan.listing()})

    async def add(request: web.Request) -> web.Response:
        try:
            entry = plan.set(parse(json.loads(await request.read())))
        except FaultError as error:
            return web.json_response({"message": str(error)}, status=400)
        except ValueError:
            return web.json_response({"message": "the body is not JSON"}, status=400)
        return web.json_response({"id": entry.id}, status=201)

    async def clear(request: web.Request) -> web.Response:
        entry_id = request.match_info.get("id")
        if not plan.clear(entry_id) and entry_id is not None:
            said = f"There is no fault {entry_id!r}. `sluice fault list` shows those that are set."
            return web.json_response({"message": said}, status=404)
        return web.json_response({})

    return [
        web.get("/_local/faults", show),
        web.post("/_local/faults", add),
        web.delete("/_local/faults", clear),
        web.delete("/_local/faults/{id}", clear),
    ]

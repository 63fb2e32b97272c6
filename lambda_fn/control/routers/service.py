"""The endpoints that stop the whole service, and let it serve again."""

from typing import Any

from fastapi import APIRouter

from lambda_fn.control import models_in, models_out
from lambda_fn.control.services import Caller, Shared, in_time
from lambda_fn.metering import service_state

router = APIRouter(prefix="/stop", tags=["service"])


@router.get("", response_model=models_out.ServiceState, operation_id="getService")
async def get_service(services: Shared) -> Any:
    """Return whether requests are served, and how many run."""
    return await _state(services)


@router.post("", response_model=models_out.ServiceState, operation_id="stopService")
async def stop_service(body: models_in.Stop, services: Shared, caller: Caller) -> Any:
    """Refuse new requests with a 503, and cancel those that run, unless `drain` is true.

    It takes effect within 5 seconds. Requests may be admitted meanwhile, so call it until none
    runs.
    """
    async with services.trail.change(caller, "stopService", fields=body.model_dump()) as record:
        now = services.now()
        await service_state.stop(services.table, reason=body.reason, now=now)
        if not body.drain:
            cancelled = await in_time(service_state.cancel_running(services.table, now=now))
            record.after = {"cancelled": cancelled}
    return await _state(services)


@router.delete("", response_model=models_out.ServiceState, operation_id="resumeService")
async def resume_service(services: Shared, caller: Caller) -> Any:
    """Serve requests again, at once."""
    async with services.trail.change(caller, "resumeService"):
        await service_state.resume(services.table)
    return await _state(services)


async def _state(services: Shared) -> dict[str, Any]:
    item = await service_state.state(services.table)
    running = [request_id async for request_id in service_state.running(services.table)]
    return {
        "stopped_at": item.get("stopped"),
        "reason": item.get("reason"),
        "exhausted_month": item.get("exhausted"),
        "running": len(running),
    }

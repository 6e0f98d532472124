"""The routes under /jobs: one's own jobs, or all of them for admins. Those of others do not exist."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from app_kernel.core.errors import JobNotFound
from app_kernel.core.identity import UserIdentity, get_current_user
from app_kernel.core.jobs import JobView, Status
from app_kernel.core.problem_docs import problem
from app_kernel.jobs.client import LONGEST_KEPT_ID, JobClient, get_job_client
from app_kernel.jobs.records import raised
from app_kernel.jobs.schemas import JobAnswer, JobListAnswer, WholeJobAnswer

User = Annotated[UserIdentity, Depends(get_current_user)]
JobId = Annotated[str, Path(min_length=1, max_length=LONGEST_KEPT_ID)]
Name = Annotated[str | None, Query(max_length=191)]


async def job_client() -> JobClient:
    """The jobs of the running service."""
    return get_job_client()


Jobs = Annotated[JobClient, Depends(job_client)]


_UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked.")
_UNKNOWN = problem("There is no such job, or it is somebody else's.")
_CONFLICT = problem("The job's state does not allow it; detail says why.")
_RESPONSES: dict[int | str, dict[str, Any]] = {401: _UNAUTHENTICATED, 503: problem("The queue does not answer now.")}

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=_RESPONSES)


@router.get("", summary="List jobs")
async def get_jobs(
    user: User,
    jobs: Jobs,
    *,
    status: Status | None = None,
    queue: Name = None,
    task: Name = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=LONGEST_KEPT_ID)] = None,
) -> JobListAnswer:
    """The jobs that the caller enqueued, for admins those of everybody, the latest first."""
    owner = None if _sees_all(user) else user.id
    found = await jobs.list_jobs(status=status, queue=queue, task=task, user_id=owner, limit=limit, before=before)
    more = found[-1].id if len(found) == limit else None
    return JobListAnswer(jobs=[_answer(view, user) for view in found], next_before=more)


@router.get("/{id}", summary="Show a job", responses={404: _UNKNOWN})
async def get_job(id: JobId, user: User, jobs: Jobs) -> WholeJobAnswer:
    """A job with its payload, progress and result."""
    return _whole(await _find(id, user, jobs), user)


@router.post("/{id}/cancel", summary="Cancel a job", responses={404: _UNKNOWN, 409: _CONFLICT})
async def post_cancel(id: JobId, user: User, jobs: Jobs) -> WholeJobAnswer:
    """Cancels a job that waits at once; a running one is asked to end, which `cancelling` shows until it has."""
    await _find(id, user, jobs)
    return _whole(await jobs.cancel(id), user)


@router.post("/{id}/retry", summary="Run a job again", responses={404: _UNKNOWN, 409: _CONFLICT})
async def post_retry(id: JobId, user: User, jobs: Jobs) -> WholeJobAnswer:
    """Enqueues a dead or cancelled job again, with all its attempts."""
    await _find(id, user, jobs)
    return _whole(await jobs.retry(id), user)


async def _find(id: str, user: UserIdentity, jobs: JobClient) -> JobView:
    view = await jobs.get(id)
    if view is None or not (_sees_all(user) or view.user_id == user.id):
        raise JobNotFound
    return view


def _sees_all(user: UserIdentity) -> bool:
    return user.role == "admin"


def _answer(view: JobView, user: UserIdentity) -> JobAnswer:
    return JobAnswer(**_shown(view, user, JobAnswer))


def _whole(view: JobView, user: UserIdentity) -> WholeJobAnswer:
    return WholeJobAnswer(**_shown(view, user, WholeJobAnswer))


def _shown(view: JobView, user: UserIdentity, model: type[JobAnswer]) -> dict[str, Any]:
    """What a user may see: of an error the last line, as a traceback shows the service's insides."""
    fields = asdict(view)
    if view.error is not None and not _sees_all(user):
        # The type alone: its text may quote what only the service should see.
        fields["error"] = raised(view.error).partition(":")[0][:200]
    return {name: fields[name] for name in model.model_fields}

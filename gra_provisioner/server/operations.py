"""The REST API: one table of all that can be asked for.

:mod:`.handlers` makes the request handlers of it and :mod:`.openapi` their description, so that the
two say the same.
"""

from __future__ import annotations

from ..documents import answers, executions, runners
from ..documents.logs import End, LogLine, LogLines
from ..documents.queries import (
    DeleteQuery,
    EventsQuery,
    GetQuery,
    ListQuery,
    LogQuery,
    LogsQuery,
    SortedListQuery,
)
from ..documents.requests import Create, ExecOnce, ExecStream, StartKernel
from . import openapi
from .about import health, list_profiles, ready
from .calls import (
    Answer,
    Answered,
    AsAsked,
    AtOnce,
    Call,
    Events,
    OnServer,
    Operation,
    Reply,
    Streamed,
    encoded,
)
from .executions import execute, stream_execution
from .kernels import delete_runner, start_kernel
from .logs import follow_log, follow_logs, read_log, read_logs
from .runners import (
    create_runner,
    get_runner,
    list_events,
    list_runners,
    watch_runners,
)


def _describe(call: Call) -> Reply:
    """``GET openapi.json``."""
    return Reply(200, encoded(openapi.document(OPERATIONS, call.base_url)))


_LOG = (
    "What the runner's agent did, what its kernel's process wrote to stdout and stderr, and what "
    "other containers of its pod wrote. Output of cells is not in it. Followed, it goes on until "
    "the runner has ended; one that is starting is waited for."
)

_LINES = Answer(
    "Lines. Followed, they are events.",
    LogLines,
    Events("The last one is end.", {"line": (LogLine,), "end": (End,)}),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="listRunners",
        method="GET",
        path="/runners",
        right="read",
        summary="List runners",
        description="All runners that match the query and may be seen, ended and lost ones "
        "included. What a runner uses and what its kernel does is known only if it was asked: see "
        "inspect.",
        does=Answered(list_runners),
        query=SortedListQuery,
        answers={200: Answer("The runners.", runners.RunnerList)},
    ),
    Operation(
        id="createRunner",
        method="POST",
        path="/runners",
        right="write",
        summary="Make a runner",
        description="Starts a runner and, by default, the kernel of its profile, and answers when "
        "it is ready. It ends by itself when no client has been connected to it for the profile's "
        "ttl.orphan. A launch that fails leaves nothing behind; its error says why and in details "
        "where its time went.",
        does=Answered(create_runner),
        body=Create,
        answers={
            201: Answer("It is ready.", runners.MadeRunner),
            202: Answer(
                "It was accepted (wait is false). How its start goes on, or why it does not, its "
                "status and phase tell.",
                runners.MadeRunner,
            ),
        },
        errors=(422, 429, 502, 504),
    ),
    Operation(
        id="watchRunners",
        method="GET",
        path="/runners/watch",
        right="read",
        summary="Watch runners",
        description="First all runners that match the query, each as added, then synced, then "
        "what becomes of them as it happens. A runner that does not match any more is told as "
        "deleted, as it was last. stale, first of all or later, says that the cluster cannot be "
        "asked: what is told is as it was, until fresh. Who connects again is told everything "
        "again.",
        does=Streamed(watch_runners),
        query=ListQuery,
        answers={
            200: Answer(
                "Changes, for as long as the client stays.",
                events=Events(
                    "Each has an id, which counts from 1.",
                    {
                        "added": (runners.SeenRunner,),
                        "modified": (runners.SeenRunner,),
                        "deleted": (runners.SeenRunner,),
                        "synced": (runners.Synced,),
                        "stale": (runners.Stale,),
                        "fresh": (runners.Fresh,),
                    },
                ),
            )
        },
    ),
    Operation(
        id="getRunner",
        method="GET",
        path="/runners/{name}",
        right="read",
        summary="Show a runner",
        description="Everything that is known of one runner.",
        does=Answered(get_runner),
        query=GetQuery,
        answers={200: Answer("The runner.", runners.SeenRunnerWithReason)},
        errors=(404,),
    ),
    Operation(
        id="listEvents",
        method="GET",
        path="/runners/{name}/events",
        right="read",
        summary="List what the cluster has said about a runner",
        description="Kubernetes' events on the runner's pod and on its volume claims: why it is "
        "not scheduled, what is pulled, what was killed. Of a pod that is gone, too, as long as "
        "the cluster knows them (an hour, as a rule), where its uid is given. None for a local "
        "runner.",
        does=Answered(list_events),
        query=EventsQuery,
        answers={200: Answer("The events.", runners.RunnerEvents)},
        errors=(404,),
    ),
    Operation(
        id="deleteRunner",
        method="DELETE",
        path="/runners/{name}",
        right="write",
        summary="End a runner",
        description="Ends a runner, its kernel and its commands, and removes what it left. The "
        "answer comes when it is gone, and with it a kernel of this server's that was in it. It is "
        "not taken back when the client goes away.",
        does=OnServer(delete_runner, to_the_end=True),
        query=DeleteQuery,
        answers={204: Answer("It is gone.")},
        errors=(404,),
    ),
    Operation(
        id="execute",
        method="POST",
        path="/runners/{name}/exec",
        right="execute",
        summary="Run a command to its end",
        description="Runs a command, or Python code, in a runner beside its kernel, and answers "
        "when it has ended, with what it wrote. That a command fails is no error: see exit_code. A "
        "client that goes away hangs up on it.",
        does=Answered(execute),
        body=ExecOnce,
        answers={200: Answer("It has ended.", executions.Execution)},
        errors=(404, 409, 413, 422, 502),
    ),
    Operation(
        id="streamExecution",
        method="POST",
        path="/runners/{name}/exec/stream",
        right="execute",
        summary="Run a command and send its output as it comes",
        description="As exec. The last event is exit, or error where the rest was lost. Who reads "
        "slowly holds the command up, as with a pipe; nothing is left out.",
        does=Streamed(stream_execution),
        body=ExecStream,
        answers={
            200: Answer(
                "It was started.",
                events=Events(
                    "Put together, the pieces of each of stdout and stderr are what was written.",
                    {
                        "output": (executions.TextPiece, executions.BinaryPiece),
                        "exit": (executions.Ended,),
                    },
                ),
            )
        },
        errors=(404, 409, 413, 422, 502),
    ),
    Operation(
        id="readLog",
        method="GET",
        path="/runners/{name}/logs",
        right="read",
        summary="Read a runner's log",
        description=f"{_LOG} Of a runner that has ended, the log is there as long as it is listed.",
        does=AsAsked(Answered(read_log), Streamed(follow_log)),
        query=LogQuery,
        answers={200: _LINES},
        errors=(404, 409, 422),
    ),
    Operation(
        id="readLogs",
        method="GET",
        path="/logs",
        right="read",
        summary="Read the logs of several runners",
        description=f"{_LOG} Lines of several runners come by time, or as they are written.",
        does=AsAsked(Answered(read_logs), Streamed(follow_logs)),
        query=LogsQuery,
        answers={200: _LINES},
        errors=(404, 409, 422),
    ),
    Operation(
        id="startKernel",
        method="POST",
        path="/kernels",
        right="execute",
        also={"kernels": "write"},
        summary="Start a kernel of this server on a runner with settings of its own",
        description="Makes a runner and starts a kernel in it that the server knows as one of its "
        "own, so that notebooks and consoles can be opened on it by its id. The settings lie over "
        "those of the kernelspec and the profile, and stay with the kernel over its restarts. The "
        "server's authorizer is also asked for write of kernels. A client that goes away while it "
        "waits gives the launch up, and nothing is left of it.",
        does=OnServer(start_kernel),
        body=StartKernel,
        answers={201: Answer("It runs.", runners.StartedKernel)},
        errors=(422, 429, 502, 504),
    ),
    Operation(
        id="listProfiles",
        method="GET",
        path="/profiles",
        right="read",
        summary="List profiles",
        description="The profiles that runners can be made by, each with all its settings. Values "
        "of variables are never shown.",
        does=Answered(list_profiles),
        answers={200: Answer("The profiles.", answers.Profiles)},
    ),
    Operation(
        id="health",
        method="GET",
        path="/health",
        right=None,
        summary="Whether the server lives",
        description="Needs no token, for probes, and tells nothing but that the extension is "
        "loaded and the server answers.",
        does=AtOnce(health),
        answers={200: Answer("It does.", answers.Health)},
    ),
    Operation(
        id="ready",
        method="GET",
        path="/ready",
        right="read",
        summary="Whether runners can be made",
        description="Asks the backend. The error says what stands in the way.",
        does=Answered(ready),
        answers={200: Answer("They can.", answers.Ready)},
    ),
    Operation(
        id="describeApi",
        method="GET",
        path="/openapi.json",
        right="read",
        summary="This description",
        description="The OpenAPI 3.1 description of this API.",
        does=AtOnce(_describe),
        answers={200: Answer("The description.", openapi.Description)},
    ),
)
